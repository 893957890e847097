"""Calibration and thresholds from histograms, compared with scikit-learn and with whole arrays, and by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from model.scoring import metrics
from model.scoring.calibration import (
    EDGES,
    NO_PIXELS,
    THRESHOLDS,
    ProbabilityCounts,
    best_threshold,
    count_probabilities,
)

HALF_A_BIN = 0.00625  # in probability: half of 0.05 in the logit, times the steepest slope of 1 / 4


def pixels(seed: int, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and masks. They are calibrated if the temperature is 1, and overconfident if it is above."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1.5, (3, 40, 40))
    return expit(temperature * logits).astype(np.float32), rng.random(logits.shape) < expit(logits)


def of_pixels(probability: list[float], tumour: list[bool]) -> ProbabilityCounts:
    return count_probabilities(np.array([[probability]], np.float32), np.array([[tumour]]))


def dice(probability: np.ndarray, masks: np.ndarray, threshold: float) -> float:
    predicted = torch.from_numpy(probability >= threshold)
    return metrics.dice(metrics.count(predicted, torch.from_numpy(masks)).sum(0)).item()


def test_edges_are_ascending_and_one_is_a_half():
    assert (np.diff(EDGES) > 0).all()
    assert 0.5 in THRESHOLDS
    assert (min(THRESHOLDS), max(THRESHOLDS)) == pytest.approx((0.05, 0.95), abs=0.003)


@pytest.mark.parametrize("seed", range(3))
def test_dice_at_an_edge_is_that_of_the_masks(seed):
    probability, masks = pixels(seed)
    probability.ravel()[: len(EDGES)] = EDGES  # a pixel on every edge, where rounding would show
    counts = count_probabilities(probability, masks)
    assert [counts.dice(t) for t in THRESHOLDS] == [dice(probability, masks, t) for t in THRESHOLDS]


@pytest.mark.parametrize("seed", range(3))
def test_dice_between_edges_is_that_of_the_nearest(seed):
    probability, masks = pixels(seed)
    counts = count_probabilities(probability, masks)
    for threshold in np.linspace(0.01, 0.99, 23):
        nearest = EDGES[np.abs(EDGES - threshold).argmin()]
        assert abs(nearest - threshold) <= HALF_A_BIN
        assert counts.dice(threshold) == dice(probability, masks, float(nearest))


def test_dice_has_the_value_worked_by_hand():
    counts = of_pixels([0.0, 0.3, 0.5, 0.7, 1.0], [False, True, True, False, True])
    assert counts.dice(0.5) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert counts.dice(0.9) == pytest.approx(2 * 1 / (2 * 1 + 0 + 2))


def test_dice_without_tumour_is_zero_or_nan():
    counts = of_pixels([0.1, 0.6], [False, False])
    assert counts.dice(0.5) == 0
    assert math.isnan(counts.dice(0.9))


@pytest.mark.parametrize("seed", range(3))
def test_counts_add_up(seed):
    parts = [pixels(seed + i) for i in range(3)]
    total = sum((count_probabilities(*part) for part in parts), NO_PIXELS)
    whole = count_probabilities(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    np.testing.assert_array_equal(total.tumour, whole.tumour)
    np.testing.assert_array_equal(total.other, whole.other)
    assert total.tumour.sum() + total.other.sum() == 9 * 40 * 40


@pytest.mark.parametrize("seed", range(5))
def test_reliability_agrees_with_scikit_learn(seed):
    probability, masks = pixels(seed, temperature=1.5)
    middles = 1 / (1 + np.exp(-(np.floor(logit(probability.astype(float)) / 0.05) + 0.5) * 0.05))
    rows = [row for row in count_probabilities(probability, masks).reliability(10) if row.num_pixels]
    share, mean = calibration_curve(masks.ravel(), middles.ravel(), n_bins=10)
    np.testing.assert_allclose([row.tumour_share for row in rows], share, atol=1e-6)
    np.testing.assert_allclose([row.mean_probability for row in rows], mean, atol=1e-6)
    assert np.abs(middles - probability).max() <= HALF_A_BIN + 1e-6


def test_reliability_has_the_values_worked_by_hand():
    low, high = of_pixels([0.1, 0.1, 0.9], [False, True, True]).reliability(2)
    assert (low.low, low.high, low.num_pixels, low.tumour_share) == (0, 0.5, 2, 0.5)
    assert (high.low, high.high, high.num_pixels, high.tumour_share) == (0.5, 1, 1, 1)
    assert (low.mean_probability, high.mean_probability) == pytest.approx((0.1, 0.9), abs=HALF_A_BIN)


def test_reliability_of_an_empty_bin_is_nan():
    low, _ = of_pixels([0.9], [True]).reliability(2)
    assert low.num_pixels == 0
    assert math.isnan(low.mean_probability)
    assert math.isnan(low.tumour_share)


def test_expected_calibration_error_has_the_value_worked_by_hand():
    counts = of_pixels([0.1, 0.1, 0.9], [False, True, True])
    assert counts.expected_calibration_error(2) == pytest.approx((2 * 0.4 + 1 * 0.1) / 3, abs=HALF_A_BIN)


@pytest.mark.parametrize("seed", range(5))
def test_expected_calibration_error_is_larger_for_an_overconfident_network(seed):
    honest, sure = (count_probabilities(*pixels(seed, t)).expected_calibration_error() for t in (1, 3))
    assert honest < 0.03 < 0.06 < sure


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_negative_log_likelihood_agrees_with_scikit_learn(seed, temperature):
    probability, masks = pixels(seed)
    softened = expit(logit(probability.astype(float)) / temperature)
    expected = log_loss(masks.ravel(), softened.ravel())
    found = count_probabilities(probability, masks).negative_log_likelihood(temperature)
    assert found == pytest.approx(expected, abs=0.025 / temperature)  # the bound; errors within bins cancel:
    assert found == pytest.approx(expected, abs=0.002)


def test_negative_log_likelihood_of_certain_mistakes_is_twelve():
    assert of_pixels([0.0, 1.0], [True, False]).negative_log_likelihood() == pytest.approx(12, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_fit_temperature_finds_how_overconfident_a_network_is(seed, temperature):
    counts = count_probabilities(*pixels(seed, temperature))
    found = counts.fit_temperature()
    assert found == pytest.approx(temperature, rel=0.1)
    assert counts.negative_log_likelihood(found) <= counts.negative_log_likelihood(1.0) + 1e-9


def test_calibration_of_no_pixels_is_nan():
    for nothing in (NO_PIXELS, count_probabilities(np.zeros((0, 4, 4), np.float32), np.zeros((0, 4, 4), bool))):
        values = nothing.expected_calibration_error(), nothing.negative_log_likelihood(), nothing.fit_temperature()
        assert all(map(math.isnan, values))


def test_count_probabilities_refuses_nan():
    with pytest.raises(ValueError, match="some probabilities are nan, but must be from 0 to 1"):
        of_pixels([0.5, math.nan], [True, False])


@pytest.mark.parametrize("seed", range(3))
def test_best_threshold_is_that_of_the_masks(seed):
    patients = [pixels(10 * seed + i, temperature=2) for i in range(4)]
    means = {t: float(np.mean([dice(*patient, t) for patient in patients])) for t in THRESHOLDS}
    threshold, mean = best_threshold([count_probabilities(*patient) for patient in patients])
    assert mean == pytest.approx(max(means.values()))
    assert means[threshold] == pytest.approx(mean)


def test_best_threshold_is_nearest_to_a_half_among_equals():
    counts = of_pixels([0.1, 0.9], [False, True])
    assert best_threshold([counts]) == (0.5, 1)
    threshold, mean = best_threshold([counts], [0.2, 0.4, 0.7])
    assert (threshold, mean) == (pytest.approx(0.4, abs=HALF_A_BIN), 1)
    assert threshold in THRESHOLDS


def test_best_threshold_weighs_patients_and_not_pixels():
    large = of_pixels([0.8] * 50 + [0.3] * 50, [True] * 50 + [False] * 50)
    small = [of_pixels([0.3, 0.1], [True, False])] * 2
    assert best_threshold([large, *small], [0.2, 0.5])[0] == pytest.approx(0.2, abs=HALF_A_BIN)
    assert best_threshold([large], [0.2, 0.5])[0] == 0.5


def test_best_threshold_leaves_patients_without_dice_out():
    nobody = of_pixels([0.0, 0.0], [False, False])
    assert best_threshold([of_pixels([0.1, 0.9], [False, True]), nobody]) == (0.5, 1)
    threshold, mean = best_threshold([nobody])
    assert threshold == 0.5
    assert math.isnan(mean)
    assert math.isnan(best_threshold([])[1])


@pytest.mark.parametrize("grid", [(), (0.0, 0.5), (math.nan,)])
def test_best_threshold_refuses_illegal_thresholds(grid):
    with pytest.raises(ValueError, match=r"grid is \[.*\], but must be at least one threshold above 0 and below 1"):
        best_threshold([], grid)
