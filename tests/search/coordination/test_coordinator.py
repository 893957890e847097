"""A whole search without Ray or training: what is trained when, and how trials end."""

import itertools
import math
import random

import pytest
from optuna.trial import TrialState

from search.coordination.trial_progress import Leg
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.scheduling.schedulers import SCHEDULERS
from tests.support.coordinated import MAX_EPOCHS, NAMES, closed_form, coordinator, next_leg, run, table
from tests.support.simulation import simulate


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("num_lanes", [1, 4])
def test_search_ends_every_trial_once_and_the_study_says_the_same(scheduler, num_lanes):
    search, rows, searcher = coordinator(scheduler=scheduler, trials=20)
    run(search, num_lanes=num_lanes)
    assert sorted(rows.ended) == list(range(20))
    study = searcher._study._storage.get_all_trials(searcher._study._study_id)
    for trial, (number, (state, num_epochs, _)) in zip(study, sorted(rows.ended.items()), strict=True):
        assert trial.number == number
        assert trial.state.name == NAMES[state]
        assert trial.intermediate_values == {e: m.val_dice for e, m in search.trials[number].epochs.items()}
        assert state == (State.COMPLETE if num_epochs == MAX_EPOCHS else State.PRUNED)


@pytest.mark.parametrize("num_lanes", [1, 3])
def test_asha_spends_the_same_whatever_the_order_of_arrival(num_lanes):
    spent = {}
    for order, value in {"worst first": lambda n: n, "best first": lambda n: -n}.items():
        search, rows, _ = coordinator(trials=27)
        spent[order] = len(run(search, lambda leg, epoch, value=value: value(leg.number), num_lanes=num_lanes))
        best = 26 if order == "worst first" else 0
        assert rows.ended[best][0] == State.COMPLETE
    assert spent == {"worst first": 27 + 9 * 2 + 3 * 6, "best first": 27 + 9 * 2 + 3 * 6}


@pytest.mark.parametrize("trials", [1, 2, 3, 4])
def test_the_smallest_search_trains_its_best_to_the_end(trials):
    search, rows, _ = coordinator(trials=trials)
    run(search)
    complete = [number for number, (state, _, _) in rows.ended.items() if state == State.COMPLETE]
    first = {number: trial.epochs[1].val_dice for number, trial in search.trials.items()}
    assert complete == [max(first, key=lambda number: first[number])]


def test_a_trial_that_can_no_longer_be_promoted_ends_at_once():
    search, rows, _ = coordinator(trials=6)  # two go on from the first rung
    for _, leg, epoch, _ in simulate(search, lambda leg, epoch: -leg.number, max_epochs=MAX_EPOCHS):
        if (leg.number, epoch) == (3, 1):
            break
    assert rows.ended[2] == (State.PRUNED, 1, None)
    assert 1 not in rows.ended  # one of two places is free


def test_failed_trials_have_rows_with_reasons_and_the_search_continues():
    search, rows, searcher = coordinator(trials=6, scheduler="none", max_failures=0)
    for number in range(6):
        assert next_leg(search).number == number
        if number == 0:
            search.report(0, EpochMetrics(epoch=0, elapsed_seconds=0.0), finished=True, failure="RuntimeError: raised")
        elif number == 1:
            search.report(1, EpochMetrics(epoch=1, train_loss=math.nan), finished=True, failure="train_loss was nan")
        elif number == 2:
            search.lose(2, "worker 1 of 2 is gone")  # with max_failures 0
        elif number == 3:
            search.report(3, EpochMetrics(epoch=1, val_dice=math.nan), finished=True, failure=None)
        else:
            search.report(number, EpochMetrics(epoch=1, val_dice=0.5), finished=True, failure=None)
        search.end_leg(number)
    assert search.next_leg() is None
    assert search.is_finished
    assert [rows.ended[number][0] for number in range(6)] == [State.FAILED] * 4 + [State.COMPLETE] * 2
    assert [rows.ended[number][2] for number in range(4)] == [
        "RuntimeError: raised",
        "train_loss was nan",
        "worker 1 of 2 is gone",
        "val_dice is nan",
    ]
    states = [trial.state for trial in searcher._study._storage.get_all_trials(searcher._study._study_id)]
    assert states == [TrialState.FAIL] * 4 + [TrialState.COMPLETE] * 2


def test_a_paused_trial_is_not_promoted_before_its_checkpoint_is_written():
    search, _, _ = coordinator(trials=3)
    legs = [next_leg(search) for _ in range(3)]
    for leg in reversed(legs):  # worst first: the last arrival, number 0, wins the place
        search.report(leg.number, EpochMetrics(epoch=1, val_dice=-leg.number / 10), finished=False, failure=None)
    assert search.next_leg() is None  # number 0 goes on in its own leg
    search, _, _ = coordinator(trials=3)
    for leg in [next_leg(search) for _ in range(3)]:
        search.report(leg.number, EpochMetrics(epoch=1, val_dice=-leg.number / 10), finished=False, failure=None)
    assert search.next_leg() is None  # number 0 has the place now, but its leg is not over
    search.end_leg(0)
    assert next_leg(search).number == 0


def test_a_trial_that_is_given_up_ends_with_the_reason():
    search, rows, _ = coordinator(trials=9)
    for _, _, _, _ in itertools.islice(simulate(search, lambda leg, epoch: -leg.number, max_epochs=MAX_EPOCHS), 2):
        pass
    search.end_leg(1)
    assert search.give_up_worst("no room")
    assert rows.ended == {1: (State.PRUNED, 1, "no room")}


def test_trials_that_are_cut_off_say_why_and_none_is_left_running_in_the_study():
    search, rows, searcher = coordinator(trials=12)
    list(itertools.islice(simulate(search, closed_form, max_epochs=MAX_EPOCHS), 7))
    search.stop("interrupted")
    assert {error for _, _, error in rows.ended.values()} == {"interrupted"}
    states = {trial.state for trial in searcher._study._storage.get_all_trials(searcher._study._study_id)}
    assert states == {TrialState.PRUNED}


def test_a_lost_trial_continues_until_it_was_lost_too_often():
    search, rows, _ = coordinator(trials=1, max_failures=2)
    for loss in range(3):
        assert search.next_leg() == Leg(number=0, sample=search.trials[0].sample)
        search.report(0, EpochMetrics(epoch=1, val_dice=0.5), finished=False, failure=None)
        search.lose(0, f"loss {loss}")
        search.end_leg(0)
    assert search.next_leg() is None
    assert search.is_finished
    assert rows.ended == {0: (State.FAILED, 1, "loss 2")}


@pytest.mark.parametrize("seed", range(5))
def test_losses_do_not_change_the_table(seed):
    quiet, expected, _ = coordinator(max_failures=100)
    run(quiet)
    search, rows, _ = coordinator(max_failures=100)
    random.seed(seed)
    run(search, loss_probability=0.3)
    assert table(search, rows) == table(quiet, expected)
