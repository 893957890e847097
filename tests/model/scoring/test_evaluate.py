"""Evaluation: a patient's score by hand, at the masks' own size, and intervals that can be trusted."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import BadFiles
from data.patient import Patient, ReadSlice, SliceFiles, SlicePatient
from data.preprocess import Preprocessing, normalise
from model.export.predictor import Predictor, torch_network
from model.scoring.evaluate import (
    PatientScore,
    bootstrap_interval,
    evaluate,
    evaluate_patient,
    summarise,
)
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
    return (slices[:, 1] > mean[1]).astype(np.float32)


def settings(size: int) -> Settings:
    return Settings(preprocessing=Preprocessing(size=size), channel_names=("pre", "flair", "post"))


def score(name: str, dice: float) -> PatientScore:
    return PatientScore(
        patient=name,
        num_slices=1,
        dice=dice,
        iou=dice / 2,
        precision=1.0,
        recall=0.5,
        accuracy=0.9,
        predicted_pixels=1,
        true_pixels=1,
    )


def test_evaluate_patient_has_the_values_worked_by_hand():
    probability = np.zeros((2, 2, 2), np.float32)
    masks = np.zeros((2, 2, 2), bool)
    probability[0] = 0.6
    masks[0, 0], masks[1, 0, 0] = True, True
    found = evaluate_patient("A", probability >= 0.6, masks)
    assert found.dice == pytest.approx(4 / 7)  # 2 true and 2 false positives, 1 false negative, slices pooled
    assert (found.iou, found.precision) == pytest.approx((2 / 5, 1 / 2))
    assert (found.recall, found.accuracy) == pytest.approx((2 / 3, 5 / 8))
    assert (found.patient, found.num_slices, found.predicted_pixels, found.true_pixels) == ("A", 2, 4, 3)


def test_evaluate_patient_measures_millimetres_where_the_spacing_is_known():
    predicted, masks = np.zeros((2, 2, 6, 8), bool)
    predicted[0, 2, 2], masks[0, 2, 5] = True, True
    known = evaluate_patient("A", predicted, masks, group="G", spacing_mm=(10.0, 1.0, 2.0), distances=True)
    assert (known.hd95, known.assd, known.distance_unit) == (6, 6, "mm")  # 3 columns of 2 mm
    assert (known.predicted_ml, known.true_ml, known.group) == (0.02, 0.02, "G")
    unknown = evaluate_patient("A", predicted, masks, distances=True)
    assert (unknown.hd95, unknown.assd, unknown.distance_unit) == (3, 3, "pixels")
    assert math.isnan(unknown.true_ml)
    assert unknown.num_pixels == 2 * 6 * 8


def test_evaluate_patient_measures_no_distances_unless_asked():
    found = evaluate_patient("A", np.ones((1, 4, 4), bool), np.ones((1, 4, 4), bool), spacing_mm=(1.0, 1.0, 1.0))
    assert math.isnan(found.hd95)
    assert found.distance_unit is None


@pytest.mark.parametrize("seed", range(5))
def test_evaluate_patient_does_not_depend_on_the_order_of_slices(seed):
    rng = np.random.default_rng(seed)
    predicted, masks = rng.random((6, 8, 8)) < 0.6, rng.random((6, 8, 8)) < 0.3
    order = rng.permutation(6)
    assert evaluate_patient("A", predicted, masks) == evaluate_patient("A", predicted[order], masks[order])


def test_evaluate_patient_without_tumour_and_prediction_is_undefined():
    found = evaluate_patient("A", np.zeros((1, 4, 4), bool), np.zeros((1, 4, 4), bool))
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


@pytest.mark.parametrize("seed", range(10))
def test_bootstrap_interval_holds_the_mean_and_is_repeatable(seed):
    values = np.random.default_rng(seed).beta(8, 2, 22).tolist()
    interval = bootstrap_interval(values, seed=seed, num_resamples=500)
    assert interval.mean == pytest.approx(np.mean(values))
    assert interval.low < interval.mean < interval.high
    assert interval == bootstrap_interval(values, seed=seed, num_resamples=500)


def test_bootstrap_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.beta(8, 2, 30).tolist(), seed=i, num_resamples=400) for i in range(200)]
    covered = np.mean([interval.low <= 0.8 <= interval.high for interval in intervals])
    assert 0.88 <= covered <= 0.99  # 0.95 but for 200 draws, and the bootstrap's known optimism with 30 values


def test_bootstrap_interval_is_near_the_normal_one_for_many_values():
    values = np.random.default_rng(0).normal(0.8, 0.1, 1000).tolist()
    interval = bootstrap_interval(values, num_resamples=2000)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.1 / math.sqrt(1000), rel=0.1)


def test_bootstrap_interval_leaves_nan_out():
    assert bootstrap_interval([0.5, math.nan, 0.7]) == bootstrap_interval([0.5, 0.7])


@pytest.mark.parametrize(("values", "mean"), [([], math.nan), ([math.nan], math.nan), ([0.5, math.nan], 0.5)])
def test_bootstrap_interval_of_fewer_than_two_values_has_no_bounds(values, mean):
    interval = bootstrap_interval(values)
    assert interval.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_bootstrap_interval_refuses_an_illegal_level():
    with pytest.raises(ValueError, match=r"level 95.0, but must be .* in \(0, 1\)"):
        bootstrap_interval([0.1, 0.2], level=95.0)


def test_summarise_has_the_values_worked_by_hand():
    summary = summarise([score("A", 0.5), score("B", 0.9), score("C", 0.7), score("D", math.nan)])
    assert summary["num_patients"] == 4
    assert summary["dice"]["mean"] == pytest.approx(0.7)
    assert summary["dice"]["median"] == pytest.approx(0.7)
    assert 0.5 <= summary["dice"]["low"] < 0.7 < summary["dice"]["high"] <= 0.9
    assert summary["precision"] == {"mean": 1, "median": 1, "low": 1, "high": 1, "num_patients": 4}
    assert summary["dice"]["num_patients"] == 3  # where it is defined
    assert "hd95" not in summary  # nothing was measured


def test_summarise_of_nobody_is_nan():
    summary = summarise([])
    assert summary["num_patients"] == 0
    assert all(math.isnan(summary["dice"][name]) for name in ("mean", "median", "low", "high"))


def test_summarise_has_distances_where_they_were_measured():
    near = replace(score("A", 0.5), hd95=2.0, assd=1.0, distance_unit="mm")
    far = replace(score("B", 0.5), hd95=4.0, assd=2.0, distance_unit="mm")
    missed = replace(score("C", 0.0), distance_unit="mm")
    summary = summarise([near, far, missed])
    assert (summary["hd95"]["mean"], summary["assd"]["median"]) == (3, 1.5)
    assert (summary["hd95"]["num_patients"], summary["num_patients"]) == (2, 3)
    assert summary["distance_unit"] == "mm"


def test_summarise_never_mixes_millimetres_and_pixels():
    known, unknown = replace(score("A", 0.5), hd95=2.0, distance_unit="mm"), score("B", 0.5)
    unknown = replace(unknown, hd95=40.0, distance_unit="pixels")
    assert summarise([unknown, known])["hd95"]["mean"] == 2
    assert summarise([unknown])["hd95"]["mean"] == 40
    assert summarise([unknown])["distance_unit"] == "pixels"


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
    expected = unet.eval()(normalised).sigmoid().squeeze(1).detach().numpy()
    np.testing.assert_allclose(probability, expected, atol=1e-6)
    assert probability.dtype == np.float32
