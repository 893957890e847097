"""ASHA by hand: who goes on at a rung, whatever the order of arrival."""

import math
import random
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from search.scheduler import Asha, Rungs


def rungs(**changes) -> Rungs:
    return Rungs(**{"max_epochs": 9, "grace_period": 1, "reduction_factor": 3} | changes)


def arrivals(values: list[float], *, reduction_factor: int = 3) -> list[bool]:
    """Return for every value, in the order of arrival at the first rung, whether its trial goes on."""
    compared = rungs(reduction_factor=reduction_factor)
    return [compared.record(f"t{number}", 1, value) for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("max_epochs", "grace_period", "reduction_factor", "epochs"),
    [
        (9, 1, 3, [1, 3]),
        (10, 1, 3, [1, 3, 9]),
        (54, 2, 3, [2, 6, 18]),
        (81, 3, 3, [3, 9, 27]),
        (8, 1, 2, [1, 2, 4]),
        (1, 1, 3, []),
        (5, 5, 3, []),
    ],
)
def test_rungs_lie_a_factor_apart_below_the_last_epoch(max_epochs, grace_period, reduction_factor, epochs):
    found = rungs(max_epochs=max_epochs, grace_period=grace_period, reduction_factor=reduction_factor)
    assert list(found.values) == epochs


def test_rungs_best_first_by_hand():
    # Of six, two may go on; the second best came when there were two, of whom only the first may.
    assert arrivals([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]) == [True, False, False, False, False, False]


def test_rungs_worst_first_let_everyone_go_on():
    assert arrivals([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == [True] * 6


def test_rungs_mixed_by_hand():
    # After the sixth arrival there are two places: 0.6 is second of six.
    assert arrivals([0.5, 0.2, 0.7, 0.4, 0.3, 0.6]) == [True, False, True, False, False, True]
    assert arrivals([0.5, 0.2, 0.7, 0.4], reduction_factor=2) == [True, False, True, False]
    assert arrivals([0.5, 0.2, 0.7, 0.6], reduction_factor=2) == [True, False, True, True]


@pytest.mark.parametrize("seed", range(5))
def test_rungs_never_stop_the_best_so_far_and_keep_about_their_share(seed):
    generator = random.Random(seed)
    values = [generator.random() for _ in range(300)]
    goes_on = arrivals(values)
    best = -math.inf
    for value, went_on in zip(values, goes_on, strict=True):
        assert went_on or value < best
        best = max(best, value)
    assert 60 < sum(goes_on) < 140  # a third of 300, some more while the rung is young


def test_rungs_let_equals_go_on_together():
    assert arrivals([0.5, 0.5, 0.5]) == [True, True, True]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_rungs_stop_what_is_not_finite_and_do_not_count_it(value):
    compared = rungs()
    assert not compared.record("t0", 1, value)
    assert compared.record("t1", 1, 0.1)
    assert compared.values[1] == {"t1": 0.1}


def test_rungs_let_everyone_go_on_between_them():
    compared = rungs()
    assert compared.record("t0", 1, 0.9)
    assert compared.record("t1", 2, 0.0)
    assert compared.record("t1", 9, 0.0)
    assert compared.record("t1", 2, math.nan)
    assert compared.values == {1: {"t0": 0.9}, 3: {}}


def test_rungs_count_an_epoch_that_is_done_again_once():
    compared = rungs(reduction_factor=2)
    assert compared.record("t0", 1, 0.9)
    assert compared.record("t0", 1, 0.9)  # its workers were lost, and it went on from before the rung
    assert not compared.record("t1", 1, 0.8)  # of two one goes on, of three it would be the same one
    assert compared.values[1] == {"t0": 0.9, "t1": 0.8}


def test_rungs_compare_each_rung_by_itself():
    compared = rungs()
    assert compared.record("t0", 3, 0.9)
    assert compared.record("t1", 1, 0.1)
    assert not compared.record("t1", 3, 0.2)


def test_asha_says_so_in_tune_words():
    asha = Asha(rungs())
    trials = [SimpleNamespace(config={"number": number}) for number in range(3)]
    decisions = [
        asha.on_trial_result(None, trial, {"epoch": 1, "val_dice": dice})
        for trial, dice in zip(trials, (0.5, 0.4, math.nan), strict=True)
    ]
    assert decisions == [TrialScheduler.CONTINUE, TrialScheduler.STOP, TrialScheduler.STOP]
    assert asha.on_trial_result(None, trials[0], {"epoch": 2, "val_dice": math.nan}) == TrialScheduler.CONTINUE
    assert asha.on_trial_result(None, trials[0], {"epoch": 3}) == TrialScheduler.STOP
