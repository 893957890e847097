"""Several regions, from the loss to what a prediction writes; with one region, everything is as without regions."""

import json
import math
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from data.packing.pack import pack_patients
from data.preprocess import Preprocessing
from data.regions import WHOLE, decode, encode, parse_regions
from data.source import ReadingOptions, find_source
from model.device import find_device
from model.export.onnx_export import export_onnx
from model.export.predictor import Predictor, torch_network
from model.export.torch_program import export_program
from model.export.tracing import ExportError
from model.inference.runtime import load_model
from model.inference.volume import predict_volume, to_masks
from model.overlay import GAP, REGION_COLOURS, draw_overlay, draw_panel
from model.predict.__main__ import main as predict
from model.predict.exported_model import ExportedModel
from model.scoring import metrics
from model.scoring.assess import assess
from model.scoring.evaluate import evaluate_patient
from model.scoring.summary import summarise
from model.settings import ModelError, Settings
from model.training.losses import training_loss
from model.training.train import train
from model.training.train_config import TrainConfig
from model.training.validate import count_by_patient, validate
from model.unet import UNet, UNetConfig
from model.weights import read_weights, write_weights
from tests.support.nifti import as_nifti

BRATS = parse_regions(("brats2021",))
SETTINGS = Settings(
    preprocessing=Preprocessing(size=16),
    channel_names=("t1", "flair"),
    data_format="nifti",
    regions=BRATS,
    region_thresholds=(0.3, 0.5, 0.6),
)


def network(seed=0):
    torch.manual_seed(seed)
    unet = UNet(UNetConfig(in_channels=2, num_regions=3, depth=1, width=4, dropout=0.0)).eval()
    with torch.no_grad():
        unet.head.weight.mul_(8)
    return unet


