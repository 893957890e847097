"""ASHA: who continues and who pauses, whatever the order of arrival."""

import math

import pytest

from search.scheduling.halving import Asha
from tests.support.scheduling import (
    CONTINUE,
    PAUSE,
    SEEDS,
    STOP,
    arrivals,
    promote_all,
    random_search,
    request,
    value_of,
)


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
    asked = request(max_epochs=max_epochs, grace_period=grace_period, reduction_factor=reduction_factor)
    verdicts = {epoch: Asha(asked).judge(0, epoch, 0.5) for epoch in range(1, max_epochs + 1)}
    assert [epoch for epoch, verdict in verdicts.items() if verdict == PAUSE] == epochs
    assert set(verdicts.values()) <= {PAUSE, CONTINUE}


@pytest.mark.parametrize(
    ("values", "verdicts", "promoted"),
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [PAUSE] * 6, [0, 1]),
        ([0.4, 0.5, 0.6, 0.7, 0.8, 0.9], [PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE, CONTINUE], []),
        ([0.5, 0.2, 0.7, 0.4, 0.3, 0.6], [PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE, CONTINUE], []),
        ([0.5, 0.2, 0.4, 0.7, 0.3, 0.1], [PAUSE, PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE], [0]),
        ([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [PAUSE] * 6, [0, 1]),  # the earlier among equals
        ([0.5, 0.6], [PAUSE] * 2, []),
    ],
    ids=["best first", "worst first", "mixed", "a better one arrives when the quota has room", "equals", "too few"],
)
def test_asha_promotes_a_third_by_hand(values, verdicts, promoted):
    asha = Asha(request())
    assert arrivals(asha, values) == verdicts
    assert promote_all(asha) == promoted


def test_asha_promotes_as_soon_as_the_quota_allows_by_hand():
    asha = Asha(request(reduction_factor=2))
    assert asha.judge(0, 1, 0.9) == PAUSE
    assert asha.next_promotable(num_to_come=9, running_epochs=[]) is None
    assert asha.judge(1, 1, 0.8) == PAUSE
    assert promote_all(asha) == [0]
    assert asha.judge(2, 1, 0.85) == PAUSE  # one of three may be promoted
    assert asha.judge(3, 1, 0.7) == PAUSE
    assert promote_all(asha) == [2]


def test_asha_never_pauses_the_default_trial_but_compares_others_with_it():
    asha = Asha(request(reduction_factor=2, default_trial=0))
    assert [asha.judge(0, epoch, 0.5) for epoch in range(1, 9)] == [CONTINUE] * 8
    assert asha.judge(1, 1, 0.6) == PAUSE  # one of two may be promoted, and the default was
    assert asha.judge(2, 1, 0.4) == PAUSE
    assert asha.judge(3, 1, 0.3) == PAUSE
    assert promote_all(asha) == [1]  # two of four


