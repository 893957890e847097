"""A whole search without Ray or training: what is trained when, how trials end, and how a killed search is resumed."""

import itertools
import math
import random
from pathlib import Path

import pytest
from optuna.trial import TrialState

from data.errors import UserError
from search.coordination.coordinator import Coordinator
from search.coordination.trial_progress import Leg, Phase, TrialProgress
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.scheduling.scheduler import Budget
from search.scheduling.schedulers import SCHEDULERS
from search.space import CORE
from search.suggestion.searcher import OptunaSearcher
from tests.support.fakes import Rows, learning_curve
from tests.support.simulation import simulate

MAX_EPOCHS = 9
NAMES = {State.COMPLETE: "COMPLETE", State.PRUNED: "PRUNED", State.FAILED: "FAIL"}


def coordinator(
    *,
    trials: int = 12,
    scheduler: str = "asha",
    log: Path | None = None,
    max_failures: int = 3,
    objectives: tuple[str, ...] = ("val_dice",),
) -> tuple[Coordinator, Rows, OptunaSearcher]:
    rows = Rows()
    searcher = OptunaSearcher(
        CORE, sampler="tpe", seed=0, num_trials=trials, max_epochs=MAX_EPOCHS, objectives=objectives
    )
    budget = Budget(num_trials=trials, max_epochs=MAX_EPOCHS, grace_period=1, reduction_factor=3)
    search = Coordinator(
        searcher,
        SCHEDULERS[scheduler].make(budget),
        num_trials=trials,
        listener=rows,
        objectives=objectives,
        log=log,
        max_failures=max_failures,
    )
    return search, rows, searcher


def next_leg(search: Coordinator) -> Leg:
    """Return the next leg of a search that has one."""
    leg = search.next_leg()
    assert leg is not None
    return leg


def closed_form(leg: Leg, epoch: int) -> float:
    return learning_curve(leg.sample, epoch)


def run(search: Coordinator, curve=closed_form, **options) -> list[tuple]:
    epochs = list(simulate(search, curve, max_epochs=MAX_EPOCHS, **options))
    search.stop(None)
    return epochs


def table(search: Coordinator, rows: Rows) -> list[tuple]:
    """Return what two runs of a search must have in common."""
    return [
        (
            number,
            trial.sample,
            {epoch: metrics.val_dice for epoch, metrics in trial.epochs.items()},
            rows.ended[number],
        )
        for number, trial in sorted(search.trials.items())
    ]


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


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("missing", [0, 1])
def test_a_search_killed_anywhere_is_resumed_to_the_same_table(tmp_path, scheduler, missing):
    whole = tmp_path / "whole.jsonl"
    search, rows, _ = coordinator(log=whole, scheduler=scheduler)
    run(search)
    expected, lines = table(search, rows), whole.read_bytes().splitlines(keepends=True)
    for cut in range(0, len(lines), 3):
        log = tmp_path / f"{cut}.jsonl"
        log.write_bytes(b"".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
        search, rows, searcher = coordinator(log=log, scheduler=scheduler)
        search.restore(lambda number, s=search: max(0, s.trials[number].last_epoch - missing))
        run(search, num_missing=dict.fromkeys(search.trials, missing))
        assert table(search, rows) == expected, f"cut after event {cut}"
        states = [trial.state.name for trial in searcher._study._storage.get_all_trials(searcher._study._study_id)]
        assert states == [NAMES[rows.ended[number][0]] for number in range(12)]


def test_a_search_killed_twice_is_resumed(tmp_path):
    log = tmp_path / "log.jsonl"
    search, rows, _ = coordinator()
    run(search)
    expected = table(search, rows)
    for num_epochs in (5, 6, 100):
        search, rows, _ = coordinator(log=log)
        search.restore(lambda number, s=search: s.trials[number].last_epoch)
        for _ in itertools.islice(simulate(search, closed_form, max_epochs=MAX_EPOCHS), num_epochs):
            pass
    search.stop(None)
    assert table(search, rows) == expected


def test_a_complete_trial_is_not_trained_again_if_only_its_best_is_kept(tmp_path):
    log = tmp_path / "log.jsonl"
    search, rows, _ = coordinator(trials=1, scheduler="none", log=log)
    search.next_leg()
    for epoch, dice in ((1, 0.6), (2, 0.5)):
        search.report(0, EpochMetrics(epoch=epoch, val_dice=dice), finished=epoch == 2, failure=None)
    killed_before = log.read_bytes()
    search.end_leg(0)
    ended = log.read_bytes()
    for content, goes_on in ((ended, False), (killed_before, True)):  # the last checkpoint may not be on disk yet
        log.write_bytes(content)
        search, rows, _ = coordinator(trials=1, scheduler="none", log=log)
        search.restore(lambda number: 1)
        assert (search.next_leg() is not None) == goes_on
        assert (rows.ended == {0: (State.COMPLETE, 2, None)}) != goes_on


def test_a_trial_that_was_given_up_or_lost_stays_ended_after_a_resume(tmp_path):
    log = tmp_path / "log.jsonl"
    search, rows, _ = coordinator(trials=9, log=log, max_failures=0)
    for number, dice in ((0, 0.5), (1, 0.4)):
        search.next_leg()
        search.report(number, EpochMetrics(epoch=1, val_dice=dice), finished=False, failure=None)
        search.end_leg(number)
    search.give_up_worst("no room")
    search.next_leg()
    search.lose(2, "gone")
    search.end_leg(2)
    before = dict(rows.ended)
    search, rows, _ = coordinator(trials=9, log=log, max_failures=0)
    search.restore(lambda number: 1)
    assert rows.ended == before == {1: (State.PRUNED, 1, "no room"), 2: (State.FAILED, 0, "gone")}
    assert search.trials[0].phase == Phase.PAUSED


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


def test_a_log_of_another_version_is_refused(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"event": "dance", "number": 0}\n')
    search, _, _ = coordinator(log=log)
    with pytest.raises(UserError, match=r"event that this version does not know: 'dance'"):
        search.restore(lambda number: 0)


TWO = ("val_dice", "latency_ms")


def depth_squared(leg: Leg) -> float:
    return leg.sample["depth"] ** 2.0


def run_for_two(search: Coordinator, curve=closed_form, latency=depth_squared, *, missing: int = 0) -> None:
    """Train one leg after the other; restored trials do `missing` epochs again in their next leg."""
    again = dict.fromkeys(search.trials, missing)
    while leg := search.next_leg():
        last = search.trials[leg.number].last_epoch
        epoch, goes_on = max(0, last - again.pop(leg.number, 0)), True
        while goes_on:
            epoch += 1
            metrics = EpochMetrics(epoch=epoch, val_dice=curve(leg, epoch), latency_ms=latency(leg))
            goes_on = search.report(leg.number, metrics, finished=epoch == MAX_EPOCHS, failure=None)
        search.end_leg(leg.number)
    search.stop(None)


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "none"])
def test_search_for_two_objectives_ends_every_trial_with_both_in_the_study(scheduler):
    search, rows, searcher = coordinator(trials=16, scheduler=scheduler, objectives=TWO)
    run_for_two(search)
    assert search.is_finished
    study = searcher._study._storage.get_all_trials(searcher._study._study_id)
    assert [trial.state.name for trial in study] == [NAMES[rows.ended[number][0]] for number in range(16)]
    for trial in study:
        dices = [metrics.val_dice for metrics in search.trials[trial.number].epochs.values()]
        cost = search.trials[trial.number].sample["depth"] ** 2.0
        assert trial.intermediate_values == dict(enumerate(dices, start=1))
        assert trial.values == ([max(dices), cost] if len(dices) == MAX_EPOCHS else None)


