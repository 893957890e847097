"""Schedulers without a search: who goes on, pauses or stops, whatever the order of arrival."""

import math
import random
from collections.abc import Iterator

import pytest

from search.record.objectives import dominates
from search.scheduling.halving import Asha, Hyperband
from search.scheduling.scheduler import Budget, Scheduler, Verdict
from search.scheduling.schedulers import SCHEDULERS, Median

CONTINUE, PAUSE, STOP = Verdict.CONTINUE, Verdict.PAUSE, Verdict.STOP
SEEDS = range(20)


def budget(**changes: int) -> Budget:
    return Budget(**{"num_trials": 27, "max_epochs": 9, "grace_period": 1, "reduction_factor": 3} | changes)


def arrivals(scheduler: Scheduler, values: list[float], *, epoch: int = 1) -> list[Verdict]:
    """Return what becomes of trials 0, 1, 2, ... that reach an epoch one after the other."""
    return [scheduler.judge(number, epoch, value) for number, value in enumerate(values)]


def take_up_all(scheduler: Scheduler, *, num_to_come: int = 1, running_epochs: tuple[int, ...] = ()) -> list[int]:
    """Return those that go on, in their order."""
    taken = []
    while (number := scheduler.next_paused(num_to_come=num_to_come, running_epochs=running_epochs)) is not None:
        scheduler.take_up(number)
        taken.append(number)
    return taken


def value_of(seed: int, number: int, epoch: int) -> float:
    return random.Random(f"{seed} {number} {epoch}").random()


def random_search(
    scheduler: Scheduler, asked: Budget, *, seed: int, hopeless: list[int] | None = None
) -> Iterator[tuple[int, int, Verdict | None, bool]]:
    """Yield (number, epoch, verdict, whether its rung is open) of a whole search, whose next move is always by chance.

    The verdict is None where a paused trial is taken up. A rung is open as long as another trial may still come there.
    Those without hope are added to `hopeless`, if it is given, and else never asked for.
    """
    generator = random.Random(seed)
    running, paused, begun = {}, {}, 0
    while True:
        num_to_come = asked.num_trials - begun
        next_paused = scheduler.next_paused(num_to_come=num_to_come, running_epochs=running.values())
        moves = [*running, *["begin"] * bool(num_to_come), *["take up"] * (next_paused is not None)]
        if not moves:
            return
        move = generator.choice(moves)
        if move == "begin":
            running[begun] = 0
            begun += 1
            continue
        if move == "take up":
            running[next_paused] = paused.pop(next_paused)
            scheduler.take_up(next_paused)
            number, verdict = next_paused, None
        else:
            number = move
            running[number] += 1
            verdict = scheduler.judge(number, running[number], value_of(seed, number, running[number]))
        epoch = running[number]
        if verdict in (PAUSE, STOP) or epoch == asked.max_epochs:
            del running[number]
        if verdict == PAUSE:
            paused[number] = epoch
        if hopeless is not None:
            hopeless += scheduler.hopeless()
        behind = [at for other, at in running.items() if other != number]
        yield number, epoch, verdict, bool(num_to_come) or min(behind, default=math.inf) < epoch


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
def test_asha_has_rungs_a_factor_apart_below_the_last_epoch(max_epochs, grace_period, reduction_factor, epochs):
    asked = budget(max_epochs=max_epochs, grace_period=grace_period, reduction_factor=reduction_factor)
    verdicts = {epoch: Asha(asked).judge(0, epoch, 0.5) for epoch in range(1, max_epochs + 1)}
    assert [epoch for epoch, verdict in verdicts.items() if verdict == PAUSE] == epochs
    assert set(verdicts.values()) <= {PAUSE, CONTINUE}


