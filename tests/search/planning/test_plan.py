"""The plan of a budget, against values that were worked out by hand, and what must be so for every budget."""

import random
from itertools import pairwise

import pytest

from data.errors import UserError
from search.planning.budget import Budget, parse_budget
from search.planning.plan import (
    MARGIN,
    MAX_EPOCHS,
    MIN_EPOCHS,
    SEARCH_SHARE,
    Costs,
    Fixed,
    Plan,
    plan,
    trial_share,
)
from search.promotion_options import MAX_MEMBERS

SEEDS = range(40)
SLOW = Costs(epoch_seconds=5, start_seconds=28, promotion_seconds=30)


def sizes(found: Plan) -> tuple[int, int, int, int]:
    return found.trials, found.max_epochs, found.grace_period, found.final_seeds


@pytest.mark.parametrize(
    ("first_rung", "reduction_factor", "share"),
    [
        (1 / 3, 2, 1 / 3 + 1 / 6 + 1 / 12),
        (1 / 3, 3, 1 / 3 + 2 / 9),
        (1 / 9, 3, 1 / 9 + 2 / 27 + 6 / 81),
        (1, 2, 1),
        (2, 2, 1),
    ],
)
def test_trial_share_is_the_sum_over_the_rungs(first_rung, reduction_factor, share):
    assert trial_share(first_rung, reduction_factor) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "costs", "expected"),
    [
        # 122 s are left for epochs of 5.5 s: 22, fewer than three trainings of 9.
        ("3m", SLOW, (1, 22, 7, 0)),
        # 131 s for epochs of 1.32 s: 99. Half of it is 9 trials of 5.25; the rest of 99 - 9 - 47 is 4 trainings.
        ("3m", Costs(epoch_seconds=1.2, start_seconds=24, promotion_seconds=25), (10, 9, 3, 4)),
        # 1742 s for epochs of 5.5 s: 316.7, 12 trainings of 26.4. Half is 10 trials; 316.7 - 26 - 152 is 5 trainings.
        ("30m", SLOW, (11, 26, 8, 5)),
        # 28680 s for epochs of 22 s: 1303 in each of 8 lanes, and half is 110 trials of 47.25.
        ("8h", Costs(epoch_seconds=20, num_lanes=8, start_seconds=60, promotion_seconds=60), (111, 81, 27, 10)),
        # 604610 s for epochs of 66 s: 9160, and half is 96 trials of 47.25.
        ("7d", Costs(epoch_seconds=60, start_seconds=130, promotion_seconds=60), (97, 81, 27, 10)),
        ("500 epochs", SLOW, (11, 41, 13, 5)),
        ("26 epochs", SLOW, (1, 26, 8, 0)),
        ("27 epochs", SLOW, (3, 9, 3, 0)),
        ("1 epoch", SLOW, (1, 1, 1, 0)),
    ],
)
def test_plan_is_what_was_worked_out_by_hand(text, costs, expected):
    assert sizes(plan(parse_budget(text), costs)) == expected


def test_search_stops_when_the_rest_still_fits():
    found = plan(parse_budget("30m"), SLOW)
    assert found.search_seconds == pytest.approx(1800 - 30 - 5 * 26 * 5.5)
    assert found.expected_seconds == pytest.approx(28 + 30 + (26 + 10 * 26 * 7 / 12 + 5 * 26) * 5.5)


def test_budget_of_epochs_has_no_times():
    found = plan(parse_budget("108 epochs"), SLOW)
    assert (found.search_seconds, found.expected_seconds) == (None, None)
    assert found.expected_epochs == pytest.approx(9 + 10 * 5.25 + 5 * 9)


