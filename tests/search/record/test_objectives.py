"""Several objectives: who dominates whom, the Pareto front, and the order in which trials are promoted."""

import random

import pytest

from search.record.epochs import EpochMetrics
from search.record.objectives import (
    OBJECTIVES,
    best_merits,
    costs,
    dominates,
    in_order_of_promotion,
    merits,
    pareto_front,
)
from search.record.trials import TrialRow
from tests.support.fakes import trial_row

TWO = ("val_dice", "latency_ms")
THREE = ("val_dice", "latency_ms", "million_parameters")


def costly_row(number: int, dice: float, latency: float, parameters: float = 1.0) -> TrialRow:
    """Return the row of a trial whose second epoch was its best."""
    costs = {"latency_ms": latency, "million_parameters": parameters}
    dices = enumerate((0.0, dice, dice / 2), start=1)
    epochs = [EpochMetrics.from_json({"epoch": epoch, "val_dice": value, **costs}) for epoch, value in dices]
    return trial_row(number, [], epochs=epochs)


def random_rows(seed: int, num_rows: int = 12) -> list[TrialRow]:
    """Return rows with few different values, so that many are equal in something."""
    generator = random.Random(seed)
    return [
        costly_row(number, generator.randint(1, 5) / 8, *(float(generator.randint(1, 5)) for _ in range(2)))
        for number in range(num_rows)
    ]


def test_costs_are_the_objectives_other_than_dice():
    assert costs(("val_dice",)) == ()
    assert costs(THREE) == ("latency_ms", "million_parameters")


@pytest.mark.parametrize(
    ("objectives", "expected"),
    [
        (("val_dice",), (0.75,)),
        (TWO, (0.75, -8.0)),
        (("val_dice", "million_parameters", "latency_ms"), (0.75, -2.0, -8.0)),
    ],
)
def test_merits_have_costs_turned_round_and_come_in_the_order_of_the_objectives(objectives, expected):
    epoch = EpochMetrics(epoch=3, million_parameters=2.0, latency_ms=8.0, val_dice=0.75)
    assert merits(epoch, objectives) == expected


def test_all_objectives_but_dice_are_minimized():
    assert {name: objective.direction for name, objective in OBJECTIVES.items()} == {
        "val_dice": "maximize",
        "latency_ms": "minimize",
        "million_parameters": "minimize",
    }


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0.5,), (0.4,), True),
        ((0.5,), (0.5,), False),
        ((0.5, -3.0), (0.4, -4.0), True),
        ((0.5, -3.0), (0.5, -4.0), True),
        ((0.5, -3.0), (0.4, -3.0), True),
        ((0.5, -3.0), (0.5, -3.0), False),
        ((0.5, -4.0), (0.4, -3.0), False),
        ((0.4, -3.0), (0.5, -4.0), False),
        ((0.5, -3.0, -1.0), (0.5, -3.0, -2.0), True),
        ((0.9, -1.0, -2.0), (0.1, -9.0, -1.0), False),
    ],
)
def test_dominates_needs_one_that_is_better_and_none_that_is_worse(one, other, expected):
    assert dominates(one, other) is expected
    assert not (expected and dominates(other, one))


def test_pareto_front_by_hand():
    rows = [
        costly_row(0, 0.80, 10.0),
        costly_row(1, 0.80, 10.0),  # equal to 0, which does not dominate it
        costly_row(2, 0.85, 20.0),
        costly_row(3, 0.70, 5.0),
        costly_row(4, 0.70, 12.0),  # behind 0 in both
        costly_row(5, 0.84, 20.0),  # as fast as 2, and worse
        trial_row(6, [float("nan")]),
    ]
    assert [row.number for row in pareto_front(rows, TWO)] == [2, 0, 1, 3]
    assert [row.number for row in pareto_front(rows, ("val_dice",))] == [2]
    assert pareto_front([], TWO) == []


def test_pareto_front_knows_a_third_objective():
    rows = [costly_row(0, 0.8, 10.0, 3.0), costly_row(1, 0.7, 12.0, 2.0), costly_row(2, 0.7, 12.0, 4.0)]
    assert [row.number for row in pareto_front(rows, TWO)] == [0]
    assert [row.number for row in pareto_front(rows, THREE)] == [0, 1]


@pytest.mark.parametrize("seed", range(20))
def test_pareto_front_is_what_comparing_all_pairs_finds(seed):
    rows = random_rows(seed)
    values = [(-row.best_dice, row.best_value("latency_ms"), row.best_value("million_parameters")) for row in rows]
    beaten = {
        number
        for number, mine in enumerate(values)
        for theirs in values
        if theirs != mine and all(a <= b for a, b in zip(theirs, mine, strict=True))
    }
    front = pareto_front(rows, THREE)
    assert sorted(row.number for row in front) == sorted(set(range(len(rows))) - beaten)
    assert front == sorted(front, key=lambda row: (-row.best_dice, row.number))


@pytest.mark.parametrize(
    ("candidates", "tolerance", "expected"),
    [
        ({}, 0.5, ""),
        ({"a": (0.5,), "b": (0.75,), "c": (0.625,)}, 0.0, "bca"),
        ({"a": (0.5,), "b": (0.75,), "c": (0.625,)}, 1.0, "bca"),  # there is nothing else to go by
        ({"a": (0.75,), "b": (0.5,), "c": (0.75,)}, 0.0, "acb"),
        # b is as far below the best as is allowed, d is further; the last two are only compared by Dice.
        ({"a": (0.75, -9.0), "b": (0.625, -4.0), "c": (0.5, -1.0), "d": (0.5625, -2.0)}, 0.125, "badc"),
        ({"a": (0.75, -9.0), "b": (0.625, -4.0), "c": (0.5, -1.0), "d": (0.5625, -2.0)}, 0.0, "abdc"),
        ({"a": (0.75, -9.0), "b": (0.625, -4.0), "c": (0.5, -1.0), "d": (0.5625, -2.0)}, 1.0, "cdba"),
        # Of equally fast ones the better, of equal ones the first.
        ({"a": (0.625, -4.0), "b": (0.75, -4.0), "c": (0.625, -4.0)}, 0.25, "bac"),
        # Of equally fast ones the smaller, though another is better.
        ({"a": (0.75, -4.0, -3.0), "b": (0.625, -4.0, -2.0), "c": (0.75, -5.0, -1.0)}, 0.25, "bac"),
    ],
)
def test_in_order_of_promotion_by_hand(candidates, tolerance, expected):
    assert "".join(in_order_of_promotion(list(candidates), candidates.get, dice_tolerance=tolerance)) == expected


@pytest.mark.parametrize("objectives", [("val_dice",), TWO, THREE], ids=len)
@pytest.mark.parametrize("tolerance", [0.0, 0.125, 0.25, 1.0])
def test_the_first_to_be_promoted_is_on_the_pareto_front(objectives, tolerance):
    for seed in range(20):
        rows = random_rows(seed)
        ordered = in_order_of_promotion(rows, lambda row: best_merits(row, objectives), dice_tolerance=tolerance)
        assert ordered[0] in pareto_front(rows, objectives), f"seed {seed}"
        assert ordered[0].best_dice >= max(row.best_dice for row in rows) - tolerance, f"seed {seed}"
        assert sorted(row.number for row in ordered) == list(range(len(rows))), f"seed {seed}"
