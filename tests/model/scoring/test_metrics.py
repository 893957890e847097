"""The metrics, compared with scipy and sets of pixels, worked by hand, and where they are undefined."""

import numpy as np
import pytest
import torch
from scipy.spatial import distance
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from model.scoring import metrics


def random_masks(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return prediction and mask of three slices."""
    rng = np.random.default_rng(seed)
    prediction, mask = (torch.from_numpy(rng.random((3, 8, 8)) < rng.uniform(0.1, 0.9)) for _ in range(2))
    return prediction, mask


@pytest.mark.parametrize("seed", range(10))
def test_metrics_agree_with_scipy(seed):
    prediction, mask = random_masks(seed)
    counts = metrics.count(prediction, mask).sum(0)
    flat = prediction.numpy().ravel(), mask.numpy().ravel()
    assert metrics.dice(counts).item() == pytest.approx(1 - distance.dice(*flat))
    assert metrics.iou(counts).item() == pytest.approx(1 - distance.jaccard(*flat))
    assert metrics.accuracy(counts).item() == pytest.approx(1 - distance.hamming(*flat))


@pytest.mark.parametrize("seed", range(10))
def test_metrics_agree_with_scikit_learn(seed):
    prediction, mask = random_masks(seed)
    counts = metrics.count(prediction, mask).sum(0)
    true_and_predicted = mask.numpy().ravel(), prediction.numpy().ravel()
    theirs = {"dice": f1_score, "iou": jaccard_score, "precision": precision_score, "recall": recall_score}
    for name, function in (theirs | {"accuracy": accuracy_score}).items():
        assert metrics.METRICS[name](counts).item() == pytest.approx(function(*true_and_predicted), abs=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_metrics_agree_with_sets_of_pixels(seed):
    prediction, mask = random_masks(seed)
    counts = metrics.count(prediction, mask).sum(0)
    predicted, true = ({tuple(index) for index in pixels.nonzero().tolist()} for pixels in (prediction, mask))
    assert metrics.dice(counts).item() == 2 * len(predicted & true) / (len(predicted) + len(true))
    assert metrics.iou(counts).item() == len(predicted & true) / len(predicted | true)
    assert metrics.precision(counts).item() == len(predicted & true) / len(predicted)
    assert metrics.recall(counts).item() == len(predicted & true) / len(true)


@pytest.mark.parametrize("seed", range(5))
def test_counts_add_up_to_the_pixels_of_each_slice(seed):
    counts = metrics.count(*random_masks(seed))
    assert counts.sum(-1).tolist() == [64, 64, 64]


def test_metrics_have_the_values_worked_by_hand():
    prediction = torch.tensor([[True, True, True], [False, False, False]])
    mask = torch.tensor([[True, False, False], [True, False, False]])
    counts = metrics.count(prediction, mask)
    assert counts.tolist() == [1, 2, 1, 2]  # true and false positives, false and true negatives
    values = {name: metric(counts).item() for name, metric in metrics.METRICS.items()}
    assert values == pytest.approx(
        {"dice": 2 / 5, "iou": 1 / 4, "precision": 1 / 3, "recall": 1 / 2, "accuracy": 1 / 2}
    )


def test_dice_of_pooled_slices_is_not_the_mean_over_slices():
    prediction = torch.zeros(2, 2, 2, dtype=torch.bool)
    mask = torch.zeros(2, 2, 2, dtype=torch.bool)
    prediction[0], mask[0, 0] = True, True  # Dice 2/3
    mask[1, 0, 0] = True  # missed: Dice 0
    counts = metrics.count(prediction, mask)
    assert metrics.dice(counts).mean().item() == pytest.approx(1 / 3)
    assert metrics.dice(counts.sum(0)).item() == pytest.approx(4 / 7)


def test_metrics_of_two_empty_masks_are_nan_but_for_accuracy():
    empty = torch.zeros(4, 4, dtype=torch.bool)
    counts = metrics.count(empty, empty)
    undefined = {name: metric(counts).isnan().item() for name, metric in metrics.METRICS.items()}
    assert undefined == {"dice": True, "iou": True, "precision": True, "recall": True, "accuracy": False}
    assert metrics.accuracy(counts).item() == 1


def test_metrics_of_a_missed_tumour_are_zero_and_precision_is_nan():
    empty, mask = torch.zeros(4, 4, dtype=torch.bool), torch.ones(4, 4, dtype=torch.bool)
    counts = metrics.count(empty, mask)
    assert [metric(counts).item() for metric in (metrics.dice, metrics.iou, metrics.recall)] == [0, 0, 0]
    assert metrics.precision(counts).isnan()


def test_metrics_of_a_whole_study_do_not_lose_pixels():
    counts = torch.tensor([2**40, 1, 0, 2**52])  # more than float32, or an int32, could tell apart
    assert metrics.dice(counts).item() == 2**41 / (2**41 + 1) < 1


def test_count_refuses_probabilities():
    with pytest.raises(Exception, match="prediction"):  # jaxtyping's own error, which it does not export
        metrics.count(torch.rand(4, 4), torch.zeros(4, 4, dtype=torch.bool))