@pytest.mark.parametrize(
    ("fixed", "expected"),
    [
        (Fixed(trials=4), (4, 26, 8, 9)),  # 316.7 - 26 - 3 x 15.2 is 9 trainings
        (Fixed(trials=200), (200, 2, 1, 10)),  # 316.7 epochs are 117.1 x 2.7; two of them leave room for 41 trainings
        (Fixed(trials=1), (1, 81, 27, 2)),
        (Fixed(max_epochs=40), (7, 40, 13, 3)),  # half is 6 trials of 23.3; 316.7 - 40 - 140 is 3 trainings
        (Fixed(max_epochs=120), (1, 120, 40, 1)),
        (Fixed(final_seeds=2), (11, 26, 8, 2)),
        (Fixed(fold_trainings=3), (11, 26, 8, 2)),
        (Fixed(grace_period=13), (9, 26, 13, 5)),  # a trial takes 13 + 13 / 2
        (Fixed(stops_early=False), (7, 26, 8, 5)),  # half is 6 trials of 26.4; 316.7 - 7 x 26 is 5 trainings
    ],
)
def test_plan_keeps_what_is_fixed(fixed, expected):
    assert sizes(plan(parse_budget("30m"), SLOW, fixed)) == expected


@pytest.mark.parametrize(
    ("text", "fixed", "said"),
    [
        ("1m", Fixed(), "budget is '1m', which is too little for one epoch of training: an epoch takes 5.0 s here"),
        ("3m", Fixed(max_epochs=40), "budget is '3m', which is too little for 40 epochs of training: an epoch"),
        ("20 epochs", Fixed(trials=50), "budget is '20 epochs', which is too little for 50 trials"),
    ],
)
def test_plan_refuses_what_no_budget_of_this_size_can_hold(text, fixed, said):
    with pytest.raises(UserError) as refused:
        plan(parse_budget(text), SLOW, fixed)
    assert str(refused.value).startswith(said)


def draw_costs(seed: int) -> Costs:
    generator = random.Random(seed)
    return Costs(
        epoch_seconds=10 ** generator.uniform(-1, 2.5),
        num_lanes=generator.choice([1, 1, 2, 3, 8, 40]),
        start_seconds=generator.uniform(5, 60),
        promotion_seconds=generator.uniform(10, 100),
        seed_seconds=generator.uniform(0, 10),
        final_epoch_ratio=generator.uniform(0.5, 1.5),
    )


def plans(costs: Costs) -> list[tuple[float, Plan]]:
    """Return plans for growing budgets of time, with the capacity of each in epochs."""
    room = [MARGIN * costs.epoch_seconds * 1.07**power for power in range(160)]
    found = []
    for seconds in room:
        total = seconds + costs.start_seconds + costs.promotion_seconds
        capacity = costs.num_lanes * seconds / (MARGIN * costs.epoch_seconds)
        found.append((capacity, plan(Budget(text="a time", seconds=1e-6 + total), costs)))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_plan_ends_in_time(seed):
    costs = draw_costs(seed)
    for capacity, found in plans(costs):
        room = capacity / costs.num_lanes * MARGIN * costs.epoch_seconds
        total = costs.start_seconds + room + costs.promotion_seconds
        assert found.search_seconds is not None
        assert found.expected_seconds is not None
        assert found.expected_seconds <= total + 0.01
        schedule = found.max_epochs * MARGIN * costs.epoch_seconds
        assert costs.start_seconds + schedule <= found.search_seconds + 0.01 <= total


@pytest.mark.parametrize("seed", SEEDS)
def test_a_larger_budget_never_has_fewer_trials_or_a_shorter_schedule(seed):
    searches = [found for _, found in plans(draw_costs(seed)) if found.trials > 1]
    for smaller, larger in pairwise(searches):
        assert smaller.trials <= larger.trials
        assert smaller.max_epochs <= larger.max_epochs


@pytest.mark.parametrize("seed", SEEDS)
def test_at_most_half_of_a_budget_is_for_trials_other_than_the_default(seed):
    for capacity, found in plans(draw_costs(seed)):
        others = (found.trials - 1) * found.max_epochs * trial_share(1 / 3, 2)
        assert others <= SEARCH_SHARE * capacity * (1 + 1e-9)
        assert found.final_seeds <= MAX_MEMBERS
        assert found.max_epochs <= MAX_EPOCHS
        assert found.trials == 1 or found.max_epochs >= MIN_EPOCHS


@pytest.mark.parametrize("num_epochs", [96, 200, 500, 972])
def test_budget_holds_8_to_16_trainings_between_the_shortest_and_the_longest(num_epochs):
    found = plan(Budget(text="epochs", epochs=num_epochs), SLOW)
    assert 8 <= num_epochs / found.max_epochs <= 16
