"""The numbers that public notebooks report, from the same predictions, so that they can be compared with ours.

They are shown, but nothing is chosen by them. They need only the counts of each slice (32 bytes), so each patient is
predicted once and need not stay in memory.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from model.scoring import metrics
from model.scoring.scores import NotebookMetric, PatientScore

BATCH_SIZE = 16
"""Slices per batch of the batch-wise Dice; notebooks mostly use 16 or 32."""


def notebook_metrics(counts: Int64[Tensor, "slices 4"]) -> list[NotebookMetric]:
    """Return the numbers that notebooks report, from the counts of all patients' slices, in order (metrics.count)."""
    return [
        NotebookMetric(name=name, value=metric(counts) if len(counts) else math.nan, description=description)
        for name, metric, description in _METRICS
    ]


def slice_dice(counts: Int64[Tensor, "slices 4"]) -> float:
    """Return the mean over slices of Dice, where an empty slice that is predicted empty counts as 1."""
    return _dice_or_one(counts).mean().item()


def batch_dice(counts: Int64[Tensor, "slices 4"]) -> float:
    """Return the mean over batches of Dice, where an empty batch that is predicted empty counts as 1."""
    # As in a loader, a batch may reach into the next patient, and the last batch may be short.
    return _dice_or_one(torch.stack([batch.sum(0) for batch in counts.split(BATCH_SIZE)])).mean().item()


def mean_iou(counts: Int64[Tensor, "slices 4"]) -> float:
    """Return the mean of the IoU of tumour and that of background, which is nearly 1.

    Like Keras' MeanIoU, it leaves out a class that is in neither masks nor predictions.
    """
    tumour = counts.sum(0)
    background = tumour[[metrics.TN, metrics.FN, metrics.FP, metrics.TP]]
    return torch.nanmean(metrics.iou(torch.stack([tumour, background]))).item()


def pixel_accuracy(counts: Int64[Tensor, "slices 4"]) -> float:
    """Return the share of all pixels that are correct."""
    return metrics.accuracy(counts.sum(0)).item()


def training_accuracy(scores: Sequence[PatientScore]) -> NotebookMetric:
    """Return the pixel accuracy on patients that the network was trained on, from their scores."""
    num_pixels = sum(score.num_pixels for score in scores)
    return NotebookMetric(
        name="training accuracy",
        value=sum(score.accuracy * score.num_pixels for score in scores) / num_pixels if num_pixels else math.nan,
        description=f"Pixel accuracy on {len(scores)} of the patients that the network was trained on. "
        "It is flattering for the reason that pixel accuracy is, and because the network has seen the answers."
        + (" It is the mean over regions." if any(score.regions for score in scores) else ""),
    )


_METRICS: tuple[tuple[str, Callable[[Tensor], float], str], ...] = (
    (
        "slice-wise Dice, empty = 1",
        slice_dice,
        "Dice of each slice, 1 where mask and prediction are empty, then the mean over slices. "
        "It is flattering because most slices have no tumour, and each that stays empty counts as perfect.",
    ),
    (
        f"batch-wise Dice, batches of {BATCH_SIZE}",
        batch_dice,
        f"Dice of {BATCH_SIZE} consecutive slices pooled, 1 where all are empty, then the mean over batches. "
        "It is flattering because large tumours hide small ones that are missed, and an empty batch counts as perfect.",
    ),
    (
        "mean IoU over both classes",
        mean_iou,
        "IoU of the tumour and IoU of the background, all pixels pooled, then the mean of the two. "
        "It is flattering because the IoU of the background, about 99 % of the pixels, is near 1, half of the mean.",
    ),
    (
        "pixel accuracy",
        pixel_accuracy,
        "Share of all pixels that are right. "
        "It is flattering because about 99 % of the pixels are background, so that an empty mask scores as much.",
    ),
)


def _dice_or_one(counts: Int64[Tensor, "*batch 4"]) -> Float64[Tensor, "*batch"]:
    """Return Dice, and 1 instead of nan."""
    return metrics.dice(counts).nan_to_num(nan=1.0)
