"""W&B as a tracker: what reaches its server or its files, and that nothing that it does holds up a search."""

import os
import pickle
import signal
import time
from pathlib import Path

import pytest

from search.record.trials import State
from search.tracking import wandb_tracker
from search.tracking.connection import Patience
from search.tracking.outage import noted_outage
from search.tracking.run_writer import SLICES
from tests.support.process_tree import descendants
from tests.support.tracked import (
    EPOCHS,
    IMPATIENT,
    SAMPLE,
    keep_some_slices,
    open_offline,
    open_online,
    outage_in,
    progress,
    track,
    wait_until,
)
from tests.support.wandb_files import read_run, shown

pytestmark = [pytest.mark.usefixtures("no_wandb_server"), pytest.mark.slow]


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("wandb/*run-*/*.wandb")}


def test_offline_runs_are_written_when_trials_end_and_ask_no_server(server, tmp_path):
    tracker = open_offline(tmp_path)
    keep_some_slices(tmp_path, 0)
    track(tracker, 0)
    wait_until(lambda: list(tmp_path.glob("wandb/offline-run-*")))
    tracker.on_leg(progress(1))
    track(tracker, 2, EPOCHS[:1], State.FAILED, "Traceback\nRuntimeError: raised")
    tracker.close()
    assert shown(read_run(tmp_path, 0)["history"]) == EPOCHS
    assert read_run(tmp_path, 2)["summary"]["reason"] == "RuntimeError: raised"
    assert {file.stem for file in tmp_path.glob("wandb/offline-run-*/*.wandb")} == {"run-small-t000", "run-small-t002"}
    assert server.asked == {}


def test_resumed_search_writes_only_the_offline_runs_that_changed_or_were_cut_off(tmp_path):
    tracker = open_offline(tmp_path)
    for number in range(3):
        track(tracker, number, EPOCHS[:2], State.PRUNED, "interrupted" if number == 1 else None)
    tracker.close()
    before = files(tmp_path)
    [cut_off] = tmp_path.glob("wandb/offline-run-*/run-small-t002.wandb")
    cut_off.write_bytes(cut_off.read_bytes()[:-50])  # killed while it was written: it was not noted as sent
    sent = tmp_path / "sent.jsonl"
    sent.write_text("".join(line for line in sent.read_text().splitlines(keepends=True) if "t002" not in line))
    tracker = open_offline(tmp_path)
    for number in (0, 2):  # they had ended, which is read back from the log
        tracker.on_end(progress(number, EPOCHS[:2]), State.PRUNED, None)
    track(tracker, 1, EPOCHS[2:], before=EPOCHS[:2])
    tracker.close()
    after = files(tmp_path)
    assert after["run-small-t000.wandb"] == before["run-small-t000.wandb"]
    assert after.keys() == before.keys()
    assert shown(read_run(tmp_path, 1)["history"]) == EPOCHS
    assert shown(read_run(tmp_path, 2)["history"]) == EPOCHS[:2]


def test_tracker_without_a_trial_leaves_nothing(tmp_path):
    tracker = open_offline(tmp_path)
    pickle.dumps(tracker)  # as Tune does
    tracker.close()
    assert list(tmp_path.iterdir()) == []


def test_server_gets_all_of_a_run_while_its_trial_runs(server, tmp_path):
    tracker = open_online(tmp_path)
    trial = progress(3)
    tracker.on_leg(trial)
    wait_until(lambda: "small-t003" in server.runs)
    keep_some_slices(tmp_path, 3)
    for epoch in EPOCHS:
        trial.epochs[epoch.epoch] = epoch
        tracker.on_epoch(trial, epoch)
    assert server.runs["small-t003"].exit_code is None
    tracker.on_end(trial, State.PRUNED, None)
    tracker.close()
    run = server.runs["small-t003"]
    assert shown(run.history) == EPOCHS
    assert [SLICES in entry for entry in run.history] == [False, True, False]
    assert run.config.items() >= (SAMPLE | {"seed": 7, "searcher": "tpe"}).items()
    assert (run.facts["displayName"], run.facts["groupName"]) == ("t003 lr 2e-3 depth 4", "small")
    assert run.facts["sweep"] == "sweep1"
    assert run.summary.items() >= {"best_val_dice": 0.625, "best_epoch": 2, "state": "PRUNED"}.items()
    assert run.summary["reason"] == "stopped early after epoch 3 of 9"
    assert run.exit_code == 0
    [table] = [asked["input"] for asked in server.asked["CreateArtifact"]]
    assert table["artifactTypeName"] == "run_table"
    names = [name.removeprefix("model/") for name in server.files if name.startswith("model/")]
    assert "validation_slices.table.json" in names
    assert sum(name.startswith("media/images/mask/") for name in names) == 3  # two masks are empty, and so one file
    assert noted_outage(tmp_path) is None


