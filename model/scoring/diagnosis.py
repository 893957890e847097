"""Whether a slice has a tumour at all: what the masks say when they are read as a diagnosis of each slice."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceCalls:
    """Slices, what is called of each, and what it is."""

    score: Float32[np.ndarray, " slices"]
    """The largest probability of a slice."""

    called: Bool[np.ndarray, " slices"]
    """Whether any pixel of the final mask is tumour."""

    tumour: Bool[np.ndarray, " slices"]
    """Whether any pixel of the true mask is."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """How often slices are called rightly; nan where there is no slice of the kind that is asked about."""

    sensitivity: float
    """Share of the slices with tumour that are called."""

    specificity: float
    """Share of the slices without tumour that are not."""

    auc: float
    """Area under the ROC curve: how often a slice with tumour scores higher than one without; a tie counts half."""

    num_tumour_slices: int
    num_other_slices: int


def call_slices(
    probability: Float32[np.ndarray, "slices height width"],
    predicted: Bool[np.ndarray, "slices height width"],
    masks: Bool[np.ndarray, "slices height width"],
) -> SliceCalls:
    """Return what is called of a patient's slices, from the probabilities and the final masks."""
    return SliceCalls(score=probability.max((1, 2), initial=0), called=predicted.any((1, 2)), tumour=masks.any((1, 2)))


def diagnose(patients: Sequence[SliceCalls]) -> Diagnosis:
    """Return how often the slices of all patients together are called rightly.

    The slices of a patient resemble each other, so the numbers are less certain than the number of slices suggests.
    """
    if not patients:
        return Diagnosis(
            sensitivity=math.nan, specificity=math.nan, auc=math.nan, num_tumour_slices=0, num_other_slices=0
        )
    score, called, tumour = (
        np.concatenate([getattr(one, name) for one in patients]) for name in ("score", "called", "tumour")
    )
    num_tumour, num_other = int(tumour.sum()), int((~tumour).sum())
    return Diagnosis(
        sensitivity=float(called[tumour].mean()) if num_tumour else math.nan,
        specificity=float(1 - called[~tumour].mean()) if num_other else math.nan,
        auc=_auc(score, tumour),
        num_tumour_slices=num_tumour,
        num_other_slices=num_other,
    )


def _auc(score: Float32[np.ndarray, " slices"], tumour: Bool[np.ndarray, " slices"]) -> float:
    """Return the area under the ROC curve from the sum of ranks (Hanley and McNeil 1982,
    doi:10.1148/radiology.143.1.7063747)."""
    num_tumour, num_other = int(tumour.sum()), int((~tumour).sum())
    if not (num_tumour and num_other):
        return math.nan
    from scipy.stats import rankdata  # most of a second, which every command would take to begin

    rank_sum = rankdata(score)[tumour].sum()  # ties share their mean rank
    return float((rank_sum - num_tumour * (num_tumour + 1) / 2) / (num_tumour * num_other))
