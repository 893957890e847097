"""Hyperband: which bracket a trial is in, and that each bracket is an ASHA."""

import pytest

from search.scheduling.halving import Hyperband
from tests.support.scheduling import CONTINUE, PAUSE, SEEDS, arrivals, promote_all, random_search, request, value_of


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
def test_hyperband_brackets_have_the_shares_of_the_paper(max_epochs, grace_period, reduction_factor, of_thousand):
    changes = {"max_epochs": max_epochs, "grace_period": grace_period, "reduction_factor": reduction_factor}
    asked = request(num_trials=1000, **changes)
    hyperband = Hyperband(asked)
    epochs = range(1, max_epochs + 1)
    first_pause = [  # all equal, so that no trial overtakes another
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
    hyperband = Hyperband(request(num_trials=1430, max_epochs=81))
    first_pause = [
        next((epoch for epoch in (1, 3, 9, 27, 81) if hyperband.judge(number, epoch, 0.0) == PAUSE), None)
        for number in range(1430)
    ]
    counts = [first_pause.count(epoch) / 10 for epoch in (1, 3, 9, 27, None)]
    assert counts == pytest.approx([81, 34, 15, 8, 5], abs=0.6)  # table 1, which rounds them up


def test_hyperband_without_rungs_lets_every_trial_continue():
    hyperband = Hyperband(request(max_epochs=5, grace_period=5))
    assert arrivals(hyperband, [0.9, 0.1, 0.2], epoch=5) == [CONTINUE] * 3
    assert promote_all(hyperband, num_to_come=0) == []
    assert hyperband.drop_hopeless() == []
    assert hyperband.drop_worst() is None


def test_hyperband_promotes_the_quota_of_each_bracket():
    asked = request(num_trials=60)
    first_rung = [
        next((epoch for epoch in (1, 3) if Hyperband(asked).judge(number, epoch, 0.5) == PAUSE), 9)
        for number in range(60)
    ]
    for seed in SEEDS:
        arrived, promoted, unhindered = {}, {}, []
        for number, epoch, verdict, _ in random_search(Hyperband(asked), asked, seed=seed):
            if first_rung[number] == 9:
                unhindered.append((number, epoch, verdict))
            if epoch not in (1, 3) or epoch < first_rung[number]:
                continue
            arrived.setdefault((first_rung[number], epoch), set()).add(number)
            if verdict != PAUSE:
                promoted.setdefault((first_rung[number], epoch), set()).add(number)
        assert len(arrived[1, 1]) == first_rung.count(1)
        assert len(arrived[3, 3]) == first_rung.count(3)
        assert arrived[1, 3] == promoted[1, 1]
        for rung, numbers in arrived.items():
            assert len(promoted[rung]) - len(numbers) // 3 in (0, 1), f"seed {seed}"
            assert max(numbers, key=lambda number, at=rung[1]: value_of(seed, number, at)) in promoted[rung]
        last = [number for number in range(60) if first_rung[number] == 9]
        assert sorted(unhindered) == [(number, epoch, CONTINUE) for number in last for epoch in range(1, 10)]
        assert len(last) == 11  # 60 / 5.5


@pytest.mark.parametrize("num_trials", [1, 2, 5, 12, 27, 60])
def test_hyperband_brackets_know_their_number_of_trials(num_trials):
    hyperband = Hyperband(request(num_trials=num_trials, max_epochs=27))
    brackets: dict[int, list[int]] = {}
    for number in range(num_trials):  # best first, so that no trial overtakes another
        epoch = next((e for e in range(1, 27) if hyperband.judge(number, e, -float(number)) == PAUSE), 27)
        brackets.setdefault(epoch, []).append(number)
    hopeless = set(hyperband.drop_hopeless())
    for epoch, numbers in brackets.items():
        num_places = len(numbers) if epoch == 27 else max(1, len(numbers) // 3)  # the last bracket has no rung
        assert [number for number in numbers if number not in hopeless] == numbers[:num_places]


@pytest.mark.parametrize("num_trials", [12, 27, 60])
def test_hyperband_search_is_the_same_when_hopeless_trials_are_dropped(num_trials):
    asked = request(num_trials=num_trials, max_epochs=27)
    for seed in SEEDS:
        hopeless = []
        whole = list(random_search(Hyperband(asked), asked, seed=seed))
        assert list(random_search(Hyperband(asked), asked, seed=seed, hopeless=hopeless)) == whole
        ended = {number for number, epoch, _, _ in whole if epoch == asked.max_epochs}
        assert len(hopeless) == len(set(hopeless)) > 0
        assert not ended & set(hopeless)


def test_hyperband_drops_each_paused_trial_of_each_bracket_once():
    hyperband = Hyperband(request(num_trials=12))
    paused = [  # at the first rung of its bracket; all equal, so that no trial overtakes another
        number
        for number in range(12)
        if hyperband.judge(number, 1, 0.5) == PAUSE or hyperband.judge(number, 3, 0.5) == PAUSE
    ]
    assert len(paused) == 10  # 12 / 5.5 are of the bracket that stops nothing
    assert {hyperband.drop_worst() for _ in range(10)} == set(paused)
    assert hyperband.drop_worst() is None