def test_asha_for_two_objectives_promotes_a_fast_trial_that_dice_would_stop():
    """Of six trials two go on from the first rung: the best, and the fastest, which has the worst Dice but one."""
    dices, latencies = (0.9, 0.8, 0.7, 0.6, 0.3, 0.1), (9.0, 9.5, 9.5, 9.5, 1.0, 9.5)
    went_on = {}
    for objectives in (("val_dice",), TWO):
        search, rows, _ = coordinator(trials=6, objectives=objectives)
        run_for_two(search, lambda leg, epoch: dices[leg.number], lambda leg: latencies[leg.number])
        went_on[objectives] = [number for number in range(6) if rows.ended[number][1] > 1]
    assert went_on == {("val_dice",): [0, 1], TWO: [0, 4]}


@pytest.mark.parametrize("missing", [0, 1])
def test_a_killed_search_for_two_objectives_is_resumed_to_the_same_table(tmp_path, missing):
    whole = tmp_path / "whole.jsonl"
    search, rows, _ = coordinator(trials=16, log=whole, objectives=TWO)
    run_for_two(search)
    expected, lines = table(search, rows), whole.read_bytes().splitlines(keepends=True)
    for cut in range(0, len(lines), 7):
        log = tmp_path / f"{cut}.jsonl"
        log.write_bytes(b"".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
        search, rows, searcher = coordinator(trials=16, log=log, objectives=TWO)
        search.restore(lambda number, s=search: max(0, s.trials[number].last_epoch - missing))
        run_for_two(search, missing=missing)
        assert table(search, rows) == expected, f"cut after event {cut}"
        for trial in searcher._study._storage.get_all_trials(searcher._study._study_id):
            cost = {"latency_ms": search.trials[trial.number].sample["depth"] ** 2.0}
            assert (trial.state.name, trial.user_attrs) == (NAMES[rows.ended[trial.number][0]], cost)


def test_progress_has_the_costs_of_its_first_epoch():
    trial = TrialProgress(number=0, sample={}, attrs={})
    assert trial.costs(TWO) == {}
    trial.epochs = {e: EpochMetrics(epoch=e, val_dice=0.5, latency_ms=3.0 + e) for e in (1, 2)}
    assert trial.costs(TWO) == {"latency_ms": 4.0}
    assert trial.costs(("val_dice",)) == {}
