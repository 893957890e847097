"""Tracking: what a W&B run holds, read back from its file, and that nothing it does harms a trial."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.tracking import wandb_run
from search.tracking.outage import forget_outage, noted_outage
from search.tracking.tracker import NoTracker, TrackedTrial, make_tracker, why
from search.tracking.wandb_run import SLICES
from tests.support.tracked import EPOCHS, SAMPLE, offline, some_slices, track, tracking, trial
from tests.support.wandb_files import read_run, shown

pytestmark = pytest.mark.usefixtures("no_wandb_server")


def test_offline_run_has_every_metric_of_every_epoch(tmp_path):
    track(offline(tmp_path), 3)
    run = read_run(tmp_path, 3)
    assert shown(run["history"]) == EPOCHS
    assert run["config"].items() >= (SAMPLE | {"seed": 7, "width": 4, "searcher": "tpe"}).items()
    assert (run["project"], run["group"], run["job_type"]) == ("tumours", "small", "trial")
    assert (run["id"], run["name"]) == ("small-t003", "t003 lr 2e-3 depth 4")
    assert run["exit_code"] == 0


def test_summary_has_the_best_epoch_the_state_and_the_memory(tmp_path):
    track(offline(tmp_path), 3, state=State.PRUNED, reason="stopped early after epoch 3 of 9")
    summary = read_run(tmp_path, 3)["summary"]
    best = {name: value for name, value in summary.items() if name.startswith("best_")}
    assert best == {"best_val_dice": 0.625, "best_epoch": 2, "best_val_iou": 0.5, "best_train_loss": 0.5}
    assert (summary["state"], summary["reason"]) == ("PRUNED", "stopped early after epoch 3 of 9")
    assert summary["peak_memory_mb"] == 500.0


def test_offline_run_of_a_trial_in_legs_is_one_with_every_epoch_once(tmp_path):
    track(offline(tmp_path), 3, EPOCHS[:2], State.PRUNED, slices=some_slices())
    read_run(tmp_path, 3)  # its end is on disk
    tracker = offline(tmp_path)  # of another lane
    tracker.start(trial(3), EPOCHS[:1])  # the second epoch's checkpoint was lost
    for epoch in EPOCHS[1:]:
        tracker.log(epoch)
    tracker.finish(State.COMPLETE, "")
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1
    run = read_run(tmp_path, 3)
    assert shown(run["history"]) == EPOCHS
    assert [SLICES in entry for entry in run["history"]] == [False, True, False]
    assert run["summary"]["best_epoch"] == 2
    assert run["summary"]["state"] == "COMPLETE"


def test_each_trial_is_a_run_of_its_own(tmp_path):
    tracker = offline(tmp_path)
    track(tracker, 0, EPOCHS[:2], State.PRUNED)
    track(tracker, 1, EPOCHS[:1], State.FAILED, "RuntimeError: raised")
    runs = [read_run(tmp_path, number) for number in (0, 1)]
    assert [len(run["history"]) for run in runs] == [2, 1]
    assert [run["summary"]["state"] for run in runs] == ["PRUNED", "FAILED"]
    assert [run["summary"]["best_val_dice"] for run in runs] == [0.625, 0.25]
    assert [run["exit_code"] for run in runs] == [0, 1]


def test_run_takes_an_epoch_that_is_not_finite(tmp_path):
    track(offline(tmp_path), 0, [*EPOCHS[:1], EpochMetrics(epoch=2, train_loss=math.nan)], State.FAILED)
    run = read_run(tmp_path, 0)
    assert run["history"][1]["epoch"] == 2
    assert run["summary"]["best_val_dice"] == 0.25


def test_trial_that_goes_on_from_a_checkpoint_goes_on_being_tracked(tmp_path):
    # A new lane takes the trial when it is set up, and again when it gets the checkpoint, within one second.
    tracker = offline(tmp_path)
    tracker.start(trial(0))
    track(tracker, 0, EPOCHS[1:])
    assert shown(read_run(tmp_path, 0)["history"]) == EPOCHS[1:]


def test_table_shows_slices_with_both_masks(tmp_path):
    track(offline(tmp_path), 3, slices=some_slices())
    run = read_run(tmp_path, 3)
    [artifact] = run["artifacts"]
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert all(file.is_relative_to(tmp_path) for file in files.values())
    table = json.loads(files["validation_slices.table.json"].read_text())
    assert table["columns"] == ["patient", "slice", "image", "Dice"]
    assert [row[:2] for row in table["data"]] == [["P1", 12], ["P2", 7]]
    assert table["data"][0][3] == 0.5
    image = table["data"][0][2]
    assert np.asarray(Image.open(files[image["path"]])).tolist() == some_slices().images[0].tolist()
    assert sorted(image["masks"]) == ["prediction", "truth"]
    for name, left in (("prediction", 6), ("truth", 4)):
        mask = np.asarray(Image.open(files[image["masks"][name]["path"]]))
        assert mask.shape == (16, 16)
        assert (mask[4:8, left : left + 4] == 1).all()
        assert mask.sum() == 16


def test_slices_that_cannot_be_shown_leave_the_epochs(tmp_path, monkeypatch):
    def refuse(slices):
        raise ValueError("no picture")

    monkeypatch.setattr(wandb_run, "slices_table", refuse)
    track(offline(tmp_path), 3, slices=some_slices())
    assert shown(read_run(tmp_path, 3)["history"]) == EPOCHS
    assert noted_outage(tmp_path) is None


def test_tracker_without_an_open_run_says_nothing(tmp_path):
    tracker = offline(tmp_path)
    tracker.log(EPOCHS[0])
    tracker.finish(State.FAILED, "")
    assert list(tmp_path.iterdir()) == []


def test_no_tracker_writes_nothing(tmp_path):
    tracker = make_tracker(tracking(tmp_path, "off"))
    assert isinstance(tracker, NoTracker)
    track(tracker, 0)
    assert list(tmp_path.iterdir()) == []


def test_online_without_a_server_goes_on_offline_within_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_run, "INIT_TIMEOUT_SECONDS", 1.0)
    started = time.monotonic()
    track(make_tracker(tracking(tmp_path, "online")), 0)
    assert time.monotonic() - started < 10
    assert noted_outage(tmp_path).startswith(f"W&B cannot be reached, runs are kept offline in {tmp_path}/wandb: ")
    assert shown(read_run(tmp_path, 0)["history"]) == EPOCHS
    started = time.monotonic()
    track(make_tracker(tracking(tmp_path, "online")), 1)  # in another lane: it does not wait for the server again
    assert time.monotonic() - started < 1
    assert shown(read_run(tmp_path, 1)["history"]) == EPOCHS


def test_search_goes_on_where_wandb_cannot_write(tmp_path):
    (tmp_path / "wandb").write_text("a file where a folder must be")
    track(offline(tmp_path), 0)
    assert noted_outage(tmp_path).startswith("W&B does not work, the search goes on without it: ")
    forget_outage(tmp_path)
    assert noted_outage(tmp_path) is None


@pytest.mark.parametrize(
    ("sample", "name"),
    [
        ({"learning_rate": 3e-4, "depth": 4, "dropout": 0.1}, "t007 lr 3e-4 depth 4"),
        ({"learning_rate": 0.01234, "norm": "batch"}, "t007 lr 0.012 norm batch"),
        ({"weight_decay": 1.26e-5, "augment": 0.0}, "t007 weight decay 1.3e-5 augment 0"),
        ({"bce_weight": 0.999}, "t007 bce weight 1"),
        ({}, "t007"),
    ],
)
def test_name_tells_the_first_hyperparameters(sample, name):
    assert TrackedTrial(number=7, sample=sample, config={}).name == name


def test_why_is_one_line():
    counts = {"num_epochs": 3, "max_epochs": 9}
    assert why(State.COMPLETE, None, **counts) == ""
    assert why(State.PRUNED, None, **counts) == "stopped early after epoch 3 of 9"
    assert why(State.PRUNED, "interrupted", **counts) == "interrupted"
    assert why(State.FAILED, "Traceback\n  File\nRuntimeError: raised\n\n", **counts) == "RuntimeError: raised"
