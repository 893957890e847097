"""Detection per slice, compared with scikit-learn, worked by hand, and where one kind of slice is missing."""

import math

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from model.scoring.slice_detection import SlicePredictions, predict_per_slice, score_detection


def predictions(score: list[float], tumour: list[bool], threshold: float = 0.5) -> SlicePredictions:
    values = np.array(score, np.float32)
    return SlicePredictions(score=values, predicted=values >= threshold, tumour=np.array(tumour, bool))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("decimals", [1, 6])
def test_detection_agrees_with_scikit_learn(seed, decimals):
    rng = np.random.default_rng(seed)
    tumour = rng.random(60) < 0.4
    score = np.round(np.clip(rng.random(60) + 0.2 * tumour, 0, 1), decimals)  # one decimal: many ties
    whole = predictions(score.tolist(), tumour.tolist())
    parts = (slice(20), slice(20, 60))
    found = score_detection([predictions(score[part].tolist(), tumour[part].tolist()) for part in parts])
    assert found.auc == pytest.approx(roc_auc_score(tumour, whole.score), abs=1e-6)
    assert found.sensitivity == pytest.approx(recall_score(tumour, whole.predicted), abs=1e-6)
    assert found.specificity == pytest.approx(recall_score(~tumour, ~whole.predicted), abs=1e-6)
    assert (found.num_tumour_slices, found.num_other_slices) == (tumour.sum(), (~tumour).sum())


def test_detection_has_the_values_worked_by_hand():
    found = score_detection([predictions([0.9, 0.4, 0.6, 0.4, 0.1], [True, True, False, False, False])])
    assert found.sensitivity == 1 / 2
    assert found.specificity == pytest.approx(2 / 3)
    assert found.auc == pytest.approx((3 + 0 + 0.5 + 1) / 6)  # 0.9 is above three, 0.4 below, equal to, above one


def test_detection_without_a_kind_of_slice_is_nan():
    healthy = score_detection([predictions([0.6, 0.1], [False, False])])
    ill = score_detection([predictions([0.6, 0.1], [True, True])])
    assert math.isnan(healthy.sensitivity)
    assert math.isnan(ill.specificity)
    assert (healthy.specificity, ill.sensitivity) == (0.5, 0.5)
    assert math.isnan(healthy.auc)
    assert math.isnan(ill.auc)


def test_detection_without_patients_is_nan():
    found = score_detection([])
    assert (found.num_tumour_slices, found.num_other_slices) == (0, 0)
    assert all(map(math.isnan, (found.sensitivity, found.specificity, found.auc)))


def test_predict_per_slice_takes_the_largest_probability_and_the_final_mask():
    probability = np.zeros((3, 2, 2), np.float32)
    predicted, masks = np.zeros((2, 3, 2, 2), bool)
    probability[0, 1, 1], probability[1, 0, 0] = 0.75, 0.5
    predicted[0, 1, 1] = True  # slice 1 was not part of the largest component, say
    masks[1, 1] = True
    found = predict_per_slice(probability, predicted, masks)
    assert found.score.tolist() == [0.75, 0.5, 0]
    assert found.predicted.tolist() == [True, False, False]
    assert found.tumour.tolist() == [False, True, False]
