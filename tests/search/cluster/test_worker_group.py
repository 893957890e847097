"""A worker group as its lane sees it, with ranks that answer, fail, hang or are gone."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.cluster.group import worker_group
from search.cluster.group.channel import LocalChannel, local_pair
from search.cluster.group.messages import Failure, Halt, HaltEpoch, Report, TrainEpoch
from search.cluster.group.worker_group import WorkerGroup, WorkerGroupLost
from search.storage.storage_path import local_path

GOOD = Report(metrics={"epoch": 1}, finished=False, failure=None)
BAD = Failure(message="OutOfMemoryError: too large", traceback="")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch) -> None:
    monkeypatch.setattr(worker_group, "AGREEMENT_SECONDS", 0.0)
    monkeypatch.setattr(worker_group, "POLL_SECONDS", 0.01)


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def group_of(*replies: Any, ended: threading.Event) -> tuple[WorkerGroup, list[LocalChannel]]:
    """Return a group whose ranks have answered already, and their ends; a rank of `None` says nothing."""
    ours, theirs = zip(*(local_pair() for _ in replies), strict=True)
    for end, reply in zip(theirs, replies, strict=True):
        if reply is not None:
            end.send(reply)
    group = WorkerGroup.__new__(WorkerGroup)
    run = threading.Thread(target=ended.wait, daemon=True)
    run.start()
    vars(group).update(_channels=list(ours), _run=run, _error=None)
    return group, list(theirs)


def test_step_returns_the_report_of_rank_0(ended):
    other = Report(metrics={"epoch": 7}, finished=False, failure=None)
    group, ends = group_of(GOOD, other, ended=ended)
    assert group.step(timeout_seconds=5) == GOOD
    assert [end.recv() for end in ends] == [TrainEpoch()] * 2


def test_step_returns_the_failure_of_all_ranks(ended):
    assert group_of(BAD, BAD, ended=ended)[0].step(timeout_seconds=5) == BAD


def test_group_in_which_only_some_ranks_fail_is_lost(ended):
    with pytest.raises(WorkerGroupLost, match="1 of 2 workers failed: OutOfMemoryError: too large"):
        group_of(GOOD, BAD, ended=ended)[0].step(timeout_seconds=5)


@pytest.mark.parametrize(("replies", "rank"), [((None, GOOD), 0), ((GOOD, None), 1), ((BAD, None), 1)])
def test_rank_that_hangs_is_given_up_after_the_timeout(ended, replies, rank):
    with pytest.raises(WorkerGroupLost, match=f"worker {rank} of 2 did not answer in time"):
        group_of(*replies, ended=ended)[0].step(timeout_seconds=0.05)


def test_run_that_has_ended_is_not_waited_for(ended):
    group, _ = group_of(None, ended=ended)
    group._error = ValueError("no such place")
    ended.set()
    with pytest.raises(WorkerGroupLost, match="worker 0 of 1 ended: no such place"):
        group.step(timeout_seconds=60)


def test_ranks_are_told_once_to_halt_while_they_train(ended):
    group, ends = group_of(None, None, ended=ended)
    halt, answers = Halt(epoch=1, num_batches=3), iter([False, True])

    def obey() -> None:
        for end in ends:
            told = [end.recv(), end.recv()]
            end.send(halt if told == [TrainEpoch(), HaltEpoch()] else told)

    threading.Thread(target=obey, daemon=True).start()
    assert group.step(timeout_seconds=5, must_halt=lambda: next(answers)) == halt
    assert not any(end.poll(0.0) for end in ends)


def test_time_in_which_all_processes_stood_still_is_not_counted(ended, monkeypatch):
    group, _ = group_of(None, ended=ended)
    now, polls = [0.0], []

    def poll(seconds: float) -> bool:
        polls.append(seconds)
        now[0] += 3600.0 if len(polls) == 2 else seconds
        return False

    monkeypatch.setattr(worker_group, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(group._channels[0], "poll", poll)
    with pytest.raises(WorkerGroupLost, match="did not answer in time"):
        group.step(timeout_seconds=0.05)
    assert 6 <= len(polls) <= 7, "0.05 s in steps of 0.01 s, and an hour that does not count"


def test_save_raises_what_the_disk_says(ended):
    group, _ = group_of(OSError(errno.ENOSPC, "No space left on device", "x"), ended=ended)
    with pytest.raises(OSError, match="No space left"):
        group.save(local_path(Path("x")), timeout_seconds=5)
