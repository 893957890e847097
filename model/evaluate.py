"""How good a network is: a row per patient, then the mean over patients and how far to trust it.

Scores are volumetric, per patient, and at the resolution of the masks as they were drawn: a resized mask would flatter
a network that never saw the fine outline.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from data.patient import Patient
from model import metrics
from model.inference import Network, predict_volume, to_masks
from model.settings import Settings


@dataclass(frozen=True, kw_only=True)
class PatientScore:
    """The metrics of one patient, all slices pooled; a metric is nan where its denominator is zero."""

    patient: str
    num_slices: int
    dice: float
    iou: float
    precision: float
    recall: float
    accuracy: float
    predicted_pixels: int
    true_pixels: int


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over patients and the bounds of its confidence interval; nan where there are too few patients."""

    mean: float
    low: float
    high: float


def evaluate(
    network: Network,
    patients: Sequence[Patient],
    *,
    settings: Settings,
    batch_size: int = 16,
) -> list[PatientScore]:
    """Return the scores of the patients, in their order, at the original resolution of their masks.

    Raises:
        BadFiles: A patient cannot be read.
    """
    scores = []
    for patient in patients:
        volume = patient.read()
        probability = predict_volume(network, volume.images, settings.preprocessing, batch_size=batch_size)
        scores.append(evaluate_patient(patient.id, to_masks(probability, settings), volume.masks))
    return scores


def evaluate_patient(
    patient_id: str,
    predicted: Bool[np.ndarray, "slices height width"],
    masks: Bool[np.ndarray, "slices height width"],
) -> PatientScore:
    """Return one patient's scores; its slices are counted as one."""
    counts = metrics.count(torch.from_numpy(predicted), torch.from_numpy(masks)).sum(0)
    return PatientScore(
        patient=patient_id,
        num_slices=len(masks),
        predicted_pixels=int(predicted.sum()),
        true_pixels=int(masks.sum()),
        **{name: metric(counts).item() for name, metric in metrics.METRICS.items()},
    )


def bootstrap_interval(
    values: Sequence[float], *, seed: int = 0, num_resamples: int = 10_000, level: float = 0.95
) -> Interval:
    """Return the mean of the values and its percentile bootstrap interval; nan values are left out.

    Whole patients are drawn anew, so the interval speaks of other patients like these, not of other trainings. Fewer
    than two finite values have no interval: low and high are nan, and of no value at all the mean is, too.

    Reference: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.

    Raises:
        ValueError: `num_resamples` is below 1, or `level` is not between 0 and 1.
    """
    if num_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"num_resamples is {num_resamples} and level {level}, but must be at least 1, and in (0, 1)")
    finite = np.array([value for value in values if math.isfinite(value)])
    if len(finite) < 2:
        return Interval(mean=float(finite[0]) if len(finite) else math.nan, low=math.nan, high=math.nan)
    drawn = np.random.default_rng(seed).integers(len(finite), size=(num_resamples, len(finite)))
    low, high = np.quantile(finite[drawn].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean=float(finite.mean()), low=float(low), high=float(high))


def summarise(scores: Sequence[PatientScore]) -> dict[str, Any]:
    """Return num_patients and, by metric, mean, median, low and high (95 %) over the patients where it is defined."""
    summary: dict[str, Any] = {"num_patients": len(scores)}
    for name in metrics.METRICS:
        values = [getattr(score, name) for score in scores]
        finite = [value for value in values if math.isfinite(value)]
        interval = bootstrap_interval(values)
        summary[name] = {
            "mean": interval.mean,
            "median": float(np.median(finite)) if finite else math.nan,
            "low": interval.low,
            "high": interval.high,
        }
    return summary
