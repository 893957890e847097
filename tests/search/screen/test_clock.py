"""The clock of a search, and lengths of time for people."""

import time

import pytest

from search.screen.clock import Clock, format_clock, format_roughly
from tests.support.fakes import progress


def test_clock_goes_on_where_the_last_epoch_ended():
    clock = Clock()
    assert clock.elapsed_seconds < 5
    clock.restore([progress(0, [0.5, 0.7]), progress(1, [0.6], elapsed_seconds=599.0), progress(2, [])])
    assert 600 <= clock.elapsed_seconds < 605
    before = clock.elapsed_seconds
    time.sleep(0.01)
    assert clock.elapsed_seconds > before


def test_clock_of_a_search_without_epochs_begins_anew():
    clock = Clock()
    clock.restore([progress(0, [])])
    assert clock.elapsed_seconds < 5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3599, "59:59"), (3661, "1:01:01"), (1e6, "277:46:40")],
)
def test_format_clock_by_hand(seconds, text):
    assert format_clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "5 s"),
        (41, "40 s"),
        (57, "55 s"),
        (58, "1 min"),
        (89, "1 min"),
        (91, "2 min"),
        (3560, "59 min"),
        (3580, "1 h"),
        (5400, "1 h 30 min"),
        (35_900, "10 h"),
        (36_100, "10 h"),
        (47.4 * 3600, "47 h"),
        (48 * 3600, "2 d"),
        (75 * 3600, "3 d 3 h"),
    ],
)
def test_format_roughly_by_hand(seconds, text):
    assert format_roughly(seconds) == text
