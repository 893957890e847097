"""The median stopping rule."""

import math

import pytest

from search.scheduling.median import Median
from search.scheduling.scheduler import Verdict
from tests.support.scheduling import CONTINUE, SEEDS, STOP, arrivals, promote_all, request, value_of


def judged_after(others: list[list[float]], mine: list[float], **changes: int) -> list[Verdict]:
    """Return Median's verdicts of a trial, epoch by epoch, after those of others."""
    median = Median(request(**changes))
    for number, values in enumerate(others):
        for epoch, value in enumerate(values, start=1):
            median.judge(number, epoch, value)
    return [median.judge(len(others), epoch, value) for epoch, value in enumerate(mine, start=1)]


@pytest.mark.parametrize(
    ("others", "mine", "verdicts"),
    [
        ([[0.1], [0.2], [0.3], [0.4], [0.5]], [0.29], [STOP]),
        ([[0.1], [0.2], [0.3], [0.4], [0.5]], [0.3], [CONTINUE]),  # not below
        ([[0.1], [0.2], [0.3], [0.4]], [0.0], [CONTINUE]),  # four are too few
        ([[0.1], [0.2], [0.3], [0.4], [math.nan]], [0.0], [CONTINUE]),  # nan does not count
        ([[0.0, 0.6]] * 5, [0.0, 0.29], [CONTINUE, STOP]),  # their means are 0.3 after two epochs
        ([[0.0, 0.6]] * 5, [0.0, 0.3], [CONTINUE, CONTINUE]),
        ([[0.0, 0.6]] * 5, [0.31, 0.0], [CONTINUE, CONTINUE]),  # its best counts, not its last
        ([[0.5]] * 5, [0.6, 0.0], [CONTINUE, CONTINUE]),  # no other trial reached the epoch
    ],
)
def test_median_by_hand(others, mine, verdicts):
    assert judged_after(others, mine) == verdicts


def test_median_stops_no_trial_within_the_grace_period():
    assert judged_after([[0.5] * 4] * 5, [0.1] * 4, grace_period=3) == [CONTINUE, CONTINUE, STOP, STOP]


def test_median_never_stops_the_default_trial():
    assert judged_after([[0.5] * 4] * 5, [0.1] * 4, default_trial=5) == [CONTINUE] * 4


def test_median_never_stops_the_best_so_far():
    for seed in SEEDS:
        median = Median(request())
        best = -math.inf
        for number in range(30):
            for epoch in range(1, 10):
                value = value_of(seed, number, epoch)
                verdict = median.judge(number, epoch, value)
                assert verdict == CONTINUE or value < best
                best = max(best, value)
                if verdict == STOP:
                    break


def test_median_counts_an_epoch_that_is_trained_again_once():
    median = Median(request())
    for number in range(4):
        for _ in range(3):
            assert median.judge(number, 1, 0.5) == CONTINUE
    assert median.judge(4, 1, 0.1) == CONTINUE  # four others, however often each was judged


def test_median_stops_a_stopped_trial_again():
    median = Median(request())
    assert arrivals(median, [0.5] * 5 + [0.1]) == [CONTINUE] * 5 + [STOP]
    for value in (0.1, 0.1, 0.9):  # another machine may compute another value
        assert median.judge(5, 1, value) == STOP
    assert [median.judge(number, 1, 0.5) for number in range(5)] == [CONTINUE] * 5


def test_median_counts_trials_that_failed():
    median = Median(request())
    arrivals(median, [0.5] * 5)
    median.remove(0)
    assert median.judge(5, 1, 0.1) == STOP


def test_median_pauses_no_trial():
    median = Median(request())
    arrivals(median, [0.5] * 8 + [0.1])
    assert promote_all(median, num_to_come=0) == []
    assert median.drop_hopeless() == []
    assert median.drop_worst() is None
