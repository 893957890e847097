"""When a search ends early: at its deadline, but not before it has something to show."""

import os
from functools import partial

import pytest

from data.machine.disk_errors import DiskError
from search.cluster import stop_request
from search.cluster.stop_request import FAILED, StopRequest
from search.record.trials import INTERRUPTED, TIME_SPENT


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves: a list with the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(stop_request, "time", type("Time", (), {"monotonic": staticmethod(lambda: now[0])}))
    return now


def test_search_without_a_budget_ends_only_on_request():
    stop = StopRequest(None)
    assert stop.reason is None
    stop.interrupt()
    assert (stop.reason, stop.stop_all()) == (INTERRUPTED, True)


def test_budget_waits_for_the_first_checkpoint(clock):
    stop = StopRequest(10.0)
    clock[0] += 11
    assert stop.reason is None
    stop.keep()
    assert stop.reason == TIME_SPENT


@pytest.mark.parametrize(("budget", "last"), [(10.0, 70.0), (600.0, 1200.0)])
def test_budget_does_not_wait_for_ever(clock, budget, last):
    stop = StopRequest(budget)
    clock[0] += last - 1
    assert stop.reason is None
    clock[0] += 2
    assert stop.reason == TIME_SPENT


def test_resumed_search_has_something_to_show(clock):
    stop = StopRequest(10.0, has_checkpoint=True)
    clock[0] += 11
    assert stop.reason == TIME_SPENT


def test_guard_ends_the_search_where_its_folder_is_gone_and_does_nothing_after_that(tmp_path):
    stop, done = StopRequest(None), []
    assert stop.guard(lambda: 1) == 1
    gone = tmp_path / "gone" / "events.jsonl"
    assert stop.guard(gone.read_text) is None
    gone.parent.mkdir()
    with pytest.raises(
        DiskError, match=r"events.jsonl could not be opened or written .*; check that its folder is still"
    ):
        stop.raise_failure()
    assert stop.reason == FAILED
    stop.guard(lambda: done.append(1))
    assert done == []


def test_guard_does_not_hide_a_fault():
    with pytest.raises(OSError, match="Bad file descriptor"):
        StopRequest(None).guard(partial(os.close, -1))
