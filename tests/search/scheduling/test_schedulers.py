"""What holds for every scheduler of the table."""

import math
import random
from collections.abc import Iterable

import pytest

from data.errors import UserError
from search.config import SearchConfig
from search.coordination.coordinator import Coordinator
from search.record.objectives import dominates
from search.scheduling.scheduler import SchedulerRequest, Verdict
from search.scheduling.schedulers import SCHEDULERS, SchedulerKind
from search.space.named import CORE
from search.suggestion.searcher import OptunaSearcher
from tests.support.fakes import Rows
from tests.support.scheduling import CONTINUE, PAUSE, SEEDS, STOP, promote_all, random_search, request
from tests.support.simulation import simulate


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
def test_removed_trials_are_never_promoted_or_dropped(scheduler):
    for seed in SEEDS:
        generator = random.Random(seed)
        judge = SCHEDULERS[scheduler].make(request(num_trials=40))
        waiting, named, removed = set(), [], set()
        for number in range(40):
            if judge.judge(number, 1, generator.random()) == PAUSE:
                waiting.add(number)
            named += judge.drop_hopeless()
            waiting -= set(named)
            if waiting and generator.random() < 0.3:
                failed = generator.choice(sorted(waiting))
                judge.remove(failed)
                removed.add(failed)
                waiting.remove(failed)
        taken = promote_all(judge, num_to_come=0)
        while (dropped := judge.drop_worst()) is not None:
            taken.append(dropped)
        assert removed
        assert sorted(taken) == sorted(waiting), f"seed {seed}"


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scheduler_stops_a_dice_that_is_not_finite_and_does_not_count_it(scheduler, value):
    judge = SCHEDULERS[scheduler].make(request(grace_period=3))
    for epoch in range(1, 10):
        assert [judge.judge(number, epoch, value) for number in range(9)] == [STOP] * 9, f"epoch {epoch}"
    assert promote_all(judge, num_to_come=0) == []
    assert judge.drop_worst() is None
    assert judge.drop_hopeless() == []
    # The first of its rung; of hyperband's two brackets, 3/2 and 1 wide, 10.5 * 0.618 = 6.489 is of the first.
    assert judge.judge(10, 3, 0.1) == (CONTINUE if scheduler == "median" else PAUSE)


def test_none_trains_every_trial_to_the_end():
    asked = request(num_trials=6)
    hopeless = []
    events = list(random_search(SCHEDULERS["none"].make(asked), asked, seed=0, hopeless=hopeless))
    assert {verdict for _, _, verdict, _ in events} == {CONTINUE}
    assert sorted((number, epoch) for number, epoch, _, _ in events) == [(n, e) for n in range(6) for e in range(1, 10)]
    assert hopeless == []
    assert SCHEDULERS["none"].make(asked).drop_worst() is None


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
def test_no_trial_is_promoted_before_one_that_dominates_it(scheduler):
    asked = request(num_trials=40)
    rung = [number for number in range(40) if SCHEDULERS[scheduler].make(asked).judge(number, 1, 0.5) == PAUSE]
    for seed in SEEDS:
        generator, judge = random.Random(seed), SCHEDULERS[scheduler].make(asked)
        merits = {number: (generator.randint(1, 6) / 8, -generator.randint(1, 6)) for number in rung}
        waiting, num_promoted = set(), 0
        for number in rung:
            waiting.add(number)
            promoted = [number] if judge.judge(number, 1, *merits[number]) == CONTINUE else []
            if generator.random() < 0.5:
                promoted += promote_all(judge)
            for one in promoted:
                waiting.remove(one)
                assert not [other for other in waiting if dominates(merits[other], merits[one])], f"seed {seed}"
            num_promoted += len(promoted)
        assert num_promoted + len(promote_all(judge)) == len(rung) // 3


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
def test_a_merit_that_all_trials_share_changes_nothing(scheduler):
    for seed in SEEDS:
        told = []
        for shared in ((), (-7.0,), (-7.0, 0.0)):
            generator, judge = random.Random(seed), SCHEDULERS[scheduler].make(request(num_trials=40))
            told.append([])
            for number in range(40):
                told[-1].append(judge.judge(number, 1, generator.randint(0, 9) / 8, *shared))
                told[-1].append(judge.drop_hopeless())
                if generator.random() < 0.3:
                    told[-1].append(promote_all(judge))
            told[-1].append(promote_all(judge, num_to_come=0))
        assert told[0] == told[1] == told[2], f"seed {seed}"


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
@pytest.mark.parametrize("cost", [math.nan, math.inf, -math.inf])
def test_scheduler_stops_a_cost_that_is_not_finite_and_does_not_count_it(scheduler, cost):
    judge = SCHEDULERS[scheduler].make(request(grace_period=3))
    assert [judge.judge(number, epoch, 0.9, cost) for epoch in (1, 3) for number in range(9)] == [STOP] * 18
    assert promote_all(judge, num_to_come=0) == []
    assert judge.drop_worst() is None
    assert judge.judge(10, 3, 0.1, -1.0) == PAUSE  # the first of its rung


@pytest.mark.parametrize(
    ("scheduler", "rungs"),
    [("asha", [[1, 3]]), ("hyperband", [[1, 3], [3], []]), ("median", [[]]), ("none", [[]])],
)
def test_rung_epochs_of_each_bracket_by_hand(scheduler, rungs):
    found = SCHEDULERS[scheduler].make(request())
    assert found.rung_epochs == rungs
    assert {found.bracket_of(number) for number in range(27)} == set(range(len(rungs)))


class Halfway:
    """A toy scheduler: it stops every second trial half-way."""

    def __init__(self, asked: SchedulerRequest) -> None:
        self._epoch = asked.max_epochs // 2
        self.rung_epochs = [[self._epoch]]

    def bracket_of(self, number: int) -> int:
        return 0

    def judge(self, number: int, epoch: int, *merits: float) -> Verdict:
        return STOP if number % 2 and epoch >= self._epoch else CONTINUE

    def next_promotable(self, *, num_to_come: int, running_epochs: Iterable[int]) -> int | None:
        return None

    def mark_promoted(self, number: int) -> None: ...

    def remove(self, number: int) -> None: ...

    def drop_hopeless(self) -> list[int]:
        return []

    def drop_worst(self) -> int | None:
        return None


def test_new_scheduler_is_one_class_and_one_row(monkeypatch):
    monkeypatch.setitem(SCHEDULERS, "halfway", SchedulerKind(make=Halfway, description="a toy"))
    config = SearchConfig(scheduler="halfway", trials=4, max_epochs=4)
    scheduler = SCHEDULERS[config.scheduler].make(config.scheduler_request())
    searcher = OptunaSearcher(CORE, sampler="random", seed=0, num_trials=4, max_epochs=4)
    coordinator = Coordinator(searcher, scheduler, num_trials=4, listener=Rows())
    epochs = [(leg.number, epoch) for _, leg, epoch, _ in simulate(coordinator, lambda leg, epoch: 0.5, max_epochs=4)]
    assert epochs == [(number, epoch) for number in range(4) for epoch in range(1, 3 if number % 2 else 5)]
    with pytest.raises(UserError, match="must be one of asha, hyperband, median, none, halfway"):
        SearchConfig(scheduler="third-way")
