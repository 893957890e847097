"""Detection per slice: how well the predicted masks tell slices with tumour from slices without."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from model.scoring.scores import SliceDetection


@dataclass(frozen=True, kw_only=True, eq=False)
class SlicePredictions:
    """Whether each of several slices has a tumour, as predicted and in the true mask."""

    score: Float32[np.ndarray, " slices"]
    """The largest probability in a slice."""

    predicted: Bool[np.ndarray, " slices"]
    """Whether any pixel of the predicted mask is tumour."""

    tumour: Bool[np.ndarray, " slices"]
    """Whether any pixel of the true mask is tumour."""


def predict_per_slice(
    probability: Float32[np.ndarray, "slices height width"],
    predicted: Bool[np.ndarray, "slices height width"],
    masks: Bool[np.ndarray, "slices height width"],
) -> SlicePredictions:
    """Return the predictions for each slice of a patient, from its probabilities and masks."""
    return SlicePredictions(
        score=probability.max((1, 2), initial=0),
        predicted=np.asarray(predicted.any((1, 2))),
        tumour=np.asarray(masks.any((1, 2))),
    )


def score_detection(patients: Sequence[SlicePredictions]) -> SliceDetection:
    """Return how often the slices of all patients together are predicted correctly.

    The slices of a patient resemble each other, so the numbers are less certain than the number of slices suggests.
    """
    if not patients:
        return SliceDetection(
            sensitivity=math.nan, specificity=math.nan, auc=math.nan, num_tumour_slices=0, num_other_slices=0
        )
    score, predicted, tumour = (
        np.concatenate([getattr(one, name) for one in patients]) for name in ("score", "predicted", "tumour")
    )
    num_tumour, num_other = int(tumour.sum()), int((~tumour).sum())
    return SliceDetection(
        sensitivity=float(predicted[tumour].mean()) if num_tumour else math.nan,
        specificity=float(1 - predicted[~tumour].mean()) if num_other else math.nan,
        auc=_auc(score, tumour),
        num_tumour_slices=num_tumour,
        num_other_slices=num_other,
    )


def _auc(score: Float32[np.ndarray, " slices"], tumour: Bool[np.ndarray, " slices"]) -> float:
    """Return the area under the ROC curve, from the sum of ranks; nan if all slices are of one kind.

    Reference: Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    num_tumour, num_other = int(tumour.sum()), int((~tumour).sum())
    if not (num_tumour and num_other):
        return math.nan
    from scipy.stats import rankdata  # here, because the import takes most of a second

    rank_sum = rankdata(score)[tumour].sum()  # ties share their mean rank
    return float((rank_sum - num_tumour * (num_tumour + 1) / 2) / (num_tumour * num_other))
