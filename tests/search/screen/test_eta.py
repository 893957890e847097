"""How long a search will still take: estimates in the middle of simulated searches against the time they then took."""

import itertools
import math
import random
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from search.coordination.coordinator import Coordinator
from search.coordination.trial_progress import End, Leg, Phase, TrialProgress
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.scheduling.scheduler import SchedulerRequest
from search.scheduling.schedulers import SCHEDULERS
from search.screen.eta import Estimate, Plan, estimate
from search.space.named import CORE
from search.suggestion.searcher import OptunaSearcher
from tests.support.fakes import Rows, learning_curve, number_in
from tests.support.simulation import simulate

MAX_EPOCHS = 9


class Search:
    """A search in simulated time, and its estimates."""

    def __init__(self, *, trials: int, num_lanes: int, scheduler: str = "asha", log: Path | None = None) -> None:
        self.plan = Plan(num_trials=trials, max_epochs=MAX_EPOCHS, num_lanes=num_lanes)
        request = SchedulerRequest(num_trials=trials, max_epochs=MAX_EPOCHS, grace_period=1, reduction_factor=3)
        self.scheduler = SCHEDULERS[scheduler].make(request)
        searcher = OptunaSearcher(CORE, sampler="random", seed=1, num_trials=trials, max_epochs=MAX_EPOCHS)
        self.coordinator = Coordinator(searcher, self.scheduler, num_trials=trials, listener=Rows(), log=log)
        self.ends: dict[int, float] = {}

    def run(self, **options):
        """Yield the time after every epoch."""
        epochs = simulate(
            self.coordinator,
            lambda leg, epoch: learning_curve(leg.sample, epoch),
            max_epochs=MAX_EPOCHS,
            num_lanes=self.plan.num_lanes,
            epoch_seconds=deeper_is_slower,
            **options,
        )
        for clock, leg, _, _ in epochs:
            self.ends[leg.number] = clock
            yield clock

    def estimate(self, clock: float) -> Estimate | None:
        """Return the estimate at a time; each current epoch began when the one before it ended."""
        under_way = {number: clock - end for number, end in self.ends.items()}
        return estimate(self.coordinator.trials, self.scheduler, self.plan, under_way=under_way)

    def seconds_left(self, clock: float) -> float:
        found = self.estimate(clock)
        assert found is not None
        return found.seconds


def deeper_is_slower(leg: Leg) -> float:
    return 10.0 * number_in(leg.sample, "depth") ** 2 * random.Random(leg.number).uniform(0.8, 1.25)