def predictor():
    return Predictor([network(0), network(1)], threshold=SETTINGS.region_thresholds, flips=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Three cases of two modalities with the labels 1, 2 and 4."""
    folder = tmp_path_factory.mktemp("cases")
    for case in range(3):
        rng = np.random.default_rng(case)
        labels = np.zeros((5, 20, 24), np.uint8)
        labels[1:4, 4:14, 5:16] = 2
        labels[1:4, 6:12, 7:14] = 1
        labels[2:4, 7:10, 8:12] = 4
        (folder / f"P{case}").mkdir()
        for name in ("t1", "flair"):
            image = 60 + 30 * labels + rng.integers(0, 20, labels.shape)
            as_nifti(image.astype(np.int16)).to_filename(folder / f"P{case}" / f"P{case}_{name}.nii.gz")
        as_nifti(labels).to_filename(folder / f"P{case}" / f"P{case}_seg.nii.gz")
    return folder


@pytest.fixture(scope="module")
def patients(source):
    reading = ReadingOptions(modalities=("t1", "flair"), regions=("brats2021",))
    return find_source(str(source), reading=reading, phantom_root=source).patients


@pytest.fixture(scope="module")
def model(tmp_path_factory, patients):
    """The folder of an exported model of three regions."""
    folder = tmp_path_factory.mktemp("model")
    volumes = [patient.read().images for patient in patients]
    parity = export_onnx(predictor(), folder / "model.onnx", SETTINGS, sample_volumes=volumes)
    assert parity.max_probability_difference < 1e-5
    return folder


def test_masks_are_read_packed_and_batched_by_region(patients):
    volume = patients[0].read()
    masks = decode(volume.masks, 3)
    assert [int(mask.sum()) for mask in masks] == [3 * 110, 3 * 42, 2 * 12]
    pack = pack_patients(patients, Preprocessing(size=24))
    assert pack.regions == BRATS
    assert decode(pack.masks[:5], 3).sum((1, 2, 3)).tolist() == [330, 126, 24]
    assert pack.tumour_slices.sum() == 9


def test_loss_of_several_regions_is_the_mean_of_theirs():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 8, 8, generator=generator)
    masks = (torch.rand(4, 3, 8, 8, generator=generator) < 0.3).float()
    config = TrainConfig(max_epochs=1, bce_weight=0.3)
    alone = [training_loss(logits[:, [k]], masks[:, [k]], config) for k in range(3)]
    torch.testing.assert_close(training_loss(logits, masks, config), torch.stack(alone).mean())


def test_validation_gives_the_dice_of_each_region_and_their_mean(patients):
    pack = pack_patients(patients, Preprocessing(size=16))
    device = find_device("float32")
    found = validate(network(), pack, device, batch_size=4)
    dices = metrics.dice(count_by_patient(network(), pack, device, batch_size=7))
    assert dices.shape == (3, 3)
    assert found["dice"] == pytest.approx(dices.nanmean(1).nanmean().item())
    for k, region in enumerate(BRATS):
        assert found[f"dice_{region.name}"] == pytest.approx(dices[:, k].nanmean().item(), nan_ok=True)


def test_training_reports_each_region_and_learns(patients):
    pack = pack_patients(patients, Preprocessing(size=16))
    config = TrainConfig(max_epochs=25, batch_size=2, learning_rate=0.01, augment=0.0, seed=0, precision="float32")
    results = list(train(UNetConfig(in_channels=2, num_regions=3, depth=1, width=4), config, pack, pack))
    last = results[-1].metrics
    assert {"val_dice", "val_dice_WT", "val_dice_TC", "val_dice_ET"} <= last.keys()
    assert last["val_dice_WT"] > 0.8
    assert last["val_dice"] > results[0].metrics["val_dice"]


def test_scores_are_means_over_regions_with_each_region_beside(patients):
    volume = patients[0].read()
    true = decode(volume.masks, 3)
    predicted = np.stack([true[0], np.roll(true[1], 1, axis=2), np.zeros_like(true[2])])
    found = evaluate_patient("P", predicted, volume.masks, regions=BRATS, spacing_mm=(3.0, 2.0, 1.0), distances=True)
    shifted = 2 * np.logical_and(true[1], predicted[1]).sum() / (true[1].sum() + predicted[1].sum())
    assert [one.name for one in found.regions] == ["WT", "TC", "ET"]
    assert [one.dice for one in found.regions] == pytest.approx([1.0, shifted, 0.0])
    assert found.dice == pytest.approx((1 + shifted) / 3)
    assert (found.true_pixels, found.predicted_pixels) == (330, np.logical_or(true[0], predicted[1]).sum())
    assert found.regions[0].hd95 == 0
    assert math.isnan(found.regions[2].hd95)
    assert found.hd95 == pytest.approx(found.regions[1].hd95 / 2)  # of those that have one
    summary = summarise([found, found])
    assert summary.by_region["TC"]["dice"].mean == pytest.approx(shifted)
    assert summary.dice.mean == pytest.approx(found.dice)


def test_scores_of_one_region_do_not_mention_regions(patients):
    masks = encode(patients[0].read().masks, WHOLE)
    found = evaluate_patient("P", masks[None] > 0, masks)
    assert (found.dice, found.regions) == (1.0, ())
    assert summarise([found]).by_region == {}


def test_assessment_calibrates_each_region(patients):
    network_ = torch_network(predictor(), torch.device("cpu"))
    found = assess(network_, patients, settings=SETTINGS)
    summary = found.summary()
    assert set(summary.calibration_by_region) == {"WT", "TC", "ET"}
    assert summary.calibration is not None
    pixels = [sum(row.num_pixels for row in one.bins) for one in summary.calibration_by_region.values()]
    assert pixels == [3 * 5 * 20 * 24] * 3
    assert sum(row.num_pixels for row in summary.calibration.bins) == sum(pixels)


def test_each_region_has_its_threshold_and_stays_inside_of_those_around_it():
    probability = np.array([0.31, 0.29, 0.31, 0.9, 0.9, 0.9, 0.2, 0.9, 0.9], np.float32).reshape(3, 1, 1, 3)
    masks = to_masks(probability, SETTINGS)[:, 0, 0]
    assert masks.tolist() == [[True, False, True], [True, False, True], [False, False, True]]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.slow
def test_exported_model_has_a_probability_for_each_region(model, patients, runtime):
    loaded, settings = load_model(model, runtime=runtime)
    assert settings == SETTINGS
    images = patients[1].read().images
    expected = predict_volume(torch_network(predictor(), torch.device("cpu")), images, settings.preprocessing)
    found = predict_volume(loaded, images, settings.preprocessing)
    assert found.shape == (3, 5, 20, 24)
    np.testing.assert_allclose(found, expected, atol=1e-5 if runtime == "onnxruntime" else 0.05)


@pytest.mark.slow
def test_exported_program_equals_the_network(tmp_path, patients):
    parity = export_program(predictor(), tmp_path / "m.pt2", SETTINGS, sample_volumes=[patients[0].read().images])
    assert parity.max_probability_difference < 1e-5


def test_export_refuses_settings_of_other_regions(tmp_path, patients):
    for settings, message in (
        (
            replace(SETTINGS, regions=BRATS[:2], region_thresholds=()),
            "the settings have 2 regions, but the network has 3",
        ),
        (replace(SETTINGS, region_thresholds=()), "threshold 0.5, 0.5, 0.5, but the network has 0.3, 0.5, 0.6"),
    ):
        with pytest.raises(ExportError, match=message):
            export_onnx(predictor(), tmp_path / "m.onnx", settings, sample_volumes=[patients[0].read().images])


def test_weights_come_back_with_their_regions_and_thresholds(tmp_path):
    write_weights(predictor(), tmp_path / "w")
    found = read_weights(tmp_path / "w")
    assert (found.num_regions, found.thresholds) == (3, (0.3, 0.5, 0.6))
    inputs = torch.rand(2, 2, 8, 8) * 255, torch.full((2,), 100.0), torch.full((2,), 50.0)
    with torch.inference_mode():
        for one, other in zip(predictor().eval()(*inputs), found(*inputs), strict=True):
            assert torch.equal(one, other)
            assert one.shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regions": [{"name": "WT"}]}, "regions are .* but must be names with lists of labels"),
        ({"regions": []}, "there must be 1 to 8 regions"),
        ({"regions": [{"name": "a", "labels": [1]}, {"name": "a", "labels": [2]}]}, "regions are"),
        ({"region_thresholds": [0.5]}, "there are 3 regions and 1 thresholds"),
        ({"region_thresholds": [0.5, 0.5, 2.0]}, "threshold is 2.0, but must be above 0 and below 1"),
        ({"region_thresholds": 0.5}, "region_thresholds are 0.5, but must be a list"),
    ],
)
def test_settings_refuse_regions_that_are_not_legal(changes, message):
    text = json.dumps(json.loads(SETTINGS.to_json()) | changes)
    with pytest.raises(ModelError, match=message):
        Settings.from_json(text)


def test_settings_of_older_formats_have_one_region():
    values = json.loads(replace(SETTINGS, regions=WHOLE, region_thresholds=()).to_json()) | {"format": 4}
    del values["regions"], values["region_thresholds"]
    assert Settings.from_json(json.dumps(values)).regions == WHOLE


@pytest.mark.slow
def test_a_prediction_writes_the_labels_of_the_data(model, source, tmp_path):
    assert predict([str(model), str(source / "P0"), "--out", str(tmp_path), "--runtime", "onnxruntime"]) == 0
    written = nibabel.Nifti1Image.from_filename(tmp_path / "P0" / "P0_mask.nii.gz")
    exported = ExportedModel.load(model, runtime="onnxruntime")
    images = np.stack([np.asarray(as_nifti_slices(source, name)) for name in ("t1", "flair")], axis=-1)
    labels = exported.segment(images)
    assert set(np.unique(labels)) <= {0, 1, 2, 4}
    assert len(np.unique(labels)) > 2
    np.testing.assert_array_equal(in_slices(written), labels)
    masks = exported.masks(images)
    header, row = (tmp_path / "volumes.csv").read_text().splitlines()
    values = dict(zip(header.split(","), row.split(","), strict=True))
    assert [int(values[f"{one.name}_pixels"]) for one in BRATS] == masks.sum((1, 2, 3)).tolist()
    assert float(values["WT_ml"]) == pytest.approx(6 * masks[0].sum() / 1000, abs=1e-3)
    assert predict([str(model), str(source / "P0"), "--out", str(tmp_path), "--runtime", "onnxruntime"]) == 0


def as_nifti_slices(source, name):
    return in_slices(nibabel.Nifti1Image.from_filename(source / "P0" / f"P0_{name}.nii.gz"))


def in_slices(image):
    """Return the voxels of an image that `as_nifti` made as slices, rows and columns."""
    there = nibabel.orientations.axcodes2ornt("SPL")
    own = nibabel.io_orientation(image.affine)
    turn = nibabel.orientations.ornt_transform(own, there)
    return nibabel.orientations.apply_orientation(np.asarray(image.dataobj), turn)


def test_regions_are_outlined_in_their_colours_with_the_truth_beside():
    grey = np.full((300, 300), 60, np.uint8)
    masks = np.zeros((3, 300, 300), bool)
    masks[0, 20:200, 20:200] = masks[1, 60:150, 60:150] = masks[2, 90:120, 90:120] = True
    alone = draw_overlay(grey, predicted=masks)
    assert alone.shape == (300, 300, 3)
    for k, corner in enumerate((20, 60, 90)):
        assert tuple(alone[corner, corner]) == REGION_COLOURS[k]
    both = draw_overlay(grey, predicted=masks[:, ::-1], true=masks)
    assert both.shape == (300, 600, 3)
    np.testing.assert_array_equal(both[:, 300:], alone)
    panel = draw_panel(np.stack([grey] * 2), np.stack([masks] * 2), np.stack([masks] * 2), columns=1)
    assert panel.shape == (600 + GAP, 600, 3)


def test_one_region_is_drawn_as_a_mask_without_regions_is():
    rng = np.random.default_rng(0)
    grey, masks = rng.integers(0, 255, (64, 64), dtype=np.uint8), rng.random((2, 64, 64)) < 0.3
    np.testing.assert_array_equal(
        draw_overlay(grey, predicted=masks[:1], true=masks[1:]), draw_overlay(grey, predicted=masks[0], true=masks[1])
    )
