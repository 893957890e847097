"""What a search leaves behind, from real files: patients on disk, a trained network, and all that is made of them."""

import io
import itertools
import json
from dataclasses import replace

import cv2
import pytest
import torch
from rich.console import Console

from data.errors import UserError
from data.preprocess import Preprocessing
from model.device import find_device
from model.export.predictor import Predictor, torch_network
from model.inference.runtime import load_model
from model.inference.volume import predict_volume, to_masks
from model.manifest import verify_manifest
from model.training.checkpoint import load_checkpoint
from model.unet import UNetConfig
from model.weights import read_weights
from search.experiment import check_folder
from search.promotion.best_folder import default_settings
from search.promotion.summary import print_summary
from search.record.experiment_record import read_experiment
from search.record.model_metrics import read_metrics
from search.report.page import write_report
from tests.support.delivered import SIZE, read_json
from tests.support.fakes import head_of


def test_best_folder_has_every_file(delivered):
    best = delivered.config.folder / "best"
    names = {path.name for path in best.iterdir()}
    assert {"model.onnx", "checkpoint.pt", "metrics.json", "card.md"} <= names
    assert not [name for name in names if name.endswith(".partial")]
    assert (best / "checkpoint.pt").read_bytes() == (delivered.config.folder / "state.pt").read_bytes()


def test_best_folder_scores_every_test_patient_once_and_no_other(delivered):
    scored = [score["patient"] for score in delivered.metrics["test_patients"]]
    assert scored == list(delivered.cohort.split.test)
    assert [score["patient"] for score in delivered.metrics["validation_patients"]] == list(delivered.cohort.split.val)
    assert delivered.metrics["test"]["num_patients"] == len(scored)


def test_best_folder_has_the_training_accuracy_of_as_many_patients(delivered):
    best = load_checkpoint(delivered.config.folder / "state.pt")[0]
    patients = delivered.cohort.train_patients[: len(delivered.cohort.test_patients)]
    settings = default_settings(delivered.config, delivered.cohort)
    right, num_pixels = 0, 0
    for patient in patients:
        volume = patient.read()
        network = torch_network(Predictor([best], flips=delivered.metrics["flips"]), find_device("float32").device)
        probability = predict_volume(network, volume.images, settings.preprocessing)
        masks = to_masks(probability, replace(settings, threshold=delivered.metrics["threshold"]))
        right += (masks == volume.masks).sum()
        num_pixels += masks.size
    figure = delivered.metrics["assessment"]["as_notebooks"][-1]
    assert figure["name"] == "training accuracy"
    assert f"on {len(patients)} of the patients" in figure["description"]
    assert figure["value"] == pytest.approx(right / num_pixels, abs=1e-4)


def test_best_folder_has_metrics_without_nan(delivered):
    written = read_json(delivered.config.folder / "best" / "metrics.json")
    assert written["trial"] == "t000"
    assert written["candidates"][0]["reported_dice"] == delivered.rows[0].best_dice
    assert written["num_test_scorings"] == 1
    assert [choice["name"] for choice in written["choices"]] == [
        "flips",
        "temperature",
        "threshold",
        "component_share",
    ]


def test_best_folder_has_the_winner_exported(delivered):
    network, settings = load_model(delivered.config.folder / "best", runtime="onnxruntime")
    assert (settings.preprocessing.size, settings.num_channels, settings.threshold) == (
        SIZE,
        3,
        delivered.metrics["threshold"],
    )
    patient = delivered.cohort.test_patients[0]
    volume = patient.read()
    images, masks = volume.images, volume.masks
    predicted = to_masks(predict_volume(network, images, Preprocessing(size=SIZE)), settings)
    [score] = [score for score in delivered.metrics["test_patients"] if score["patient"] == patient.id]
    assert predicted.sum() == pytest.approx(score["predicted_pixels"], abs=2)
    assert masks.sum() == score["true_pixels"]
    shape = load_checkpoint(delivered.config.folder / "best" / "checkpoint.pt")[0].config
    assert isinstance(shape, UNetConfig)
    assert shape.depth == 1


def test_best_folder_has_pictures_that_can_be_opened(delivered):
    pictures = delivered.metrics["pictures"]
    assert pictures
    for path in pictures.values():
        picture = cv2.imread(str(delivered.config.folder / path))
        assert picture is not None
        assert picture.size


def test_best_folder_has_a_card_with_the_test_dice(delivered):
    card = (delivered.config.folder / "best" / "card.md").read_text()
    dice = delivered.metrics["test"]["dice"]
    assert f"| dice | {dice['mean']:.4f} | " in card
    assert f"## Scores on {len(delivered.cohort.split.test)} test patients" in card


def test_best_folder_matches_its_manifest(delivered):
    best = delivered.config.folder / "best"
    provenance = verify_manifest(best).provenance
    assert (provenance.experiment, provenance.trial) == ("tiny", "t000")
    assert provenance.data_fingerprint == delivered.cohort.fingerprint
    assert torch.equal(
        head_of(read_weights(best / "weights.safetensors").networks[0]).weight,
        head_of(load_checkpoint(best / "checkpoint.pt")[0]).weight,
    )


def test_report_and_summary_show_the_promoted_model(delivered):
    screen = io.StringIO()
    folder, mean = delivered.config.folder, delivered.metrics["test"]["dice"]["mean"]
    metrics = read_metrics(folder / "best" / "metrics.json")
    assert metrics is not None
    print_summary(folder, delivered.rows, metrics, Console(file=screen))
    assert f"Test Dice   {mean:.4f}" in screen.getvalue()
    report = write_report(folder).read_text()
    assert report.count('<img src="data:image/png;base64,') == len(delivered.metrics["pictures"])
    assert all(f"<td>{patient}</td>" in report for patient in delivered.cohort.split.test)


def test_experiment_is_what_config_json_says(delivered):
    written = read_json(delivered.config.folder / "config.json")
    assert json.dumps(read_experiment(delivered.config.folder).config) == json.dumps(delivered.run.config)
    assert replace(read_experiment(delivered.config.folder), config={}) == replace(delivered.run, config={})
    assert written["config"]["name"] == "tiny"
    assert sorted(itertools.chain(*written["data"]["split"].values())) == [f"P{number}" for number in range(6)]


def test_experiment_refuses_a_folder_that_is_there(delivered):
    with pytest.raises(UserError, match=r"tiny exists already: resume it with --resume tiny, choose another --name"):
        check_folder(delivered.config)


def test_cohort_keeps_test_patients_out_of_the_packs(delivered):
    cohort = delivered.cohort
    assert cohort.train_pack.patient_ids == cohort.split.train
    assert cohort.val_pack.patient_ids == cohort.split.val
    assert tuple(patient.id for patient in cohort.test_patients) == cohort.split.test
    assert sum(cohort.num_slices.values()) == 18
    assert sum(cohort.num_tumour_slices.values()) == 10
