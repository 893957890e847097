"""Segmentation metrics as functions of counts: count pixels, add the counts up over slices and ranks, divide once.

A metric is nan if its denominator is zero, and a mean over patients leaves nan out, as in nnU-Net.
"""

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

TP, FP, FN, TN = range(4)
"""Indices into the last axis of a tensor of counts: true and false positives, false and true negatives."""


def count(
    prediction: Bool[Tensor, "*batch height width"], mask: Bool[Tensor, "*batch height width"]
) -> Int64[Tensor, "*batch 4"]:
    """Return the number of pixels of each kind (TP, FP, FN, TN) in each slice."""
    kinds = [prediction & mask, prediction & ~mask, ~prediction & mask, ~prediction & ~mask]
    return torch.stack([kind.sum((-2, -1)) for kind in kinds], dim=-1)


def dice(counts: Int64[Tensor, "*batch 4"]) -> Float64[Tensor, "*batch"]:
    """Return 2 TP / (2 TP + FP + FN); nan if prediction and mask are empty.

    Reference: Dice 1945, doi:10.2307/1932409.
    """
    return _quotient(2 * counts[..., TP], 2 * counts[..., TP] + counts[..., FP] + counts[..., FN])


def iou(counts: Int64[Tensor, "*batch 4"]) -> Float64[Tensor, "*batch"]:
    """Return TP / (TP + FP + FN), the Jaccard index; nan if prediction and mask are empty."""
    return _quotient(counts[..., TP], counts[..., TP] + counts[..., FP] + counts[..., FN])


def precision(counts: Int64[Tensor, "*batch 4"]) -> Float64[Tensor, "*batch"]:
    """Return TP / (TP + FP); nan if the prediction is empty."""
    return _quotient(counts[..., TP], counts[..., TP] + counts[..., FP])


def recall(counts: Int64[Tensor, "*batch 4"]) -> Float64[Tensor, "*batch"]:
    """Return TP / (TP + FN); nan if the mask is empty."""
    return _quotient(counts[..., TP], counts[..., TP] + counts[..., FN])


def accuracy(counts: Int64[Tensor, "*batch 4"]) -> Float64[Tensor, "*batch"]:
    """Return the share of pixels that are correct. It is nearly 1 for an empty prediction, so it is never optimised."""
    return _quotient(counts[..., TP] + counts[..., TN], counts.sum(-1))


METRICS = {"dice": dice, "iou": iou, "precision": precision, "recall": recall, "accuracy": accuracy}
"""All metrics by name, in the order in which they are shown."""


def _quotient(numerator: Tensor, denominator: Tensor) -> Tensor:
    return numerator.double() / denominator.double()  # 0 / 0 is nan, as intended