def test_asha_promotes_from_the_highest_rung_first():
    asha = Asha(request())
    arrivals(asha, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    for number, value in ((6, 0.3), (7, 0.2), (8, 0.1)):
        assert asha.judge(number, 3, value) == PAUSE
    assert promote_all(asha) == [6, 0, 1]


def test_asha_compares_each_rung_by_itself():
    asha = Asha(request())
    assert arrivals(asha, [0.1, 0.2, 0.9]) == [PAUSE, PAUSE, CONTINUE]
    assert asha.judge(2, 3, 0.99) == PAUSE  # alone on that rung, however many are below


@pytest.mark.parametrize("num_trials", [5, 12, 27, 40])
@pytest.mark.parametrize(("reduction_factor", "rungs"), [(2, {1, 2, 4, 8}), (3, {1, 3, 9})])
def test_asha_promotes_its_quota_best_first_and_one_more_at_the_end(num_trials, reduction_factor, rungs):
    asked = request(num_trials=num_trials, max_epochs=13, reduction_factor=reduction_factor)
    for seed in SEEDS:
        arrived, promoted, more = {}, {}, set()
        for number, epoch, verdict, is_open in random_search(Asha(asked), asked, seed=seed, hopeless=[]):
            if epoch in rungs:
                arrived.setdefault(epoch, set()).add(number)
            if epoch not in rungs or verdict == PAUSE:
                continue
            gone = promoted.setdefault(epoch, set())
            gone.add(number)
            if len(gone) > len(arrived[epoch]) // reduction_factor:  # one more than its share
                assert not is_open, f"seed {seed}"
                assert epoch not in more, f"seed {seed}: not the first"
                more.add(epoch)
                before = {value_of(seed, n, epoch) for n in gone - {number}}
                assert value_of(seed, number, epoch) > max(before, default=-math.inf), f"seed {seed}"
            better = {n for n in arrived[epoch] - gone if value_of(seed, n, epoch) > value_of(seed, number, epoch)}
            assert not better, f"seed {seed}: {number} was promoted from epoch {epoch} before {better}"
        shares = {epoch: len(numbers) // reduction_factor + (epoch in more) for epoch, numbers in arrived.items()}
        assert {epoch: len(gone) for epoch, gone in promoted.items()} == shares
        assert set(shares) == rungs  # some trial was trained to the end


@pytest.mark.parametrize("num_trials", [4, 9, 12, 20, 27, 81])
def test_asha_promotes_the_best_of_each_rung_before_the_search_ends(num_trials):
    asked = request(num_trials=num_trials)
    for seed in SEEDS:
        arrived, promoted = {1: set(), 3: set()}, {1: set(), 3: set()}
        for number, epoch, verdict, _ in random_search(Asha(asked), asked, seed=seed, hopeless=[]):
            if epoch in arrived:
                arrived[epoch].add(number)
                if verdict != PAUSE:
                    promoted[epoch].add(number)
        for epoch, numbers in arrived.items():
            _, best = max((value_of(seed, number, epoch), number) for number in numbers)
            assert best in promoted[epoch], f"seed {seed}"


def test_asha_waits_for_running_trials_at_the_end_by_hand():
    asha = Asha(request(num_trials=2))
    assert arrivals(asha, [0.4, 0.6]) == [PAUSE, PAUSE]  # too few for the quota
    assert asha.next_promotable(num_to_come=1, running_epochs=[]) is None
    assert asha.next_promotable(num_to_come=0, running_epochs=[0]) is None  # one may still come to epoch 1
    assert asha.next_promotable(num_to_come=0, running_epochs=[1, 2]) == 1
    assert asha.next_promotable(num_to_come=0, running_epochs=[]) == 1
    asha.mark_promoted(1)
    assert asha.next_promotable(num_to_come=0, running_epochs=[1]) is None  # the best of the rung was promoted
    assert asha.judge(1, 3, 0.7) == PAUSE
    assert asha.next_promotable(num_to_come=0, running_epochs=[2]) is None
    assert asha.next_promotable(num_to_come=0, running_epochs=[]) == 1


def test_asha_promotes_a_late_best_trial_at_the_end_by_hand():
    asha = Asha(request(num_trials=5))
    assert arrivals(asha, [0.5, 0.6, 0.7, 0.9, 0.8]) == [PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE]
    assert asha.next_promotable(num_to_come=1, running_epochs=[]) is None
    assert asha.next_promotable(num_to_come=0, running_epochs=[0]) is None
    assert promote_all(asha, num_to_come=0, running_epochs=(1,)) == [3]  # 4 is worse than it
    assert asha.judge(2, 3, 0.75) == PAUSE
    assert asha.next_promotable(num_to_come=0, running_epochs=[1]) is None  # 3 may still come there
    assert asha.judge(3, 3, 0.74) == PAUSE
    assert promote_all(asha, num_to_come=0) == [2]


def test_asha_promotes_nothing_at_the_end_if_the_best_was_promoted():
    asha = Asha(request(num_trials=5))
    assert arrivals(asha, [0.5, 0.6, 0.7, 0.65, 0.7]) == [PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE]  # equal is not better
    assert promote_all(asha, num_to_come=0) == []


def test_asha_never_drops_the_best_paused_trial_of_a_rung_as_hopeless():
    asha = Asha(request(num_trials=3))  # one can be promoted
    assert arrivals(asha, [0.1, 0.2, 0.9]) == [PAUSE, PAUSE, CONTINUE]
    assert asha.drop_hopeless() == [0]
    assert asha.drop_worst() == 1


def test_asha_drops_each_hopeless_trial_once_and_at_once():
    asha = Asha(request(num_trials=9))  # three can be promoted from the first rung
    assert arrivals(asha, [0.9, 0.8]) == [PAUSE, PAUSE]
    assert asha.judge(2, 1, 0.6) == PAUSE
    assert asha.drop_hopeless() == []
    assert asha.judge(3, 1, 0.5) == PAUSE
    assert asha.drop_hopeless() == [3]
    assert asha.drop_hopeless() == []
    assert asha.judge(4, 1, 0.7) == PAUSE
    assert asha.drop_hopeless() == [2]
    assert promote_all(asha) == [0]  # a trial that is promoted takes nobody's place
    assert asha.drop_hopeless() == []


@pytest.mark.parametrize("num_trials", [1, 2, 4, 12, 27, 40])
def test_asha_search_is_the_same_when_hopeless_trials_are_dropped(num_trials):
    asked = request(num_trials=num_trials)
    for seed in SEEDS:
        hopeless = []
        whole = list(random_search(Asha(asked), asked, seed=seed))
        assert list(random_search(Asha(asked), asked, seed=seed, hopeless=hopeless)) == whole
        ended = {number for number, epoch, _, _ in whole if epoch == asked.max_epochs}
        assert len(hopeless) == len(set(hopeless))
        assert not ended & set(hopeless)
        waits_at = {number: epoch for number, epoch, _, _ in whole if number not in {*ended, *hopeless}}
        assert sorted(waits_at.values()) in ([], [1], [3], [1, 3]), f"seed {seed}"  # at most one of each rung is left


def test_asha_drops_the_worst_of_the_lowest_rung():
    asha = Asha(request())
    arrivals(asha, [0.5, 0.2, 0.4, 0.3])
    asha.mark_promoted(0)
    assert asha.judge(0, 3, 0.1) == PAUSE
    assert [asha.drop_worst() for _ in range(5)] == [1, 3, 2, 0, None]
    assert asha.next_promotable(num_to_come=0, running_epochs=[]) is None


def test_asha_never_promotes_a_dropped_trial():
    asha = Asha(request())
    arrivals(asha, [0.9, 0.8])
    assert [asha.drop_worst(), asha.drop_worst()] == [1, 0]
    assert asha.judge(2, 1, 0.1) == CONTINUE  # one of three may be promoted, and it alone is left
    assert promote_all(asha, num_to_come=0) == []


def test_asha_removed_trial_no_longer_waits_but_still_counts():
    asha = Asha(request())
    arrivals(asha, [0.9, 0.8])
    asha.remove(0)
    assert asha.judge(2, 1, 0.1) == PAUSE  # one of three may be promoted, the best of those that are left
    assert promote_all(asha) == [1]
    assert [asha.drop_worst(), asha.drop_worst()] == [2, None]


def test_asha_promotes_the_next_best_at_the_end_if_the_best_failed():
    asha = Asha(request(num_trials=2))
    arrivals(asha, [0.4, 0.6])
    asha.remove(1)
    assert promote_all(asha, num_to_come=0) == [0]


def test_asha_remove_of_a_trial_that_is_not_paused_changes_nothing():
    asha = Asha(request())
    assert arrivals(asha, [0.7, 0.8, 0.9]) == [PAUSE, PAUSE, CONTINUE]
    for number in (2, 99):
        asha.remove(number)
    assert asha.judge(2, 1, 0.9) == CONTINUE
    assert [asha.drop_worst() for _ in range(3)] == [0, 1, None]


def test_asha_judges_an_epoch_that_is_trained_again_the_same():
    asha = Asha(request(reduction_factor=2))
    assert [asha.judge(0, 1, 0.9) for _ in range(3)] == [PAUSE] * 3  # one arrival, however often
    assert asha.judge(1, 1, 0.95) == CONTINUE
    for value, verdict in ((0.95, CONTINUE), (0.1, CONTINUE), (math.nan, STOP), (0.95, CONTINUE)):
        assert asha.judge(1, 1, value) == verdict  # another machine may compute another value
    assert promote_all(asha) == []  # one of two may be promoted
    assert [asha.drop_worst(), asha.drop_worst()] == [0, None]  # the other one is paused only once


@pytest.mark.parametrize(
    ("merits", "verdicts", "promoted"),
    [
        # 0 dominates 1, so 1 waits although its Dice is better than 2's; 3 is the best of the front when it arrives.
        (
            [(0.9, -10), (0.8, -12), (0.5, -1), (0.95, -20), (0.4, -0.5), (0.3, -30)],
            [PAUSE, PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE],
            [0, 2],
        ),
        ([(0.9,), (0.8,), (0.5,), (0.95,), (0.4,), (0.3,)], [PAUSE, PAUSE, PAUSE, CONTINUE, PAUSE, PAUSE], [0, 1]),
        # 2 dominates 0 when it arrives, so 1 is promoted instead.
        ([(0.6, -5), (0.5, -1), (0.7, -4), (0.1, -9)], [PAUSE, PAUSE, CONTINUE, PAUSE], [1]),
        ([(0.6,), (0.5,), (0.7,), (0.1,)], [PAUSE, PAUSE, CONTINUE, PAUSE], [0]),
        # Equal in Dice, each is cheaper than those before it.
        ([(0.5, -3), (0.5, -2), (0.5, -1), (0.4, -1)], [PAUSE, CONTINUE, PAUSE, PAUSE], [2]),
        ([(0.5, -1)] * 4, [PAUSE] * 4, [0, 1]),  # equals do not dominate each other
    ],
    ids=["front", "Dice alone", "fallen back", "Dice alone again", "cheaper each time", "equals"],
)
def test_asha_with_two_merits_promotes_the_pareto_front_by_hand(merits, verdicts, promoted):
    asha = Asha(request(reduction_factor=2))
    assert [asha.judge(number, 1, *mine) for number, mine in enumerate(merits)] == verdicts
    assert promote_all(asha) == promoted


def test_asha_with_two_merits_drops_the_most_dominated_first():
    asha = Asha(request())
    for number, mine in enumerate([(0.5, -5), (0.9, -9), (0.4, -6), (0.2, -1), (0.6, -10)]):
        asha.judge(number, 1, *mine)
    # 0 dominates 2, and 1 dominates 4; the front is 1, 0, 3, in the order of their Dice.
    assert [asha.drop_worst() for _ in range(6)] == [2, 4, 3, 0, 1, None]


def test_asha_does_not_drop_a_trial_that_a_later_one_may_still_lift():
    merits = [(0.95, -1.0), (0.9, -1.1), (0.5, -0.5), (0.4, -0.4), (0.6, -0.3), *[(0.1, -9.0)] * 4]
    promoted = {}
    for asked in (False, True):
        scheduler = Asha(request(num_trials=9, max_epochs=9))
        promoted[asked] = []
        for number, merit in enumerate(merits):
            if scheduler.judge(number, 1, *merit) == CONTINUE:
                promoted[asked].append(number)
            if asked:
                scheduler.drop_hopeless()
            promoted[asked] += promote_all(scheduler)
    assert promoted[True] == promoted[False] == [0, 4, 1]
