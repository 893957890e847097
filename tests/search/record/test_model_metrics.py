"""metrics.json: read as it was written, old ones too, and refused by name where it cannot be read."""

import json
import math
from dataclasses import replace

import pytest

from data.errors import UserError
from model.scoring.scores import MetricSummary, ScoreSummary
from search.record.codec import without_nan
from search.record.final_training import FinalTraining
from search.record.gain import GainRecord, RunnerUp
from search.record.model_metrics import (
    CrossValidationRecord,
    FoldPatientScore,
    FrontRecord,
    read_metrics,
    write_metrics,
)
from tests.support.fakes import metrics_json, model_metrics

SUMMARY = ScoreSummary(
    num_patients=2,
    by_metric={"dice": MetricSummary(mean=0.5, median=0.5, low=0.25, high=0.75, num_patients=2)},
    distance_unit="mm",
)
FOLD_PATIENT = FoldPatientScore(
    patient="A",
    num_slices=3,
    dice=0.5,
    iou=0.25,
    precision=math.nan,
    recall=0.5,
    accuracy=0.75,
    predicted_pixels=10,
    true_pixels=12,
    fold=1,
)
WITHOUT_DICE = {"num_patients": 2, "dice": {"mean": 0.5}, "by_region": {"WT": {"iou": {"mean": 0.5}}}}

CHANGES = [
    {},
    {"final": FinalTraining(num_patients=9, epochs=3, networks=("t001-trainval-seed1",), left_out=("seed2 failed",))},
    {"pareto_front": (FrontRecord(trial="t001", objectives={"val_dice": 0.5, "latency_ms": 4.0}, checkpoint="a.pt"),)},
    {"test": SUMMARY, "num_test_scorings": 3, "architectures": ("attention", "unet")},
    {
        "cross_validation": CrossValidationRecord(
            num_folds=2, failures=("fold 2 failed",), summary=SUMMARY, folds=(SUMMARY,), patients=(FOLD_PATIENT,)
        )
    },
]


@pytest.mark.parametrize("changes", CHANGES, ids=["plain", "final", "front", "summary", "folds"])
def test_metrics_that_were_written_are_read(tmp_path, changes):
    metrics = replace(model_metrics(), **changes)
    write_metrics(tmp_path / "metrics.json", metrics)
    assert read_metrics(tmp_path / "metrics.json") == metrics
    text = (tmp_path / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["version"] == 1  # JSON has no nan


def test_summary_on_disk_has_its_metrics_beside_the_number_of_patients(tmp_path):
    path = tmp_path / "metrics.json"
    write_metrics(path, replace(model_metrics(), test=SUMMARY))
    metric = {"mean": 0.5, "median": 0.5, "low": 0.25, "high": 0.75, "num_patients": 2}
    assert json.loads(path.read_text())["test"] == {"num_patients": 2, "dice": metric, "distance_unit": "mm"}
    write_metrics(path, replace(model_metrics(), test=replace(SUMMARY, distance_unit=None)))
    assert json.loads(path.read_text())["test"] == {"num_patients": 2, "dice": metric}


def test_old_metrics_keep_their_keys_and_values(tmp_path):
    old = without_nan(metrics_json())
    (tmp_path / "metrics.json").write_text(json.dumps(old))
    metrics = read_metrics(tmp_path / "metrics.json")
    assert metrics is not None
    assert (metrics.test.dice.mean, metrics.test_patients[0].value("dice"), metrics.epoch) == (0.8125, 0.5, 2)
    assert math.isnan(metrics.test_patients[1].dice)
    write_metrics(tmp_path / "metrics.json", metrics)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert old.keys() <= written.keys()
    assert_contains(written, old)


def assert_contains(written: object, old: object) -> None:
    """Check that everything of the old file is in the new one."""
    if isinstance(old, dict):
        assert isinstance(written, dict)
        for key, value in old.items():
            assert_contains(written[key], value)
    elif isinstance(old, list):
        assert isinstance(written, list)
        for new, value in zip(written, old, strict=True):
            assert_contains(new, value)
    else:
        assert written == old


def test_no_metrics_are_none(tmp_path):
    assert read_metrics(tmp_path / "metrics.json") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", " is damaged ("),
        ("[]", " is damaged (it is not a JSON object): python -m search.promote writes it anew"),
        ("{}", ": trial is missing"),
        (json.dumps(without_nan(metrics_json() | {"test": {"num_patients": 2}})), ": test: dice is missing"),
        (json.dumps(without_nan(metrics_json() | {"test": {"num_patients": 2, "dice": 1}})), ": test: dice is missing"),
        (json.dumps(without_nan(metrics_json() | {"test": WITHOUT_DICE})), ": test: dice is missing"),
        (json.dumps(without_nan(metrics_json() | {"flips": 1})), ": flips is 1, but must be true or false"),
        (
            json.dumps(without_nan(metrics_json() | {"test": {"num_patients": 2, "dice": {"mean": "x"}}})),
            ": test.dice.mean is 'x', but must be a number",
        ),
        (json.dumps({"version": 2}), " was written by a newer version of this program"),
    ],
    ids=["cut off", "a list", "empty", "no dice", "dice 1", "region", "a number", "text", "newer"],
)
def test_metrics_that_cannot_be_read_are_refused_with_the_key(tmp_path, content, words):
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_metrics(path)
    assert str(caught.value).startswith(f"{path}{words}")


@pytest.mark.parametrize(
    ("networks", "sentence"),
    [
        ((), "No network of the final trainings was used, so the winner's own network is the model"),
        (("a",), "The model is one network with the winning configuration, trained for 3 epochs on all 9 training"),
        (("a", "b"), "The model is the average of 2 networks with the winning configuration, trained for 3 epochs on"),
    ],
)
def test_final_training_says_which_networks_are_the_model(networks, sentence):
    assert FinalTraining(num_patients=9, epochs=3, networks=networks).sentence.startswith(sentence)


@pytest.mark.parametrize(
    ("winner", "runner_up", "sentence"),
    [
        ("t003", None, "+0.0000 ± 0.0000 over the default configuration (t000), on the validation patients"),
        ("t000", None, "the default configuration (t000) won"),
        (
            "t000",
            RunnerUp(trial="t003", gain=0.02, standard_error=0.03),
            "the default configuration (t000) won: the best other, t003, gains +0.0200 ± 0.0300 over it on the "
            "validation patients, which may be luck",
        ),
        (
            "t000",
            RunnerUp(trial="t003", gain=-0.02, standard_error=0.03, num_fold_patients=15),
            "the default configuration (t000) won: the best other, t003, gains -0.0200 ± 0.0300 over it on 15 "
            "patients in folds, which is none",
        ),
    ],
)
def test_gain_in_words(winner, runner_up, sentence):
    """Two configurations may be exactly equal, and then the winner need not be the default."""
    gain = GainRecord(trial="t000", default_dice=0.5, gain=0.0, standard_error=0.0, runner_up=runner_up)
    assert replace(model_metrics(), trial=winner, gain=gain).gain_sentence == sentence


def test_gain_is_not_explained_by_dice_alone_where_other_objectives_count():
    runner_up = RunnerUp(trial="t003", gain=0.02, standard_error=0.03)
    gain = GainRecord(trial="t000", default_dice=0.5, gain=0.0, standard_error=0.0, runner_up=runner_up)
    metrics = replace(
        model_metrics(), trial="t000", gain=gain, pareto_front=(FrontRecord(trial="t000", objectives={}),)
    )
    assert metrics.gain_sentence == "the default configuration (t000) won"
    assert replace(metrics, gain=None).gain_sentence is None
