"""Runs that W&B's client writes: what an offline one holds, read back from its file."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.tracking import run_writer
from search.tracking.messages import Setup, SweepRequest
from search.tracking.run_writer import SLICES, RunWriter
from search.tracking.runs import make_run
from tests.support.tracked import EPOCHS, SAMPLE, keep_some_slices, some_slices, tracking
from tests.support.wandb_files import read_run, shown

pytestmark = pytest.mark.usefixtures("no_wandb_server")


@pytest.fixture
def offline(tmp_path, monkeypatch) -> RunWriter:
    """Return a client that writes offline runs, in this process: starting one takes a second."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb" / "staged"))  # as ClientProcess does
    return writer(tmp_path, "offline")


def writer(folder: Path, mode: str) -> RunWriter:
    limits = {"init_seconds": 10, "finish_seconds": 8, "arrival_seconds": 10}
    setup = Setup(
        mode=mode, folder=str(folder), project="tumours", group="small", scratch=None, gives_up=False, **limits
    )
    return RunWriter(setup)


def bring(offline: RunWriter, folder: Path, number: int, epochs=EPOCHS, **end) -> None:
    end = {"is_over": True, "state": State.COMPLETE} | end
    run = make_run(tracking(folder), number, SAMPLE, epochs, **end)
    assert offline.bring(run.update()) is None


def test_offline_run_has_every_metric_of_every_epoch(tmp_path, offline):
    bring(offline, tmp_path, 3)
    run = read_run(tmp_path, 3)
    assert shown(run["history"]) == EPOCHS
    assert run["config"].items() >= (SAMPLE | {"seed": 7, "width": 4, "searcher": "tpe"}).items()
    assert (run["project"], run["group"], run["job_type"]) == ("tumours", "small", "trial")
    assert (run["id"], run["name"]) == ("small-t003", "t003 lr 2e-3 depth 4")
    assert run["exit_code"] == 0


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State.PRUNED, "stopped early after epoch 3 of 9"),
        (State.PRUNED, "interrupted"),
        (State.FAILED, "ActorDiedError: killed"),
    ],
)
def test_run_says_how_its_trial_ended(tmp_path, offline, state, reason):
    bring(offline, tmp_path, 3, state=state, reason=reason)
    run = read_run(tmp_path, 3)
    assert (run["summary"]["state"], run["summary"]["reason"]) == (state, reason)
    assert run["exit_code"] == (state == State.FAILED)
    best = {name: value for name, value in run["summary"].items() if name.startswith("best_")}
    assert best == {"best_val_dice": 0.625, "best_epoch": 2, "best_val_iou": 0.5, "best_train_loss": 0.5}
    assert run["summary"]["peak_memory_mb"] == 500.0


def test_run_that_is_brought_twice_is_one_with_every_epoch_once(tmp_path, offline):
    bring(offline, tmp_path, 3, EPOCHS[:2], state=State.PRUNED, reason="interrupted")
    keep_some_slices(tmp_path, 3)
    bring(offline, tmp_path, 3)
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1
    run = read_run(tmp_path, 3)
    assert shown(run["history"]) == EPOCHS
    assert [SLICES in entry for entry in run["history"]] == [False, True, False]
    assert run["summary"]["best_epoch"] == 2
    assert run["summary"]["state"] == "COMPLETE"


def test_each_trial_is_a_run_of_its_own(tmp_path, offline):
    bring(offline, tmp_path, 0, EPOCHS[:2], state=State.PRUNED)
    bring(offline, tmp_path, 1, EPOCHS[:1], state=State.FAILED)
    runs = [read_run(tmp_path, number) for number in (0, 1)]
    assert [len(run["history"]) for run in runs] == [2, 1]
    assert [run["summary"]["state"] for run in runs] == ["PRUNED", "FAILED"]
    assert [run["summary"]["best_val_dice"] for run in runs] == [0.625, 0.25]
    assert [run["exit_code"] for run in runs] == [0, 1]


def test_run_takes_an_epoch_that_is_not_finite(tmp_path, offline):
    bring(offline, tmp_path, 0, [*EPOCHS[:1], EpochMetrics(epoch=2, train_loss=math.nan)], state=State.FAILED)
    run = read_run(tmp_path, 0)
    assert run["history"][1]["epoch"] == 2
    assert run["summary"]["best_val_dice"] == 0.25


def test_every_new_best_has_a_table_of_its_own(tmp_path, offline):
    for epoch in (1, 2):
        keep_some_slices(tmp_path, 3, epoch)
    bring(offline, tmp_path, 3)
    run = read_run(tmp_path, 3)
    assert [SLICES in entry for entry in run["history"]] == [True, True, False]
    assert len(run["artifacts"]) == 2


def test_table_shows_slices_with_both_masks(tmp_path, offline):
    keep_some_slices(tmp_path, 3)
    bring(offline, tmp_path, 3)
    [artifact] = read_run(tmp_path, 3)["artifacts"]
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert all(file.is_relative_to(tmp_path) for file in files.values())
    table = json.loads(files["validation_slices.table.json"].read_text())
    assert table["columns"] == ["patient", "slice", "image", "Dice"]
    assert [row[:2] for row in table["data"]] == [["P1", 12], ["P2", 7]]
    assert table["data"][0][3] == some_slices().dices[0] == 0.5
    image = table["data"][0][2]
    assert np.asarray(Image.open(files[image["path"]])).tolist() == some_slices().images[0].tolist()
    assert sorted(image["masks"]) == ["prediction", "truth"]
    for name, left in (("prediction", 6), ("truth", 4)):
        mask = np.asarray(Image.open(files[image["masks"][name]["path"]]))
        assert mask.shape == (16, 16)
        assert (mask[4:8, left : left + 4] == 1).all()
        assert mask.sum() == 16


def test_slices_that_cannot_be_shown_leave_the_epochs(tmp_path, offline, monkeypatch):
    def refuse(file):
        raise ValueError("no picture")

    monkeypatch.setattr(run_writer, "slices_table", refuse)
    keep_some_slices(tmp_path, 3)
    bring(offline, tmp_path, 3)
    assert shown(read_run(tmp_path, 3)["history"]) == EPOCHS


def test_run_that_has_nothing_to_do_is_closed_and_opened_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(run_writer, "MOST_OPEN", 1)
    online = writer(tmp_path, "online")
    with pytest.warns(DeprecationWarning, match="app_url"):  # W&B's own
        online.open_sweep(SweepRequest(name="small", config={"method": "bayes", "parameters": {}}, known=None))
    for num_epochs in (1, 2, 3):
        for number in (0, 1):
            end = {"is_over": True, "state": State.COMPLETE} if num_epochs == 3 else {}
            run = make_run(tracking(tmp_path), number, SAMPLE, EPOCHS[:num_epochs], **end)
            assert online.bring(run.update()) is None
    assert [shown(run.history) for run in server.runs.values()] == [EPOCHS, EPOCHS]
    assert [run.summary["state"] for run in server.runs.values()] == ["COMPLETE", "COMPLETE"]
