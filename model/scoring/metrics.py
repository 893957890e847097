"""Segmentation metrics as functions of counts: count first, add up over slices and ranks, divide once.

A metric is nan where its denominator is zero; a mean over patients leaves nan out (nnU-Net's rule).
"""

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

TP, FP, FN, TN = range(4)
"""Places in the last axis of a tensor of counts: true and false positives, false and true negatives."""


def count(
    prediction: Bool[Tensor, "*batch height width"], mask: Bool[Tensor, "*batch height width"]
) -> Int64[Tensor, "*batch 4"]:
    """Return the pixels of each kind, slice by slice."""
    kinds = [prediction & mask, prediction & ~mask, ~prediction & mask, ~prediction & ~mask]
    return torch.stack([kind.sum((-2, -1)) for kind in kinds], dim=-1)


def dice(counts: Int64[Tensor, "*batch 4"]) -> Float64[Tensor, "*batch"]:
    """Return 2 TP / (2 TP + FP + FN); nan when neither has a pixel (Dice 1945, doi:10.2307/1932409)."""
    return _quotient(2 * counts[..., TP], 2 * counts[..., TP] + counts[..., FP] + counts[..., FN])


def iou(counts: Int64[Tensor, "*batch 4"]) -> Float64[Tensor, "*batch"]:
    """Return TP / (TP + FP + FN), the Jaccard index; nan when neither prediction nor mask has a pixel."""
    return _quotient(counts[..., TP], counts[..., TP] + counts[..., FP] + counts[..., FN])


def precision(counts: Int64[Tensor, "*batch 4"]) -> Float64[Tensor, "*batch"]:
    """Return TP / (TP + FP); nan when nothing was predicted."""
    return _quotient(counts[..., TP], counts[..., TP] + counts[..., FP])


def recall(counts: Int64[Tensor, "*batch 4"]) -> Float64[Tensor, "*batch"]:
    """Return TP / (TP + FN); nan when there is no tumour."""
    return _quotient(counts[..., TP], counts[..., TP] + counts[..., FN])


def accuracy(counts: Int64[Tensor, "*batch 4"]) -> Float64[Tensor, "*batch"]:
    """Return the share of pixels that are right. Nearly 1 for an empty prediction: shown, never optimised."""
    return _quotient(counts[..., TP] + counts[..., TN], counts.sum(-1))


METRICS = {"dice": dice, "iou": iou, "precision": precision, "recall": recall, "accuracy": accuracy}


def _quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    return numerator.double() / denominator.double()  # 0 / 0 is nan, as intended
