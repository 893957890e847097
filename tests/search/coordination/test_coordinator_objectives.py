"""A whole search for two objectives, without Ray or training."""

import pytest

from search.coordination.coordinator import Coordinator
from search.coordination.trial_progress import Leg, TrialProgress
from search.record.epochs import EpochMetrics
from tests.support.coordinated import MAX_EPOCHS, NAMES, closed_form, coordinator, table
from tests.support.fakes import number_in

TWO = ("val_dice", "latency_ms")


def depth_squared(leg: Leg) -> float:
    return number_in(leg.sample, "depth") ** 2.0


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
        cost = number_in(search.trials[trial.number].sample, "depth") ** 2.0
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
            cost = {"latency_ms": number_in(search.trials[trial.number].sample, "depth") ** 2.0}
            assert (trial.state.name, trial.user_attrs) == (NAMES[rows.ended[trial.number][0]], cost)


def test_progress_has_the_costs_of_its_first_epoch():
    trial = TrialProgress(number=0, sample={}, attrs={})
    assert trial.costs(TWO) == {}
    trial.epochs = {e: EpochMetrics(epoch=e, val_dice=0.5, latency_ms=3.0 + e) for e in (1, 2)}
    assert trial.costs(TWO) == {"latency_ms": 4.0}
    assert trial.costs(("val_dice",)) == {}
