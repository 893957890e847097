"""The best so far, by what was spent: worked by hand."""

import math

import pytest

from search.record.efficiency import Step, best_after, best_so_far
from search.record.epochs import EpochMetrics
from search.record.trials import State
from tests.support.fakes import trial_row


def row(number, *epochs, **changes):
    """A trial whose epochs are (seconds since the search began, Dice)."""
    found = [EpochMetrics(epoch=i, val_dice=dice, elapsed_seconds=at) for i, (at, dice) in enumerate(epochs, start=1)]
    return trial_row(number, [], epochs=found, **changes)


# Two lanes: t000 is paused while t001 runs, and goes on after it. Known in the order 0.2, 0.5, nan, 0.4, 0.6, 0.6.
ROWS = [
    row(0, (1.0, 0.2), (4.0, 0.4), (5.0, 0.6)),
    row(1, (2.0, 0.5), (3.0, math.nan), state=State.PRUNED),
    row(2, (6.0, 0.6)),
    row(3, state=State.FAILED),
]
STEPS = [
    Step(epochs=1, seconds=1.0, dice=0.2, trial="t000"),
    Step(epochs=2, seconds=2.0, dice=0.5, trial="t001"),
    Step(epochs=5, seconds=5.0, dice=0.6, trial="t000"),
    Step(epochs=6, seconds=6.0, dice=0.6, trial="t000"),  # the end: an equal is no new best
]


def test_best_so_far_follows_the_clock_and_counts_every_epoch():
    assert best_so_far(ROWS) == STEPS


def test_best_so_far_ends_with_what_was_spent_only_once():
    assert best_so_far(ROWS[1:2])[-1] == Step(epochs=2, seconds=3.0, dice=0.5, trial="t001")
    assert best_so_far([row(0, (1.0, 0.5))]) == [Step(epochs=1, seconds=1.0, dice=0.5, trial="t000")]


def test_best_so_far_of_a_first_epoch_without_a_score_begins_at_the_second():
    assert best_so_far([row(0, (1.0, math.nan), (2.0, 0.0))]) == [Step(epochs=2, seconds=2.0, dice=0.0, trial="t000")]


@pytest.mark.parametrize("rows", [[], [row(0)], [row(0, (1.0, math.nan))]], ids=["none", "no epoch", "no score"])
def test_best_so_far_of_nothing_is_empty(rows):
    assert best_so_far(rows) == []


def test_best_so_far_without_times_keeps_the_order_of_the_table():
    steps = best_so_far([trial_row(0, [0.25, 0.75]), trial_row(1, [0.5, 1.0])])
    assert [(step.epochs, step.dice) for step in steps] == [(1, 0.25), (2, 0.75), (4, 1.0)]


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({"epochs": 1}, 0.2),
        ({"epochs": 4}, 0.5),
        ({"epochs": 5}, 0.6),
        ({"epochs": 6}, 0.6),
        ({"seconds": 1.5}, 0.2),
        ({"seconds": 4.9}, 0.5),
        ({"seconds": 6.0}, 0.6),
    ],
)
def test_best_after_a_budget(budget, expected):
    assert best_after(STEPS, **budget) == expected


@pytest.mark.parametrize("budget", [{"epochs": 7}, {"seconds": 6.1}, {"seconds": 0.9}])
def test_best_after_what_was_not_spent_or_too_little_is_nan(budget):
    assert math.isnan(best_after(STEPS, **budget))
    assert math.isnan(best_after([], **budget))


@pytest.mark.parametrize("budget", [{}, {"epochs": 1, "seconds": 1.0}])
def test_best_after_takes_one_measure(budget):
    with pytest.raises(AssertionError):
        best_after(STEPS, **budget)
