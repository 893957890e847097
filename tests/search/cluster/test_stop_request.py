"""When a search ends early: at its deadline, but not before it has something to show."""

import errno
import os
from functools import partial

import pytest

from search.cluster import stop_request
from search.cluster.stop_request import CANNOT_WRITE, StopRequest
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


def test_guard_ends_the_search_where_a_disk_is_full_and_does_nothing_after_that():
    stop, done = StopRequest(None), []
    assert stop.guard(lambda: 1) == 1
    full = OSError(errno.ENOSPC, "No space left on device", "events.jsonl")

    def write() -> None:
        raise full

    assert stop.guard(write) is None
    assert (stop.reason, stop.failure) == (CANNOT_WRITE, full)
    stop.guard(lambda: done.append(1))
    assert done == []


def test_guard_does_not_hide_a_fault():
    with pytest.raises(OSError, match="Bad file descriptor"):
        StopRequest(None).guard(partial(os.close, -1))