WORST = {"asha": 0.2, "hyperband": 0.25, "none": 0.3, "median": 0.65}
"""By what share of a whole search an estimate may be wrong. What the median rule stops is a matter of chance."""


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("trials", "num_lanes"), [(12, 1), (12, 4), (48, 1), (48, 4), (48, 16)])
def test_estimate_is_near_what_the_search_then_takes(scheduler, trials, num_lanes):
    search, estimates, clock = Search(trials=trials, num_lanes=num_lanes, scheduler=scheduler), [], 0.0
    for place, clock in enumerate(search.run()):
        if place % (trials // 6) == 0 and (found := search.estimate(clock)):
            assert 0 <= found.low_seconds <= found.seconds <= found.high_seconds
            estimates.append((clock, found.seconds))
    for share in (0.25, 0.5, 0.75):
        when, left = next((one for one in estimates if one[0] >= share * clock), estimates[-1])
        assert left == pytest.approx(clock - when, abs=WORST[scheduler] * clock)
    assert search.estimate(clock) == Estimate(seconds=0, low_seconds=0, high_seconds=0)


def test_estimate_knows_that_most_trials_are_pruned():
    """A third of the trials is promoted at each of two rungs: 27 + 9 * 2 + 3 * 6 epochs, not 27 * 9."""
    search = Search(trials=27, num_lanes=1)
    next(search.run())
    seconds = fmean(epoch.seconds for epoch in search.coordinator.trials[0].epochs.values())
    assert search.seconds_left(search.ends[0]) / seconds == pytest.approx(27 + 9 * 2 + 3 * 6 - 1, rel=0.15)


def test_estimate_knows_that_lanes_are_idle_at_the_end():
    """Of three trials on three lanes, one is promoted, and two lanes have nothing to do."""
    search = Search(trials=3, num_lanes=3)
    *_, clock = itertools.islice(search.run(), 3)
    best = max(search.coordinator.trials.values(), key=lambda trial: max(trial.dices.values(), default=0))
    assert search.seconds_left(clock) == pytest.approx(8 * best.epochs[1].seconds, rel=0.05)


def test_estimate_is_none_before_as_many_trials_as_lanes_ended_an_epoch():
    search = Search(trials=12, num_lanes=4)
    assert search.estimate(0.0) is None
    known = [search.estimate(clock) is not None for clock in itertools.islice(search.run(), 8)]
    assert known[:3] == [False] * 3
    assert known[-1]


def test_estimate_of_a_resumed_search_is_that_before_the_interruption(tmp_path):
    whole = Search(trials=24, num_lanes=2, log=tmp_path / "log.jsonl")
    *_, clock = itertools.islice(whole.run(), 21)
    before = whole.seconds_left(clock)
    (tmp_path / "cut.jsonl").write_bytes((tmp_path / "log.jsonl").read_bytes())
    resumed = Search(trials=24, num_lanes=2, log=tmp_path / "cut.jsonl")
    resumed.coordinator.restore(lambda number: max(resumed.coordinator.trials[number].epochs, default=0))
    assert resumed.seconds_left(0.0) == pytest.approx(before, rel=0.2)
    *_, took = resumed.run()
    assert resumed.seconds_left(took) == 0
    assert took == pytest.approx(before, rel=0.3)


def trial(number: int, dices: list[float], *, outcome=None, phase: Phase = Phase.ENDED) -> TrialProgress:
    epochs = {e: EpochMetrics(epoch=e, val_dice=dice, seconds=10.0) for e, dice in enumerate(dices, start=1)}
    return TrialProgress(number=number, sample={}, attrs={}, epochs=epochs, outcome=outcome, phase=phase)


def rest(trials: list[TrialProgress], *, num_trials: int, num_lanes: int = 1, **options: Any) -> Estimate:
    """Return the estimate for a search that stops no trial."""
    request = SchedulerRequest(num_trials=num_trials, max_epochs=MAX_EPOCHS, grace_period=1, reduction_factor=3)
    plan = Plan(num_trials=num_trials, max_epochs=MAX_EPOCHS, num_lanes=num_lanes)
    found = estimate({one.number: one for one in trials}, SCHEDULERS["none"].make(request), plan, **options)
    assert found is not None
    return found


def test_estimate_expects_trials_to_end_as_earlier_ones_did():
    patient = [trial(number, [0.5] * 3, outcome=End(state=State.COMPLETE)) for number in range(4)]  # `--patience`
    assert rest(patient, num_trials=6).seconds == 2 * 3 * 10
    failed = [trial(number, [0.5, math.nan], outcome=End(state=State.FAILED, error="odd")) for number in range(4)]
    assert rest(failed, num_trials=6).seconds == 2 * 2 * 10
    assert (
        rest(
            [trial(0, [0.5] * 9, outcome=End(state=State.COMPLETE)), trial(1, [], outcome=End(state=State.FAILED))],
            num_trials=12,
        ).high_seconds
        <= 10 * 9 * 10
    )


def test_estimate_counts_the_current_epoch_and_the_overhead_of_epochs():
    running = [trial(0, [0.5] * 7, phase=Phase.RUNNING)]
    assert rest(running, num_trials=1).seconds == 20
    assert rest(running, num_trials=1, under_way={0: 4.0}).seconds == 16
    assert rest(running, num_trials=1, under_way={0: 400.0}).seconds == 10
    assert rest(running, num_trials=1, overhead_seconds=1.0).seconds == 22


def test_estimate_after_a_while_is_within_zero_and_the_time_budget():
    found = Estimate(seconds=30, low_seconds=20, high_seconds=50)
    assert found.after(25) == Estimate(seconds=5, low_seconds=0, high_seconds=25)
    assert found.after(99) == Estimate(seconds=0, low_seconds=0, high_seconds=0)
    assert found.after(5, at_most=20) == Estimate(seconds=20, low_seconds=15, high_seconds=20)