@pytest.mark.parametrize(
    ("values", "verdicts", "taken_up"),
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [PAUSE] * 6, [0, 1]),
        ([0.4, 0.5, 0.6, 0.7, 0.8, 0.9], [PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE, CONTINUE], []),
        ([0.5, 0.2, 0.7, 0.4, 0.3, 0.6], [PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE, CONTINUE], []),
        ([0.5, 0.2, 0.4, 0.7, 0.3, 0.1], [PAUSE, PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE], [0]),
        ([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [PAUSE] * 6, [0, 1]),  # the earlier among equals
        ([0.5, 0.6], [PAUSE] * 2, []),
    ],
    ids=["best first", "worst first", "mixed", "a better one takes the place that is free", "equals", "too few"],
)
def test_asha_lets_a_third_go_on_by_hand(values, verdicts, taken_up):
    asha = Asha(budget())
    assert arrivals(asha, values) == verdicts
    assert take_up_all(asha) == taken_up


def test_asha_takes_up_as_soon_as_there_is_room_by_hand():
    asha = Asha(budget(reduction_factor=2))
    assert asha.judge(0, 1, 0.9) == PAUSE
    assert asha.next_paused(num_to_come=9, running_epochs=[]) is None
    assert asha.judge(1, 1, 0.8) == PAUSE
    assert take_up_all(asha) == [0]
    assert asha.judge(2, 1, 0.85) == PAUSE  # of three one goes on
    assert asha.judge(3, 1, 0.7) == PAUSE
    assert take_up_all(asha) == [2]


