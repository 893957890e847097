"""What notebooks report, compared with scikit-learn and worked by hand; it flatters as its description says."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

from model.scoring import metrics
from model.scoring.evaluate import evaluate_patient
from model.scoring.notebook_metrics import (
    batch_dice,
    mean_iou,
    notebook_metrics,
    pixel_accuracy,
    slice_dice,
    training_accuracy,
)


def random_slices(seed: int, num_slices: int = 37) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted and true masks, many of them empty."""
    rng = np.random.default_rng(seed)
    predicted, masks = (rng.random((num_slices, 6, 6)) < 0.4 * (rng.random((num_slices, 1, 1)) < 0.5) for _ in range(2))
    return predicted, masks


def count(predicted: np.ndarray, masks: np.ndarray) -> torch.Tensor:
    return metrics.count(torch.from_numpy(predicted), torch.from_numpy(masks))


@pytest.mark.parametrize("seed", range(10))
def test_notebook_metrics_agree_with_scikit_learn(seed):
    predicted, masks = random_slices(seed)
    counts = count(predicted, masks)

    def dice_of(part: slice) -> float:
        true, found = masks[part].ravel(), predicted[part].ravel()
        return f1_score(true, found, zero_division=1.0)  # pyright: ignore[reportArgumentType]  # its stub says str

    slices = [dice_of(slice(i, i + 1)) for i in range(37)]
    batches = [dice_of(slice(i, i + 16)) for i in (0, 16, 32)]
    both_classes = jaccard_score(masks.ravel(), predicted.ravel(), average="macro")
    assert slice_dice(counts) == pytest.approx(np.mean(slices), abs=1e-6)
    assert batch_dice(counts) == pytest.approx(np.mean(batches), abs=1e-6)
    assert mean_iou(counts) == pytest.approx(both_classes, abs=1e-6)
    assert pixel_accuracy(counts) == pytest.approx(accuracy_score(masks.ravel(), predicted.ravel()), abs=1e-6)


def test_notebook_metrics_have_the_values_worked_by_hand():
    counts = torch.tensor([[1, 1, 0, 2], [0, 0, 0, 4], [0, 0, 1, 3]])  # TP, FP, FN, TN
    assert slice_dice(counts) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert batch_dice(counts) == pytest.approx(2 / 4)
    assert mean_iou(counts) == pytest.approx((1 / 3 + 9 / 11) / 2)
    assert pixel_accuracy(counts) == pytest.approx(10 / 12)


def test_a_network_that_never_finds_a_tumour_still_shines():
    masks = np.zeros((48, 20, 20), bool)
    masks[:4, :3, :3] = True
    found = {one.name: one.value for one in notebook_metrics(count(np.zeros_like(masks), masks))}
    assert found["slice-wise Dice, empty = 1"] == pytest.approx(44 / 48)
    assert found["batch-wise Dice, batches of 16"] == pytest.approx(2 / 3)
    assert found["mean IoU over both classes"] == pytest.approx(0.5, abs=0.01)
    assert found["pixel accuracy"] > 0.998


def test_descriptions_are_sentences():
    for one in notebook_metrics(torch.tensor([[1, 1, 0, 2]])):
        assert one.description.count(".") >= 2
        assert "It is flattering " in one.description


def test_mean_iou_leaves_out_a_class_that_does_not_occur():
    assert mean_iou(torch.tensor([[0, 0, 0, 9]])) == 1
    assert mean_iou(torch.tensor([[5, 0, 4, 0]])) == pytest.approx((5 / 9 + 0) / 2)


def test_notebook_metrics_without_patients_are_nan():
    assert all(math.isnan(one.value) for one in notebook_metrics(torch.zeros((0, 4), dtype=torch.int64)))


def test_training_accuracy_is_that_of_all_pixels_together():
    rng = np.random.default_rng(0)
    patients = [[rng.random((slices, 5, 7)) < 0.3 for _ in range(2)] for slices in (2, 9)]
    figure = training_accuracy(
        [evaluate_patient("P", predicted[None], masks.astype(np.uint8)) for predicted, masks in patients]
    )
    both = [np.concatenate([patient[which].ravel() for patient in patients]) for which in (0, 1)]
    assert figure.value == pytest.approx(accuracy_score(both[1], both[0]), abs=1e-12)
    assert "on 2 of the patients" in figure.description


def test_training_accuracy_of_no_patients_is_nan():
    assert math.isnan(training_accuracy([]).value)
