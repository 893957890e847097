"""What a search leaves behind, from real files: patients on disk, a trained network, and all that is made of them."""

import io
import itertools
import json
import re
import shutil
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch
from rich.console import Console

from data.atomic import write
from data.errors import UserError
from data.preprocess import Preprocessing
from model.device import find_device
from model.export.onnx_export import ExportError
from model.export.predictor import Predictor, torch_network
from model.inference.runtime import load_model
from model.inference.volume import predict_volume, to_masks
from model.manifest import verify_manifest
from model.training.checkpoint import load_checkpoint
from model.training.train import train
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from model.weights import read_weights
from search.cluster.capacity.lane_plan import plan_lanes
from search.cluster.plan_table import print_plan
from search.cohort import read_cohort
from search.config import SearchConfig
from search.experiment import check_folder, exclusive_writer, open_experiment
from search.promote import main, promote
from search.promotion.best_folder import default_settings
from search.promotion.summary import print_summary
from search.record.epochs import EpochMetrics
from search.record.experiment_record import WarmStart, read_experiment
from search.record.model_metrics import read_metrics
from search.record.trials import append_row
from search.report.page import write_report
from tests.support.fakes import head_of, trial_row, write_lgg_patient

SIZE = 64


@pytest.fixture(scope="module")
def delivered(tmp_path_factory) -> SimpleNamespace:
    """An experiment's folder after all that follows the trials; its one trial was trained for an epoch."""
    root = tmp_path_factory.mktemp("deliver")
    for number in range(6):
        write_lgg_patient(root / "patients", f"P{number}", tumour_numbers=(2, 10) if number else (), seed=number)
    config = SearchConfig(
        data=str(root / "patients"),
        out=root / "runs",
        name="tiny",
        preprocessing=Preprocessing(size=SIZE),
        trials=1,
        tracking="off",
    )
    cohort = read_cohort(config)
    lanes = plan_lanes(config, [{"CPU": 2.0}])
    with open_experiment(config, cohort, lanes, WarmStart()) as run:
        pass
    training = TrainConfig(max_epochs=1, batch_size=4, precision="float32")
    [epoch] = train(UNetConfig(depth=1, width=2), training, cohort.train_pack, cohort.val_pack)
    write(config.folder / "state.pt", epoch.state.to_bytes())
    rows = [trial_row(0, [], epochs=(EpochMetrics.from_json(epoch.metrics),), checkpoint="state.pt")]
    with exclusive_writer(config.folder), redirect_stdout(io.StringIO()) as screen:
        assert promote(config, run, cohort, rows, Console(width=200)) == 0
    metrics = json.loads((config.folder / "best" / "metrics.json").read_text())
    return SimpleNamespace(
        config=config, cohort=cohort, lanes=lanes, run=run, rows=rows, metrics=metrics, screen=screen.getvalue()
    )


def read_json(path: Path) -> dict:
    """Return what a strict reader reads: one that knows no NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{path} has {word}, which is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


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
        "largest_component",
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


def copy_of(delivered: SimpleNamespace, folder: Path) -> Path:
    """Return a copy of the experiment's folder, to be promoted again."""
    shutil.copytree(delivered.config.folder, folder)
    for row in delivered.rows:
        append_row(folder / "trials.jsonl", row)
    return folder


@pytest.fixture
def copied(delivered, tmp_path) -> Path:
    return copy_of(delivered, tmp_path / "runs" / "tiny")


@pytest.fixture(scope="module")
def again(delivered, tmp_path_factory) -> SimpleNamespace:
    """A copy under another name that was promoted again, what it said before, and what was said on the screen."""
    folder = copy_of(delivered, tmp_path_factory.mktemp("again") / "other")
    before = read_json(folder / "best" / "metrics.json")
    (folder / "best" / "stranger").touch()
    with redirect_stdout(io.StringIO()) as screen:
        assert main(["other", "--out", str(folder.parent), "--no-choose", "--ties", "best"]) == 0
    return SimpleNamespace(folder=folder, before=before, screen=screen.getvalue())


def test_promote_again_replaces_the_model_and_counts_the_scoring(again):
    after = read_json(again.folder / "best" / "metrics.json")
    assert (after["choices"], after["threshold"], after["num_test_scorings"]) == ([], 0.5, 2)
    assert after["candidates"] == again.before["candidates"]
    assert "scored 2 times" in " ".join((again.folder / "report.html").read_text().split())
    assert "Test Dice" in again.screen
    verify_manifest(again.folder / "best")
    assert {path.name for path in again.folder.iterdir() if path.name.startswith("best")} == {"best"}


def test_promote_of_a_copy_names_the_copy(again):
    best = again.folder / "best"
    assert verify_manifest(best).provenance.experiment == "other"
    assert f"python -m model.predict {best}" in (best / "card.md").read_text()