def test_resumed_search_goes_on_in_the_runs_of_its_trials(server, tmp_path):
    tracker = open_online(tmp_path)
    track(tracker, 0)
    track(tracker, 1, EPOCHS[:2], State.PRUNED, "interrupted")
    tracker.close()
    assert server.runs["small-t001"].summary["reason"] == "interrupted"
    num_asked = len(server.asked["UpsertBucket"])
    tracker = open_online(tmp_path)
    tracker.on_end(progress(0, EPOCHS), State.COMPLETE, None)  # it had ended, which is read back from the log
    track(tracker, 1, EPOCHS[2:], before=EPOCHS[:2])
    tracker.close()
    assert sorted(server.runs) == ["small-t000", "small-t001"]
    assert {asked["name"] for asked in server.asked["UpsertBucket"][num_asked:]} == {"small-t001"}
    run = server.runs["small-t001"]
    assert shown(run.history) == EPOCHS
    assert run.summary.items() >= {"state": "COMPLETE", "reason": "", "best_val_dice": 0.625, "best_epoch": 2}.items()
    assert len(server.sweeps) == 1


@pytest.mark.slow  # W&B gathers lines of history for 15 seconds
def test_search_that_was_killed_goes_on_in_the_runs_of_its_trials(server, tmp_path):
    tracker = open_online(tmp_path)
    trial = progress(0, EPOCHS[:1])
    tracker.on_leg(trial)
    wait_until(lambda: "small-t000" in server.runs and server.runs["small-t000"].history)
    for pid, command in descendants(os.getpid()).items():
        if "search.tracking.client" in command:
            os.kill(pid, signal.SIGKILL)
    tracker = open_online(tmp_path)
    track(tracker, 0, EPOCHS[1:], before=EPOCHS[:1])
    tracker.close()
    assert shown(server.runs["small-t000"].history) == EPOCHS
    assert server.runs["small-t000"].exit_code == 0


def test_epoch_that_is_done_again_after_a_loss_is_there_once(server, tmp_path):
    tracker = open_online(tmp_path)
    trial = progress(0)
    tracker.on_leg(trial)
    for epoch in (*EPOCHS[:2], *EPOCHS[1:]):
        if epoch.epoch in trial.epochs:
            tracker.on_loss(trial, "ActorDiedError")
        trial.epochs[epoch.epoch] = epoch
        tracker.on_epoch(trial, epoch)
    tracker.on_end(trial, State.COMPLETE, None)
    tracker.close()
    assert shown(server.runs["small-t000"].history) == EPOCHS


def test_online_without_a_server_goes_on_offline_within_seconds(tmp_path):
    started = time.monotonic()
    tracker = open_online(tmp_path)
    track(tracker, 0)
    tracker.close()
    assert time.monotonic() - started < 15
    assert outage_in(tmp_path).startswith("W&B does not take this search, which goes on offline (")
    assert shown(read_run(tmp_path, 0)["history"]) == EPOCHS


def test_search_goes_on_if_wandb_cannot_write(tmp_path):
    (tmp_path / "wandb").write_text("a file where a folder must be")
    tracker = open_offline(tmp_path)
    track(tracker, 0)
    tracker.close()
    assert outage_in(tmp_path).startswith("W&B does not work, the search goes on without it: ")


@pytest.mark.parametrize("fault", ["silent_on", "broken_on", "refused"])
def test_server_that_does_not_open_a_run_holds_up_nobody(server, tmp_path, fault):
    tracker = open_online(tmp_path, IMPATIENT)
    setattr(server, fault, "UpsertBucket")
    started = time.monotonic()
    keep_some_slices(tmp_path, 0)
    track(tracker, 0)
    assert time.monotonic() - started < 0.5
    wait_until(lambda: noted_outage(tmp_path))
    num_asked = len(server.asked["UpsertBucket"])
    track(tracker, 1)
    tracker.close()
    assert time.monotonic() - started < 15
    assert outage_in(tmp_path).startswith("W&B cannot be reached, runs are kept offline in ")
    assert len(server.asked["UpsertBucket"]) == num_asked, "it is not asked again"
    for number in (0, 1):
        assert shown(read_run(tmp_path, number)["history"]) == EPOCHS
    assert SLICES in read_run(tmp_path, 0)["history"][1]


