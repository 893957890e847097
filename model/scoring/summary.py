"""Means over patients, with confidence intervals: of all patients, and of groups of them."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from model.scoring import metrics
from model.scoring.scores import GroupSummary, MetricSummary, PatientScore, ScoreSummary

DISTANCES = ("hd95", "assd")

SIZES_ML = (5.0, 30.0)
"""Lower bounds of the two larger classes of lesions. They are fixed: thirds of the patients would differ from split to
split, and reports could not be compared. 5 ml is a ball 2 cm across, 30 ml one of 4 cm."""

SIZES_PER_CENT = (0.5, 1.5)
"""The same in per cent of the scan's pixels, for patients without a spacing. They divide 20 patients of the LGG set
into 7, 7 and 6."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over patients and the bounds of its confidence interval; nan if there are too few patients."""

    mean: float
    low: float
    high: float


def bootstrap_interval(
    values: Sequence[float], *, seed: int = 0, num_resamples: int = 10_000, level: float = 0.95
) -> Interval:
    """Return the mean of the finite values, one per patient, and its percentile bootstrap interval.

    Patients are resampled, so the interval says how the mean varies over patients like these, and not how it varies
    over trainings. With fewer than two finite values low and high are nan; with none the mean is nan, too.

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


def summarise(scores: Sequence[PatientScore]) -> ScoreSummary:
    """Return the summary of every metric over patients.

    Millimetres and pixels cannot be averaged: if some distances are in pixels, only those in millimetres count.
    """
    found = {name: summarise_values([getattr(score, name) for score in scores]) for name in metrics.METRICS}
    units = {score.distance_unit for score in scores if score.distance_unit is not None}
    unit = "mm" if "mm" in units else "pixels" if units else None
    if unit is not None:
        measured = [score for score in scores if score.distance_unit == unit]
        found |= {name: summarise_values([getattr(score, name) for score in measured]) for name in DISTANCES}
    by_region = defaultdict(list)
    for score in scores:
        for region in score.regions:
            by_region[region.name].append((region, score.distance_unit))
    names = (*metrics.METRICS, *(DISTANCES if unit is not None else ()))
    return ScoreSummary(
        num_patients=len(scores),
        by_metric=found,
        distance_unit=unit,
        by_region={
            region: {
                name: summarise_values([getattr(one, name) for one, of in rows if name not in DISTANCES or of == unit])
                for name in names
            }
            for region, rows in by_region.items()
        },
    )


def finite_mean(values: Iterable[float]) -> float:
    """Return the mean of the finite values; nan if there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def summarise_values(values: Sequence[float]) -> MetricSummary:
    """Return the summary of one value per patient."""
    finite = [value for value in values if math.isfinite(value)]
    interval = bootstrap_interval(finite)
    return MetricSummary(
        mean=interval.mean,
        median=float(np.median(finite)) if finite else math.nan,
        low=interval.low,
        high=interval.high,
        num_patients=len(finite),
    )


def by_lesion_size(scores: Sequence[PatientScore]) -> list[GroupSummary]:
    """Return the Dice of each class of true tumour volume that has patients, smallest first.

    The classes are in millilitres (SIZES_ML) if all spacings are known. Otherwise they are shares of the scan's pixels
    (SIZES_PER_CENT), which depend on how much was scanned around the tumour. Patients without tumour are a class of
    their own.
    """
    known = all(score.true_ml >= 0 for score in scores)  # false for nan
    (small, large), unit = (SIZES_ML, "ml") if known else (SIZES_PER_CENT, "% of the scan")
    names = (f"below {small:g} {unit}", f"{small:g} to {large:g} {unit}", f"from {large:g} {unit} on")
    members: dict[str, list[PatientScore]] = {name: [] for name in ("no tumour", *names)}
    for score in scores:
        size = score.true_ml if known else 100 * score.true_pixels / score.num_pixels
        members[names[(size >= small) + (size >= large)] if size else "no tumour"].append(score)
    return [_summarise_group(name, chosen) for name, chosen in members.items() if chosen]


def by_group(scores: Sequence[PatientScore]) -> list[GroupSummary]:
    """Return the Dice of each group of patients (an institution, or a folder), sorted by name.

    Patients without a group form a group with an empty name.
    """
    members = defaultdict(list)
    for score in scores:
        members[score.group].append(score)
    return [_summarise_group(name, members[name]) for name in sorted(members)]


def _summarise_group(name: str, scores: Sequence[PatientScore]) -> GroupSummary:
    return GroupSummary(name=name, num_patients=len(scores), dice=summarise_values([score.dice for score in scores]))
