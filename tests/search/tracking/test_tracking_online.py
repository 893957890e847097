"""Tracking with a server: what it is sent, and that nothing it does, or does not, harms a trial or holds it."""

import os
import signal
import time

import pytest
import wandb

from search.record.trials import State
from search.tracking import wandb_run, wandb_tracker
from search.tracking.outage import noted_outage
from search.tracking.tracker import make_tracker
from search.tracking.wandb_run import SLICES
from tests.support.process_tree import descendants
from tests.support.tracked import EPOCHS, SAMPLE, offline, some_slices, track, tracking, trial
from tests.support.wandb_files import read_run, shown

pytestmark = pytest.mark.usefixtures("no_wandb_server")


def online(folder):
    return make_tracker(tracking(folder, "online"))


def test_server_gets_all_of_a_run(server, tmp_path):
    track(online(tmp_path), 3, state=State.PRUNED, reason="stopped early after epoch 3 of 9", slices=some_slices())
    run = server.runs["small-t003"]
    assert shown(run.history) == EPOCHS
    assert [SLICES in entry for entry in run.history] == [False, True, False]
    assert run.config.items() >= (SAMPLE | {"seed": 7, "searcher": "tpe"}).items()
    assert (run.facts["displayName"], run.facts["groupName"]) == ("t003 lr 2e-3 depth 4", "small")
    assert run.summary.items() >= {"best_val_dice": 0.625, "best_epoch": 2, "state": "PRUNED"}.items()
    assert run.summary["reason"] == "stopped early after epoch 3 of 9"
    assert run.exit_code == 0
    [table] = [asked["input"] for asked in server.asked["CreateArtifact"]]
    assert table["artifactTypeName"] == "run_table"
    names = [name.removeprefix("model/") for name in server.files if name.startswith("model/")]
    assert "validation_slices.table.json" in names
    assert sum(name.startswith("media/images/mask/") for name in names) == 3  # two masks are empty, and so one file
    assert noted_outage(tmp_path) is None


def test_trial_that_goes_on_goes_on_in_its_run(server, tmp_path):
    track(online(tmp_path), 3, EPOCHS[:2], State.PRUNED, "stopped early after epoch 2 of 9")
    tracker = online(tmp_path)  # of another lane
    tracker.start(trial(3), EPOCHS[:2])
    tracker.log(EPOCHS[2])
    tracker.finish(State.COMPLETE, "")
    assert list(server.runs) == ["small-t003"]
    run = server.runs["small-t003"]
    assert shown(run.history) == EPOCHS
    assert run.summary.items() >= {"state": "COMPLETE", "reason": "", "best_val_dice": 0.625, "best_epoch": 2}.items()


@pytest.mark.parametrize("fault", ["silent_on", "broken_on", "refused"])
def test_server_that_does_not_open_a_run_holds_no_trial(server, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(wandb_run, "INIT_TIMEOUT_SECONDS", 1.0)
    setattr(server, fault, "UpsertBucket")
    started = time.monotonic()
    track(online(tmp_path), 0, slices=some_slices())
    assert time.monotonic() - started < 10
    assert noted_outage(tmp_path).startswith("W&B cannot be reached, runs are kept offline in ")
    run = read_run(tmp_path, 0)
    assert shown(run["history"]) == EPOCHS
    assert SLICES in run["history"][1]
    num_asked = len(server.asked["UpsertBucket"])
    track(online(tmp_path), 1)  # in another lane, which knows
    assert len(server.asked["UpsertBucket"]) == num_asked
    assert shown(read_run(tmp_path, 1)["history"]) == EPOCHS


def test_wrong_key_is_said_and_written_nowhere(server, tmp_path, monkeypatch):
    key = 20 * "ab"
    server.key = 40 * "1"
    monkeypatch.setenv("WANDB_API_KEY", key)
    wandb.teardown()
    track(online(tmp_path), 0)
    assert "user is not logged in" in noted_outage(tmp_path)
    assert shown(read_run(tmp_path, 0)["history"]) == EPOCHS
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > 3
    assert [file for file in written if key.encode() in file.read_bytes()] == []


def test_right_key_is_written_nowhere(server, tmp_path, monkeypatch):
    server.key = key = 20 * "cd"
    monkeypatch.setenv("WANDB_API_KEY", key)
    wandb.teardown()
    track(online(tmp_path), 0)
    assert shown(server.runs["small-t000"].history) == EPOCHS
    assert [file for file in tmp_path.rglob("*") if file.is_file() and key.encode() in file.read_bytes()] == []


def test_missing_key_is_not_asked_for(server, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    wandb.teardown()
    track(online(tmp_path), 0)
    assert noted_outage(tmp_path)
    assert shown(read_run(tmp_path, 0)["history"]) == EPOCHS


@pytest.mark.parametrize("fault", ["silent_on", "broken_on", "dies"])
def test_server_that_goes_away_in_a_run_holds_no_trial(server, tmp_path, monkeypatch, fault):
    tracker = online(tmp_path)
    monkeypatch.setitem(wandb_tracker.END_SECONDS, "online", 2.0)
    tracker.start(trial(0))
    tracker.log(EPOCHS[0])
    setattr(server, fault, (lambda operation, values: True) if fault == "dies" else "*")
    for epoch in EPOCHS[1:]:
        tracker.log(epoch, some_slices())  # an artifact, for which W&B has no limit
    started = time.monotonic()
    tracker.finish(State.COMPLETE, "")
    assert time.monotonic() - started < 6
    assert noted_outage(tmp_path).startswith("W&B cannot be reached, runs are kept offline in ")
    assert list(tmp_path.glob("wandb/offline-run-*"))
    run = read_run(tmp_path, 0)
    assert shown(run["history"]) == EPOCHS
    assert run["summary"]["state"] == "COMPLETE"
    started = time.monotonic()
    track(tracker, 1)
    assert time.monotonic() - started < 3
    assert shown(read_run(tmp_path, 1)["history"]) == EPOCHS


def test_run_goes_on_offline_where_the_service_process_dies(server, tmp_path):
    tracker = online(tmp_path)
    tracker.start(trial(0))
    tracker.log(EPOCHS[0], some_slices())
    while not server.runs:
        time.sleep(0.01)
    [service] = [pid for pid, command in descendants(os.getpid()).items() if "wandb-core" in command]
    os.kill(service, signal.SIGKILL)
    for epoch in EPOCHS[1:]:
        tracker.log(epoch)
    tracker.finish(State.COMPLETE, "")
    assert noted_outage(tmp_path)
    run = read_run(tmp_path, 0)
    assert shown(run["history"]) == EPOCHS
    assert SLICES in run["history"][0]


def test_offline_runs_ask_no_server(server, tmp_path):
    track(offline(tmp_path), 0, slices=some_slices())
    assert server.asked == {}