@pytest.mark.parametrize("fault", ["silent_on", "broken_on", "dies"])
def test_server_that_goes_away_in_a_run_holds_up_nobody(server, tmp_path, fault):
    tracker = open_online(tmp_path, IMPATIENT)
    trial = progress(0, EPOCHS[:1])
    tracker.on_leg(trial)
    wait_until(lambda: "small-t000" in server.runs)
    setattr(server, fault, (lambda operation, values: True) if fault == "dies" else "*")
    for epoch in EPOCHS[1:]:
        keep_some_slices(tmp_path, 0, epoch.epoch)  # an artifact, for which W&B has no limit
        trial.epochs[epoch.epoch] = epoch
        tracker.on_epoch(trial, epoch)
    started = time.monotonic()
    tracker.on_end(trial, State.COMPLETE, None)
    assert time.monotonic() - started < 0.5
    track(tracker, 1)
    tracker.close()
    assert time.monotonic() - started < 15
    assert outage_in(tmp_path).startswith("W&B cannot be reached, runs are kept offline in ")
    for number in (0, 1):
        run = read_run(tmp_path, number)
        assert shown(run["history"]) == EPOCHS
        assert run["summary"]["state"] == "COMPLETE"


def test_end_of_a_search_does_not_wait_for_ever(server, tmp_path, monkeypatch):
    tracker = open_online(tmp_path, Patience(init_seconds=100, answer_seconds=100))
    monkeypatch.setattr(wandb_tracker, "CLOSING_SECONDS", 1.0)
    server.silent_on = "*"
    started = time.monotonic()
    track(tracker, 0)
    tracker.close()
    assert time.monotonic() - started < 4
    assert outage_in(tmp_path).startswith("W&B did not take all runs in 1 seconds; to send its runs later: ")


def test_run_goes_on_offline_if_the_service_process_dies(server, tmp_path):
    tracker = open_online(tmp_path, IMPATIENT)
    keep_some_slices(tmp_path, 0, 1)
    trial = progress(0, EPOCHS[:1])
    tracker.on_leg(trial)
    wait_until(lambda: server.runs)
    [service, *_] = [pid for pid, command in descendants(os.getpid()).items() if "wandb-core" in command]
    os.kill(service, signal.SIGKILL)
    track(tracker, 0, EPOCHS[1:], before=EPOCHS[:1])
    tracker.close()
    assert noted_outage(tmp_path)
    run = read_run(tmp_path, 0)
    assert shown(run["history"]) == EPOCHS
    assert SLICES in run["history"][0]


def test_wrong_key_is_said_and_written_nowhere(server, tmp_path, monkeypatch):
    key = 20 * "ab"
    server.key = 40 * "1"
    monkeypatch.setenv("WANDB_API_KEY", key)
    tracker = open_online(tmp_path)
    track(tracker, 0)
    tracker.close()
    assert "user is not logged in" in outage_in(tmp_path)
    assert shown(read_run(tmp_path, 0)["history"]) == EPOCHS
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > 3
    assert [file for file in written if key.encode() in file.read_bytes()] == []


def test_right_key_is_written_nowhere(server, tmp_path, monkeypatch):
    server.key = key = 20 * "cd"
    monkeypatch.setenv("WANDB_API_KEY", key)
    tracker = open_online(tmp_path)
    track(tracker, 0)
    tracker.close()
    assert shown(server.runs["small-t000"].history) == EPOCHS
    assert [file for file in tmp_path.rglob("*") if file.is_file() and key.encode() in file.read_bytes()] == []


def test_missing_key_is_not_asked_for(server, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("NETRC", "/nowhere")
    tracker = open_online(tmp_path)
    track(tracker, 0)
    tracker.close()
    assert "there is no API key" in outage_in(tmp_path)
    assert shown(read_run(tmp_path, 0)["history"]) == EPOCHS