def test_promote_that_fails_leaves_the_earlier_model(copied, monkeypatch):
    def fail(*arguments, **options):
        raise ExportError("no such operator")

    monkeypatch.setattr("search.promotion.best_folder.export_onnx", fail)
    assert main(["tiny", "--out", str(copied.parent)]) == 1
    verify_manifest(copied / "best")
    assert {path.name for path in copied.iterdir() if path.name.startswith("best")} == {"best"}
    assert read_json(copied / "best" / "metrics.json")["num_test_scorings"] == 1


def test_promote_keeps_the_traceback_of_a_fault_of_the_program(copied, monkeypatch, capsys):
    def fail(*arguments, **options):
        raise ValueError("a planted fault")

    monkeypatch.setattr("search.promotion.best_folder.choose_inference", fail)
    assert main(["tiny", "--out", str(copied.parent)]) == 1
    said = capsys.readouterr().err
    assert "this is a fault of the program" in said
    found = re.search(r"please report it with (\S+)", said)
    assert found is not None
    report = Path(found[1])
    assert 'raise ValueError("a planted fault")' in report.read_text()
    assert "No model was promoted: a planted fault" in (copied / "report.html").read_text()
    report.unlink()


def test_promote_restores_the_model_that_a_killed_promotion_moved(copied, monkeypatch):
    def fail(*arguments, **options):
        raise ExportError("no such operator")

    monkeypatch.setattr("search.promotion.best_folder.export_onnx", fail)
    (copied / "best").rename(copied / "best.before")
    assert main(["tiny", "--out", str(copied.parent)]) == 1
    verify_manifest(copied / "best")
    assert "no such operator" in (copied / "report.html").read_text()


def test_promote_refuses_more_folds_than_patients_before_it_trains(copied, capsys):
    assert main(["tiny", "--out", str(copied.parent), "--folds", "50", "--final-seeds", "1"]) == 2
    assert "folds is 50, but there are" in capsys.readouterr().err
    assert not (copied / "final").exists()


def test_promote_without_a_checkpoint_says_so_and_reports(copied, capsys):
    (copied / "state.pt").unlink()
    assert main(["tiny", "--out", str(copied.parent)]) == 1
    assert "nothing to promote: none of 1 checkpoints can be read" in capsys.readouterr().err
    assert "No model was promoted" in (copied / "report.html").read_text()


def test_promote_refuses_what_it_cannot_promote(copied, tmp_path, capsys):
    write_lgg_patient(tmp_path / "others", "Q", seed=1)
    for options, words in (
        (["nothing"], "is not an experiment of this program"),
        (["tiny", "--candidates", "0"], "candidates is 0, but must be from 1 to 5"),
        (["tiny", "--data", str(tmp_path / "nowhere")], "nowhere does not exist"),
    ):
        try:
            status = main([*options, "--out", str(copied.parent)])
        except SystemExit as ended:
            status = ended.code
        assert status == 2
        assert words in re.sub(r"[\s│]+", " ", capsys.readouterr().err)


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


def test_plan_says_what_will_be_done(delivered):
    screen = io.StringIO()
    print_plan(delivered.config, delivered.cohort, delivered.lanes, Console(file=screen, width=200))
    for words in (
        "Search tiny",
        f"slices of {SIZE} x {SIZE} pixels",
        "1 by tpe, of at most 9 epochs, asha from epoch 1",
        "1 worker(s) of 2 CPU",
    ):
        assert words in screen.getvalue()
    for side in ("train", "val", "test"):
        assert f"{len(getattr(delivered.cohort.split, side))} patients" in screen.getvalue()


def test_plan_says_with_whom_trials_share(delivered):
    screen = io.StringIO()
    quarters = replace(delivered.lanes, cpus_per_worker=1, gpus_per_worker=0.25)
    print_plan(
        delivered.config, delivered.cohort, quarters, Console(file=screen, width=200), others="other jobs hold 3 GPU"
    )
    assert "1 worker(s) of 1 CPU and 0.25 GPU; 4 trials share a GPU" in screen.getvalue()
    assert "other jobs hold 3 GPU: trials take what is free, and what gets free, up to --max-concurrent" in (
        screen.getvalue()
    )


@pytest.mark.parametrize(("spare", "warned"), [(0, False), (-1, True)])
def test_plan_warns_of_more_slices_than_memory(delivered, spare, warned):
    num_bytes = sum(
        pack.images.size + pack.masks.size for pack in (delivered.cohort.train_pack, delivered.cohort.val_pack)
    )
    lanes = replace(delivered.lanes, object_store_bytes=num_bytes + spare)
    screen = io.StringIO()
    print_plan(delivered.config, delivered.cohort, lanes, Console(file=screen, width=300))
    assert "GB of slices, once a machine" in screen.getvalue()
    assert ("WARNING" in screen.getvalue()) == warned
