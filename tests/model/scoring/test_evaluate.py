"""The scores of a patient, worked by hand, and at the resolution of the masks."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import BadFiles
from data.patient import Patient, ReadSlice, SliceFiles, SlicePatient
from data.preprocess import Preprocessing, normalise
from model.export.predictor import Predictor, torch_network
from model.scoring.evaluate import evaluate, evaluate_patient
from model.settings import Settings
from model.unet import UNet, UNetConfig


def patient(name: str, num_slices: int, read_slice: ReadSlice | None = None) -> Patient:
    """Return a patient whose files do not exist: the readers below make the pixels."""
    slices = tuple(
        SliceFiles(number=number, image=Path(f"{name}_{number}"), mask=Path("mask")) for number in range(num_slices)
    )
    return SlicePatient(id=name, slices=slices, read_slice=read_slice or read_bright_half)


def read_bright_half(files: SliceFiles) -> tuple[np.ndarray, np.ndarray]:
    """Return a slice whose tumour is its bright half."""
    mask = np.zeros((24, 32), bool)
    mask[:, : 8 + 8 * (files.number % 2)] = True
    return np.repeat(np.where(mask, 200, 60).astype(np.uint8)[..., None], 3, axis=2), mask


def bright_is_tumour(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return (slices[:, [1]] > mean[1]).astype(np.float32)


def settings(size: int) -> Settings:
    return Settings(preprocessing=Preprocessing(size=size), channel_names=("pre", "flair", "post"))


def scored(predicted, masks, **options):
    """Return the scores of one region."""
    return evaluate_patient("A", predicted[None], masks.astype(np.uint8), **options)


def test_evaluate_patient_has_the_values_worked_by_hand():
    probability = np.zeros((2, 2, 2), np.float32)
    masks = np.zeros((2, 2, 2), bool)
    probability[0] = 0.6
    masks[0, 0], masks[1, 0, 0] = True, True
    found = scored(probability >= 0.6, masks)
    assert found.dice == pytest.approx(4 / 7)  # 2 true and 2 false positives, 1 false negative, slices pooled
    assert (found.iou, found.precision) == pytest.approx((2 / 5, 1 / 2))
    assert (found.recall, found.accuracy) == pytest.approx((2 / 3, 5 / 8))
    assert (found.patient, found.num_slices, found.predicted_pixels, found.true_pixels) == ("A", 2, 4, 3)


def test_evaluate_patient_measures_millimetres_where_the_spacing_is_known():
    predicted, masks = np.zeros((2, 2, 6, 8), bool)
    predicted[0, 2, 2], masks[0, 2, 5] = True, True
    known = scored(predicted, masks, group="G", spacing_mm=(10.0, 1.0, 2.0), distances=True)
    assert (known.hd95, known.assd, known.distance_unit) == (6, 6, "mm")  # 3 columns of 2 mm
    assert (known.predicted_ml, known.true_ml, known.group) == (0.02, 0.02, "G")
    unknown = scored(predicted, masks, distances=True)
    assert (unknown.hd95, unknown.assd, unknown.distance_unit) == (3, 3, "pixels")
    assert math.isnan(unknown.true_ml)
    assert unknown.num_pixels == 2 * 6 * 8


def test_evaluate_patient_measures_no_distances_unless_asked():
    found = scored(np.ones((1, 4, 4), bool), np.ones((1, 4, 4), bool), spacing_mm=(1.0, 1.0, 1.0))
    assert math.isnan(found.hd95)
    assert found.distance_unit is None


@pytest.mark.parametrize("seed", range(5))
def test_evaluate_patient_does_not_depend_on_the_order_of_slices(seed):
    rng = np.random.default_rng(seed)
    predicted, masks = rng.random((6, 8, 8)) < 0.6, rng.random((6, 8, 8)) < 0.3
    order = rng.permutation(6)
    assert scored(predicted, masks) == scored(predicted[order], masks[order])


def test_evaluate_patient_without_tumour_and_prediction_is_undefined():
    found = scored(np.zeros((1, 4, 4), bool), np.zeros((1, 4, 4), bool))
    assert math.isnan(found.dice)
    assert found.accuracy == 1


@pytest.mark.parametrize("size", [16, 32, 48])
def test_evaluate_scores_at_the_masks_own_size(size):
    patients = [patient("B", 3), patient("A", 1)]
    scores = evaluate(bright_is_tumour, patients, settings=settings(size), batch_size=2)
    assert [found.patient for found in scores] == ["B", "A"]
    assert [found.true_pixels for found in scores] == [24 * (8 + 16 + 8), 24 * 8]
    assert all(found.dice > 0.9 for found in scores)


def test_evaluate_is_exact_where_nothing_is_resized():
    (found,) = evaluate(bright_is_tumour, [patient("A", 2)], settings=settings(32))
    assert found.dice == 1


def test_evaluate_names_the_patient_whose_slices_differ():
    def read_slice(files):
        return np.zeros((8, 8 + files.number, 3), np.uint8), np.zeros((8, 8 + files.number), bool)

    with pytest.raises(BadFiles, match=r"A_1: is 8 x 9 x 3 of uint8, but most slices of patient A are 8 x 8 x 3"):
        evaluate(bright_is_tumour, [patient("A", 2, read_slice)], settings=settings(8))


def test_torch_network_normalises_like_the_training():
    torch.manual_seed(0)
    unet = UNet(UNetConfig(depth=1, width=2, dropout=0.5)).train()
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    mean, std = np.array([90, 100, 110], np.float32), np.array([40, 50, 60], np.float32)
    probability = torch_network(Predictor([unet]), torch.device("cpu"))(
        images.transpose(0, 3, 1, 2).astype(np.float32), mean, std
    )
    assert unet.training  # a copy was used
    normalised = torch.from_numpy(normalise(images, np.stack([mean] * 2), np.stack([std] * 2)))
    expected = unet.eval()(normalised).sigmoid().detach().numpy()
    np.testing.assert_allclose(probability, expected, atol=1e-6)
    assert probability.dtype == np.float32