def test_asha_takes_up_from_the_highest_rung_first():
    asha = Asha(budget())
    arrivals(asha, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    for number, value in ((6, 0.3), (7, 0.2), (8, 0.1)):
        assert asha.judge(number, 3, value) == PAUSE
    assert take_up_all(asha) == [6, 0, 1]


def test_asha_compares_each_rung_by_itself():
    asha = Asha(budget())
    assert arrivals(asha, [0.1, 0.2, 0.9]) == [PAUSE, PAUSE, CONTINUE]
    assert asha.judge(2, 3, 0.99) == PAUSE  # alone there, however many are below


@pytest.mark.parametrize("num_trials", [5, 12, 27, 40])
@pytest.mark.parametrize(("reduction_factor", "rungs"), [(2, {1, 2, 4, 8}), (3, {1, 3, 9})])
def test_asha_lets_a_share_go_on_and_at_the_end_one_more_and_nobody_before_a_better_one(
    num_trials, reduction_factor, rungs
):
    asked = budget(num_trials=num_trials, max_epochs=13, reduction_factor=reduction_factor)
    for seed in SEEDS:
        arrived, gone_on, more = {}, {}, set()
        for number, epoch, verdict, is_open in random_search(Asha(asked), asked, seed=seed, hopeless=[]):
            if epoch in rungs:
                arrived.setdefault(epoch, set()).add(number)
            if epoch not in rungs or verdict == PAUSE:
                continue
            gone = gone_on.setdefault(epoch, set())
            gone.add(number)
            if len(gone) > len(arrived[epoch]) // reduction_factor:  # one more than its share
                assert not is_open, f"seed {seed}"
                assert epoch not in more, f"seed {seed}: not the first"
                more.add(epoch)
                before = {value_of(seed, n, epoch) for n in gone - {number}}
                assert value_of(seed, number, epoch) > max(before, default=-math.inf), f"seed {seed}"
            better = {n for n in arrived[epoch] - gone if value_of(seed, n, epoch) > value_of(seed, number, epoch)}
            assert not better, f"seed {seed}: {number} went on from epoch {epoch} before {better}"
        shares = {epoch: len(numbers) // reduction_factor + (epoch in more) for epoch, numbers in arrived.items()}
        assert {epoch: len(gone) for epoch, gone in gone_on.items()} == shares
        assert set(shares) == rungs  # somebody was trained to the end


@pytest.mark.parametrize("num_trials", [4, 9, 12, 20, 27, 81])
def test_asha_lets_the_best_of_each_closed_rung_go_on(num_trials):
    asked = budget(num_trials=num_trials)
    for seed in SEEDS:
        arrived, gone_on = {1: set(), 3: set()}, {1: set(), 3: set()}
        for number, epoch, verdict, _ in random_search(Asha(asked), asked, seed=seed, hopeless=[]):
            if epoch in arrived:
                arrived[epoch].add(number)
                if verdict != PAUSE:
                    gone_on[epoch].add(number)
        for epoch, numbers in arrived.items():
            _, best = max((value_of(seed, number, epoch), number) for number in numbers)
            assert best in gone_on[epoch], f"seed {seed}"


def test_asha_takes_up_nobody_early_at_the_end_of_a_search_by_hand():
    asha = Asha(budget(num_trials=2))
    assert arrivals(asha, [0.4, 0.6]) == [PAUSE, PAUSE]  # too few for a place
    assert asha.next_paused(num_to_come=1, running_epochs=[]) is None
    assert asha.next_paused(num_to_come=0, running_epochs=[0]) is None  # one may still come to epoch 1
    assert asha.next_paused(num_to_come=0, running_epochs=[1, 2]) == 1
    assert asha.next_paused(num_to_come=0, running_epochs=[]) == 1
    asha.take_up(1)
    assert asha.next_paused(num_to_come=0, running_epochs=[1]) is None  # one has left the rung; that is enough
    assert asha.judge(1, 3, 0.7) == PAUSE
    assert asha.next_paused(num_to_come=0, running_epochs=[2]) is None
    assert asha.next_paused(num_to_come=0, running_epochs=[]) == 1


def test_asha_at_the_end_lets_one_that_came_late_and_is_best_go_on_too_by_hand():
    asha = Asha(budget(num_trials=5))
    assert arrivals(asha, [0.5, 0.6, 0.7, 0.9, 0.8]) == [PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE]
    assert asha.next_paused(num_to_come=1, running_epochs=[]) is None
    assert asha.next_paused(num_to_come=0, running_epochs=[0]) is None
    assert take_up_all(asha, num_to_come=0, running_epochs=(1,)) == [3]  # and 4 is worse than it
    assert asha.judge(2, 3, 0.75) == PAUSE
    assert asha.next_paused(num_to_come=0, running_epochs=[1]) is None  # 3 may still come there
    assert asha.judge(3, 3, 0.74) == PAUSE
    assert take_up_all(asha, num_to_come=0) == [2]


def test_asha_at_the_end_lets_nobody_go_on_where_the_best_has():
    asha = Asha(budget(num_trials=5))
    assert arrivals(asha, [0.5, 0.6, 0.7, 0.65, 0.7]) == [PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE]  # equal is not better
    assert take_up_all(asha, num_to_come=0) == []


def test_asha_keeps_the_best_paused_trial_of_each_rung_whatever_its_hope():
    asha = Asha(budget(num_trials=3))  # one can go on
    assert arrivals(asha, [0.1, 0.2, 0.9]) == [PAUSE, PAUSE, CONTINUE]
    assert asha.hopeless() == [0]
    assert asha.drop_worst() == 1


def test_asha_names_each_trial_without_hope_once_and_at_once():
    asha = Asha(budget(num_trials=9))  # three can go on from the first rung
    assert arrivals(asha, [0.9, 0.8]) == [PAUSE, PAUSE]
    assert asha.judge(2, 1, 0.6) == PAUSE
    assert asha.hopeless() == []
    assert asha.judge(3, 1, 0.5) == PAUSE
    assert asha.hopeless() == [3]
    assert asha.hopeless() == []
    assert asha.judge(4, 1, 0.7) == PAUSE
    assert asha.hopeless() == [2]
    assert take_up_all(asha) == [0]  # who has a place, takes it from nobody
    assert asha.hopeless() == []


@pytest.mark.parametrize("num_trials", [1, 2, 4, 12, 27, 40])
def test_asha_search_is_the_same_without_those_that_have_no_hope(num_trials):
    asked = budget(num_trials=num_trials)
    for seed in SEEDS:
        hopeless = []
        whole = list(random_search(Asha(asked), asked, seed=seed))
        assert list(random_search(Asha(asked), asked, seed=seed, hopeless=hopeless)) == whole
        ended = {number for number, epoch, _, _ in whole if epoch == asked.max_epochs}
        assert len(hopeless) == len(set(hopeless))
        assert not ended & set(hopeless)
        waits_at = {number: epoch for number, epoch, _, _ in whole if number not in {*ended, *hopeless}}
        assert sorted(waits_at.values()) in ([], [1], [3], [1, 3]), f"seed {seed}"  # one at most of each rung is left


def test_asha_drops_the_worst_of_the_lowest_rung():
    asha = Asha(budget())
    arrivals(asha, [0.5, 0.2, 0.4, 0.3])
    asha.take_up(0)
    assert asha.judge(0, 3, 0.1) == PAUSE
    assert [asha.drop_worst() for _ in range(5)] == [1, 3, 2, 0, None]
    assert asha.next_paused(num_to_come=0, running_epochs=[]) is None


def test_asha_dropped_trials_never_go_on():
    asha = Asha(budget())
    arrivals(asha, [0.9, 0.8])
    assert [asha.drop_worst(), asha.drop_worst()] == [1, 0]
    assert asha.judge(2, 1, 0.1) == CONTINUE  # of three one goes on, and it alone is left
    assert take_up_all(asha, num_to_come=0) == []


def test_asha_removed_trial_waits_no_longer_and_still_counts():
    asha = Asha(budget())
    arrivals(asha, [0.9, 0.8])
    asha.remove(0)
    assert asha.judge(2, 1, 0.1) == PAUSE  # of three one goes on, the best of those that are left
    assert take_up_all(asha) == [1]
    assert [asha.drop_worst(), asha.drop_worst()] == [2, None]


def test_asha_at_the_end_lets_the_next_best_go_on_where_the_best_failed():
    asha = Asha(budget(num_trials=2))
    arrivals(asha, [0.4, 0.6])
    asha.remove(1)
    assert take_up_all(asha, num_to_come=0) == [0]


def test_asha_remove_of_one_that_does_not_wait_changes_nothing():
    asha = Asha(budget())
    assert arrivals(asha, [0.7, 0.8, 0.9]) == [PAUSE, PAUSE, CONTINUE]
    for number in (2, 99):
        asha.remove(number)
    assert asha.judge(2, 1, 0.9) == CONTINUE
    assert [asha.drop_worst() for _ in range(3)] == [0, 1, None]


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
def test_removed_trials_are_never_named_again(scheduler):
    for seed in SEEDS:
        generator = random.Random(seed)
        judge = SCHEDULERS[scheduler](budget(num_trials=40))
        waiting, named, removed = set(), [], set()
        for number in range(40):
            if judge.judge(number, 1, generator.random()) == PAUSE:
                waiting.add(number)
            named += judge.hopeless()
            waiting -= set(named)
            if waiting and generator.random() < 0.3:
                failed = generator.choice(sorted(waiting))
                judge.remove(failed)
                removed.add(failed)
                waiting.remove(failed)
        taken = take_up_all(judge, num_to_come=0)
        while (dropped := judge.drop_worst()) is not None:
            taken.append(dropped)
        assert removed
        assert sorted(taken) == sorted(waiting), f"seed {seed}"


def test_asha_judges_an_epoch_that_is_done_again_the_same():
    asha = Asha(budget(reduction_factor=2))
    assert [asha.judge(0, 1, 0.9) for _ in range(3)] == [PAUSE] * 3  # one arrival, however often
    assert asha.judge(1, 1, 0.95) == CONTINUE
    for value, verdict in ((0.95, CONTINUE), (0.1, CONTINUE), (math.nan, STOP), (0.95, CONTINUE)):
        assert asha.judge(1, 1, value) == verdict  # another machine may come to another value, if it comes to one
    assert take_up_all(asha) == []  # of two one goes on
    assert [asha.drop_worst(), asha.drop_worst()] == [0, None]  # and the other waits once


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scheduler_stops_what_is_not_finite_at_any_epoch_and_does_not_count_it(scheduler, value):
    judge = SCHEDULERS[scheduler](budget(grace_period=3))
    for epoch in range(1, 10):
        assert [judge.judge(number, epoch, value) for number in range(9)] == [STOP] * 9, f"epoch {epoch}"
    assert take_up_all(judge, num_to_come=0) == []
    assert judge.drop_worst() is None
    assert judge.hopeless() == []
    # The first of its rung; of hyperband's two brackets, 3/2 and 1 wide, 10.5 * 0.618 = 6.489 is of the first.
    assert judge.judge(10, 3, 0.1) == (CONTINUE if scheduler == "median" else PAUSE)


@pytest.mark.parametrize(
    ("max_epochs", "grace_period", "reduction_factor", "of_thousand"),
    [
        # 27/4, 9/3, 3/2 and 1 wide, of 12.25
        (27, 1, 3, {1: 551.0, 3: 244.9, 9: 122.4, None: 81.6}),
        (54, 2, 3, {2: 551.0, 6: 244.9, 18: 122.4, None: 81.6}),
        (10, 1, 3, {1: 551.0, 3: 244.9, 9: 122.4, None: 81.6}),
        # 8/4, 4/3, 2/2 and 1 wide, of 5.333
        (8, 1, 2, {1: 375, 2: 250, 4: 187.5, None: 187.5}),
        # 3/2 and 1 wide, of 2.5
        (9, 3, 3, {3: 600, None: 400}),
    ],
)
def test_hyperband_begins_its_brackets_at_each_rung_and_at_none_in_the_papers_shares(
    max_epochs, grace_period, reduction_factor, of_thousand
):
    asked = budget(num_trials=1000, max_epochs=max_epochs, grace_period=grace_period, reduction_factor=reduction_factor)
    hyperband = Hyperband(asked)
    epochs = range(1, max_epochs + 1)
    first_pause = [  # all equal, so that nobody passes another
        next((epoch for epoch in epochs if hyperband.judge(number, epoch, 0.0) == PAUSE), None)
        for number in range(1000)
    ]
    assert {epoch: first_pause.count(epoch) for epoch in set(first_pause)} == pytest.approx(of_thousand, abs=2)
    for begin in range(0, 960, 7):  # and of every few trials as well
        few = first_pause[begin : begin + 40]
        assert {epoch: few.count(epoch) for epoch in of_thousand} == pytest.approx(
            {epoch: number * 40 / 1000 for epoch, number in of_thousand.items()}, abs=2.5
        )


def test_hyperband_shares_are_those_of_the_papers_table():
    hyperband = Hyperband(budget(num_trials=1430, max_epochs=81))
    first_pause = [
        next((epoch for epoch in (1, 3, 9, 27, 81) if hyperband.judge(number, epoch, 0.0) == PAUSE), None)
        for number in range(1430)
    ]
    counts = [first_pause.count(epoch) / 10 for epoch in (1, 3, 9, 27, None)]
    assert counts == pytest.approx([81, 34, 15, 8, 5], abs=0.6)  # table 1, which rounds them up


def test_hyperband_without_rungs_lets_everyone_go_on():
    hyperband = Hyperband(budget(max_epochs=5, grace_period=5))
    assert arrivals(hyperband, [0.9, 0.1, 0.2], epoch=5) == [CONTINUE] * 3
    assert take_up_all(hyperband, num_to_come=0) == []
    assert hyperband.hopeless() == []
    assert hyperband.drop_worst() is None


def test_hyperband_lets_a_share_of_each_bracket_go_on():
    asked = budget(num_trials=60)
    first_rung = [
        next((epoch for epoch in (1, 3) if Hyperband(asked).judge(number, epoch, 0.5) == PAUSE), 9)
        for number in range(60)
    ]
    for seed in SEEDS:
        arrived, gone_on, unhindered = {}, {}, []
        for number, epoch, verdict, _ in random_search(Hyperband(asked), asked, seed=seed):
            if first_rung[number] == 9:
                unhindered.append((number, epoch, verdict))
            if epoch not in (1, 3) or epoch < first_rung[number]:
                continue
            arrived.setdefault((first_rung[number], epoch), set()).add(number)
            if verdict != PAUSE:
                gone_on.setdefault((first_rung[number], epoch), set()).add(number)
        assert len(arrived[1, 1]) == first_rung.count(1)
        assert len(arrived[3, 3]) == first_rung.count(3)
        assert arrived[1, 3] == gone_on[1, 1]
        for rung, numbers in arrived.items():
            assert len(gone_on[rung]) - len(numbers) // 3 in (0, 1), f"seed {seed}"
            assert max(numbers, key=lambda number, at=rung[1]: value_of(seed, number, at)) in gone_on[rung]
        last = [number for number in range(60) if first_rung[number] == 9]
        assert sorted(unhindered) == [(number, epoch, CONTINUE) for number in last for epoch in range(1, 10)]
        assert len(last) == 11  # 60 / 5.5


@pytest.mark.parametrize("num_trials", [1, 2, 5, 12, 27, 60])
def test_hyperband_brackets_know_how_many_come(num_trials):
    hyperband = Hyperband(budget(num_trials=num_trials, max_epochs=27))
    brackets: dict[int, list[int]] = {}
    for number in range(num_trials):  # best first, so that nobody passes another
        epoch = next((e for e in range(1, 27) if hyperband.judge(number, e, -float(number)) == PAUSE), 27)
        brackets.setdefault(epoch, []).append(number)
    hopeless = set(hyperband.hopeless())
    for epoch, numbers in brackets.items():
        num_places = len(numbers) if epoch == 27 else max(1, len(numbers) // 3)  # the last bracket has no rung
        assert [number for number in numbers if number not in hopeless] == numbers[:num_places]


@pytest.mark.parametrize("num_trials", [12, 27, 60])
def test_hyperband_search_is_the_same_without_those_that_have_no_hope(num_trials):
    asked = budget(num_trials=num_trials, max_epochs=27)
    for seed in SEEDS:
        hopeless = []
        whole = list(random_search(Hyperband(asked), asked, seed=seed))
        assert list(random_search(Hyperband(asked), asked, seed=seed, hopeless=hopeless)) == whole
        ended = {number for number, epoch, _, _ in whole if epoch == asked.max_epochs}
        assert len(hopeless) == len(set(hopeless)) > 0
        assert not ended & set(hopeless)


def test_hyperband_drops_every_paused_trial_of_every_bracket_once():
    hyperband = Hyperband(budget(num_trials=12))
    paused = [  # at the first rung of its bracket; all equal, so that nobody passes another
        number
        for number in range(12)
        if hyperband.judge(number, 1, 0.5) == PAUSE or hyperband.judge(number, 3, 0.5) == PAUSE
    ]
    assert len(paused) == 10  # 12 / 5.5 are of the bracket that stops nothing
    assert sorted(hyperband.drop_worst() for _ in range(10)) == paused
    assert hyperband.drop_worst() is None


def judged_after(others: list[list[float]], mine: list[float], **changes: int) -> list[Verdict]:
    """Return Median's verdicts of a trial, epoch by epoch, after those of others."""
    median = Median(budget(**changes))
    for number, values in enumerate(others):
        for epoch, value in enumerate(values, start=1):
            median.judge(number, epoch, value)
    return [median.judge(len(others), epoch, value) for epoch, value in enumerate(mine, start=1)]


@pytest.mark.parametrize(
    ("others", "mine", "verdicts"),
    [
        ([[0.1], [0.2], [0.3], [0.4], [0.5]], [0.29], [STOP]),
        ([[0.1], [0.2], [0.3], [0.4], [0.5]], [0.3], [CONTINUE]),  # not below
        ([[0.1], [0.2], [0.3], [0.4]], [0.0], [CONTINUE]),  # four say little
        ([[0.1], [0.2], [0.3], [0.4], [math.nan]], [0.0], [CONTINUE]),  # and nan says nothing
        ([[0.0, 0.6]] * 5, [0.0, 0.29], [CONTINUE, STOP]),  # their means are 0.3 after two epochs
        ([[0.0, 0.6]] * 5, [0.0, 0.3], [CONTINUE, CONTINUE]),
        ([[0.0, 0.6]] * 5, [0.31, 0.0], [CONTINUE, CONTINUE]),  # its best counts, not its last
        ([[0.5]] * 5, [0.6, 0.0], [CONTINUE, CONTINUE]),  # nobody came as far
    ],
)
def test_median_by_hand(others, mine, verdicts):
    assert judged_after(others, mine) == verdicts


def test_median_stops_nobody_within_the_grace_period():
    assert judged_after([[0.5] * 4] * 5, [0.1] * 4, grace_period=3) == [CONTINUE, CONTINUE, STOP, STOP]


def test_median_never_stops_the_best_so_far():
    for seed in SEEDS:
        median = Median(budget())
        best = -math.inf
        for number in range(30):
            for epoch in range(1, 10):
                value = value_of(seed, number, epoch)
                verdict = median.judge(number, epoch, value)
                assert verdict == CONTINUE or value < best
                best = max(best, value)
                if verdict == STOP:
                    break


def test_median_counts_an_epoch_that_is_done_again_once():
    median = Median(budget())
    for number in range(4):
        for _ in range(3):
            assert median.judge(number, 1, 0.5) == CONTINUE
    assert median.judge(4, 1, 0.1) == CONTINUE  # four others, however often each came


def test_median_stops_again_what_it_stopped():
    median = Median(budget())
    assert arrivals(median, [0.5] * 5 + [0.1]) == [CONTINUE] * 5 + [STOP]
    for value in (0.1, 0.1, 0.9):  # another machine may come to another value
        assert median.judge(5, 1, value) == STOP
    assert [median.judge(number, 1, 0.5) for number in range(5)] == [CONTINUE] * 5


def test_median_counts_trials_that_failed():
    median = Median(budget())
    arrivals(median, [0.5] * 5)
    median.remove(0)
    assert median.judge(5, 1, 0.1) == STOP


def test_median_pauses_nobody():
    median = Median(budget())
    arrivals(median, [0.5] * 8 + [0.1])
    assert take_up_all(median, num_to_come=0) == []
    assert median.hopeless() == []
    assert median.drop_worst() is None


def test_none_trains_everyone_to_the_end():
    asked = budget(num_trials=6)
    hopeless = []
    events = list(random_search(SCHEDULERS["none"](asked), asked, seed=0, hopeless=hopeless))
    assert {verdict for _, _, verdict, _ in events} == {CONTINUE}
    assert sorted((number, epoch) for number, epoch, _, _ in events) == [(n, e) for n in range(6) for e in range(1, 10)]
    assert hopeless == []
    assert SCHEDULERS["none"](asked).drop_worst() is None


@pytest.mark.parametrize(
    ("merits", "verdicts", "taken_up"),
    [
        # 0 dominates 1, which has the better Dice than 2, and waits; 3 is the best of the front when it comes.
        (
            [(0.9, -10), (0.8, -12), (0.5, -1), (0.95, -20), (0.4, -0.5), (0.3, -30)],
            [PAUSE, PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE],
            [0, 2],
        ),
        ([(0.9,), (0.8,), (0.5,), (0.95,), (0.4,), (0.3,)], [PAUSE, PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE], [0, 1]),
        # 2 comes to dominate 0, so 1 goes on in its place.
        ([(0.6, -5), (0.5, -1), (0.7, -4), (0.1, -9)], [PAUSE, PAUSE, CONTINUE, PAUSE], [1]),
        ([(0.6,), (0.5,), (0.7,), (0.1,)], [PAUSE, PAUSE, CONTINUE, PAUSE], [0]),
        # Equal in Dice, each is cheaper than those before it.
        ([(0.5, -3), (0.5, -2), (0.5, -1), (0.4, -1)], [PAUSE, CONTINUE, PAUSE, PAUSE], [2]),
        ([(0.5, -1)] * 4, [PAUSE] * 4, [0, 1]),  # equals dominate nobody
    ],
    ids=["front", "Dice alone", "fallen back", "Dice alone again", "cheaper each time", "equals"],
)
def test_asha_with_two_merits_lets_the_front_go_on_by_hand(merits, verdicts, taken_up):
    asha = Asha(budget(reduction_factor=2))
    assert [asha.judge(number, 1, *mine) for number, mine in enumerate(merits)] == verdicts
    assert take_up_all(asha) == taken_up


def test_asha_with_two_merits_drops_those_that_most_dominate():
    asha = Asha(budget())
    for number, mine in enumerate([(0.5, -5), (0.9, -9), (0.4, -6), (0.2, -1), (0.6, -10)]):
        asha.judge(number, 1, *mine)
    # 2 is behind 0, and 4 behind 1; the front is 1, 0, 3, by Dice.
    assert [asha.drop_worst() for _ in range(6)] == [2, 4, 3, 0, 1, None]


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
def test_no_trial_goes_on_before_one_that_dominates_it(scheduler):
    asked = budget(num_trials=40)
    rung = [number for number in range(40) if SCHEDULERS[scheduler](asked).judge(number, 1, 0.5) == PAUSE]
    for seed in SEEDS:
        generator, judge = random.Random(seed), SCHEDULERS[scheduler](asked)
        merits = {number: (generator.randint(1, 6) / 8, -generator.randint(1, 6)) for number in rung}
        waiting, num_gone_on = set(), 0
        for number in rung:
            waiting.add(number)
            gone_on = [number] if judge.judge(number, 1, *merits[number]) == CONTINUE else []
            if generator.random() < 0.5:
                gone_on += take_up_all(judge)
            for one in gone_on:
                waiting.remove(one)
                assert not [other for other in waiting if dominates(merits[other], merits[one])], f"seed {seed}"
            num_gone_on += len(gone_on)
        assert num_gone_on + len(take_up_all(judge)) == len(rung) // 3


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
def test_a_merit_that_all_share_changes_nothing(scheduler):
    for seed in SEEDS:
        told = []
        for shared in ((), (-7.0,), (-7.0, 0.0)):
            generator, judge = random.Random(seed), SCHEDULERS[scheduler](budget(num_trials=40))
            told.append([])
            for number in range(40):
                told[-1].append(judge.judge(number, 1, generator.randint(0, 9) / 8, *shared))
                told[-1].append(judge.hopeless())
                if generator.random() < 0.3:
                    told[-1].append(take_up_all(judge))
            told[-1].append(take_up_all(judge, num_to_come=0))
        assert told[0] == told[1] == told[2], f"seed {seed}"


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
@pytest.mark.parametrize("cost", [math.nan, math.inf, -math.inf])
def test_scheduler_stops_a_cost_that_is_not_finite_and_does_not_count_it(scheduler, cost):
    judge = SCHEDULERS[scheduler](budget(grace_period=3))
    assert [judge.judge(number, epoch, 0.9, cost) for epoch in (1, 3) for number in range(9)] == [STOP] * 18
    assert take_up_all(judge, num_to_come=0) == []
    assert judge.drop_worst() is None
    assert judge.judge(10, 3, 0.1, -1.0) == PAUSE  # the first of its rung


def test_asha_calls_no_trial_hopeless_that_a_newcomer_may_still_lift_past_others():
    merits = [(0.95, -1.0), (0.9, -1.1), (0.5, -0.5), (0.4, -0.4), (0.6, -0.3), *[(0.1, -9.0)] * 4]
    gone_on = {}
    for asked in (False, True):
        scheduler = Asha(budget(num_trials=9, max_epochs=9))
        gone_on[asked] = []
        for number, merit in enumerate(merits):
            if scheduler.judge(number, 1, *merit) == CONTINUE:
                gone_on[asked].append(number)
            if asked:
                scheduler.hopeless()
            gone_on[asked] += take_up_all(scheduler)
    assert gone_on[True] == gone_on[False] == [0, 4, 1]
