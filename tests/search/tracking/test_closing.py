"""The end of a search in the runs of its trials: what a lane could not know is corrected."""

import time
from pathlib import Path

import pytest

from search.record.trials import State, TrialRow
from search.tracking import closing, wandb_run
from search.tracking.closing import close_runs
from search.tracking.outage import noted_outage
from search.tracking.tracker import make_tracker
from tests.support.fakes import trial_row
from tests.support.tracked import EPOCHS, FIXED, SAMPLE, offline, some_slices, track, tracking
from tests.support.wandb_files import read_run, shown

pytestmark = pytest.mark.usefixtures("no_wandb_server")

STOPPED = "stopped early after epoch 3 of 9"


def row(number: int, state: State = State.PRUNED, error: str | None = None) -> TrialRow:
    return trial_row(number, [], sample=SAMPLE, epochs=tuple(EPOCHS), state=state, error=error)


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("wandb/*run-*/*.wandb")}


def test_runs_that_end_as_their_rows_are_not_touched(tmp_path):
    tracker = offline(tmp_path)
    track(tracker, 0)
    track(tracker, 1, state=State.PRUNED, reason=STOPPED)
    track(tracker, 2, state=State.FAILED, reason="RuntimeError: raised")
    for number in range(3):
        read_run(tmp_path, number)
    before = files(tmp_path)
    rows = [row(0, State.COMPLETE), row(1), row(2, State.FAILED, "Traceback\nRuntimeError: raised"), row(3)]
    assert close_runs(rows, FIXED, tracking(tmp_path)) is None
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("state", "error"), [(State.PRUNED, "interrupted"), (State.FAILED, "lost its worker group\nActorDiedError: killed")]
)
def test_run_says_how_its_trial_ended(tmp_path, state, error):
    track(offline(tmp_path), 3, state=State.PRUNED, reason=STOPPED, slices=some_slices())
    before = read_run(tmp_path, 3)
    assert close_runs([row(3, state, error)], FIXED, tracking(tmp_path)) is None
    after = read_run(tmp_path, 3)
    assert (after["summary"]["state"], after["summary"]["reason"]) == (state, error.splitlines()[-1])
    assert after["exit_code"] == (state == State.FAILED)
    assert after["history"] == before["history"]
    assert after["config"] == before["config"]
    assert len(after["artifacts"]) == 1
    changed = {"state": None, "reason": None}
    assert after["summary"] | changed == before["summary"] | changed


def test_run_that_was_cut_off_is_given_an_end(tmp_path):
    track(offline(tmp_path), 3, state=State.PRUNED, reason=STOPPED)
    read_run(tmp_path, 3)
    [file] = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 4 // 5])  # killed while it was written
    assert close_runs([row(3, error="interrupted")], FIXED, tracking(tmp_path)) is None
    run = read_run(tmp_path, 3)
    assert (run["summary"]["state"], run["summary"]["reason"]) == ("PRUNED", "interrupted")
    assert shown(run["history"]) == EPOCHS[: len(run["history"])]


def test_server_is_told_how_a_trial_ended(server, tmp_path):
    tracker = make_tracker(tracking(tmp_path, "online"))
    track(tracker, 0)
    track(tracker, 3, EPOCHS[:2], State.PRUNED, STOPPED)
    num_asked = len(server.asked["UpsertBucket"])
    rows = [row(0, State.COMPLETE), row(3, error="interrupted")]
    assert close_runs(rows, FIXED, tracking(tmp_path, "online")) is None
    run = server.runs["small-t003"]
    assert (run.summary["state"], run.summary["reason"]) == ("PRUNED", "interrupted")
    assert shown(run.history) == EPOCHS[:2]
    assert {asked["name"] for asked in server.asked["UpsertBucket"][num_asked:]} == {"small-t003"}
    assert noted_outage(tmp_path) is None


def test_server_that_is_silent_holds_nobody(server, tmp_path, monkeypatch):
    tracker = make_tracker(tracking(tmp_path, "online"))
    track(tracker, 3, state=State.PRUNED, reason=STOPPED)
    monkeypatch.setattr(closing, "CLOSING_SECONDS", 1.0)
    monkeypatch.setattr(wandb_run, "INIT_TIMEOUT_SECONDS", 2.0)
    server.silent_on = "*"
    started = time.monotonic()
    problem = close_runs([row(3, error="interrupted")], FIXED, tracking(tmp_path, "online"))
    assert time.monotonic() - started < 6
    assert problem.startswith("some runs in W&B do not say how their trials ended: ")
    assert noted_outage(tmp_path)


def test_search_that_was_not_tracked_has_nothing_to_close(tmp_path):
    assert close_runs([row(3)], FIXED, tracking(tmp_path)) is None
    assert close_runs([row(3)], FIXED, tracking(tmp_path, "off")) is None
