"""The plan of a budget, against values that were worked out by hand, and what must be so for every budget."""

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest

from data.errors import UserError
from search.planning.budget import Budget, parse_budget
from search.planning.costs import MARGIN, Costs
from search.planning.plan import (
    FEWEST_PATIENTS,
    MAX_EPOCHS,
    MIN_EPOCHS,
    SEARCH_SHARE,
    Fixed,
    Plan,
    least_epochs,
    plan,
    trial_share,
)
from search.promotion.options import MAX_MEMBERS

SEEDS = range(40)
SLOW = Costs(epoch_seconds=5, start_seconds=28, promotion_seconds=30)
WHY = "an epoch takes 5.0 s here, and the rest (reading, measuring, scoring, export) about 58 s"


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
        # 122 s are left for epochs of 5.5 s: 22, fewer than eight trainings of 9. They are two of 11.
        ("3m", SLOW, (1, 11, 3, 1)),
        # 131 s for epochs of 1.32 s: 99. Half of it is 9 trials of 5.25; the rest of 99 - 9 - 47 is 4 trainings.
        ("3m", Costs(epoch_seconds=1.2, start_seconds=24, promotion_seconds=25), (10, 9, 3, 4)),
        # 1742 s for epochs of 5.5 s: 316.7, 12 trainings of 26.4. Half is 10 trials; 316.7 - 26 - 152 is 5 trainings.
        ("30m", SLOW, (11, 26, 8, 5)),
        # 28680 s for epochs of 22 s: 1303.6 in each of 8 lanes. Ten final seeds are two rounds, and the default is a
        # third: 8 x (1303.6 - 3 x 81) is 179 trials of 47.25.
        ("8h", Costs(epoch_seconds=20, num_lanes=8, start_seconds=60, promotion_seconds=60), (180, 81, 27, 10)),
        # 604610 s for epochs of 66 s: 9160.8, and 9160.8 - 11 x 81 is 175 trials of 47.25.
        ("7d", Costs(epoch_seconds=60, start_seconds=130, promotion_seconds=60), (176, 81, 27, 10)),
        ("500 epochs", SLOW, (11, 41, 13, 5)),
        ("17 epochs", SLOW, (1, 17, 5, 0)),
        ("18 epochs", SLOW, (1, 9, 3, 1)),
        ("71 epochs", SLOW, (1, 10, 3, 6)),
        ("72 epochs", SLOW, (7, 9, 3, 3)),  # half is 6 trials of 5.25; 72 - 9 - 31.5 is 3 trainings
        ("1 epoch", SLOW, (1, 1, 1, 0)),
    ],
)
def test_plan_is_what_was_worked_out_by_hand(text, costs, expected):
    assert sizes(plan(parse_budget(text), costs)) == expected


def test_search_stops_when_the_rest_still_fits():
    found = plan(parse_budget("30m"), SLOW)
    assert found.search_seconds == pytest.approx(1800 - 30 - 5 * 26 * 5.5)


def test_budget_of_epochs_has_no_clock():
    found = plan(parse_budget("108 epochs"), SLOW)
    assert (sizes(found), found.search_seconds) == ((11, 9, 3, 5), None)


def test_trainings_after_the_search_have_one_worker_where_a_lane_has_two():
    """316.7 epochs of two workers: 158 are left for the seeds, two side by side, each as long as two in a lane."""
    two = Costs(epoch_seconds=5, num_workers=2, start_seconds=28, promotion_seconds=30)
    assert sizes(plan(parse_budget("30m"), two)) == (11, 26, 8, 4)


def test_scoring_of_the_final_seeds_takes_its_part():
    slow = Costs(epoch_seconds=5, start_seconds=28, promotion_seconds=30, seed_seconds=50)
    assert plan(parse_budget("30m"), slow).final_seeds == 3  # 138.7 x 5.5 s are 3.95 times 26 x 5.5 + 50 s
    fixed = plan(parse_budget("30m"), slow, Fixed(final_seeds=3))
    assert fixed.search_seconds == pytest.approx(1800 - 30 - 3 * 50 - 3 * fixed.max_epochs * 5.5)


def test_several_objectives_have_one_final_seed_and_trials_take_the_rest():
    found = plan(parse_budget("30m"), SLOW, Fixed(max_final_seeds=1))  # 316.7 - 2 x 26.4 is 17.1 trials of 15.4
    assert sizes(found) == (18, 26, 8, 1)


@pytest.mark.parametrize(
    ("fixed", "expected"),
    [
        (Fixed(trials=4), (4, 26, 8, 9)),  # 316.7 - 26 - 3 x 15.2 is 9 trainings
        (Fixed(trials=200), (200, 2, 1, 10)),  # 316.7 epochs are 117.1 x 2.7; two of them leave room for 41 trainings
        (Fixed(trials=1), (1, 28, 9, 10)),  # 316.7 / 11
        (Fixed(max_epochs=39), (7, 39, 13, 3)),  # half is 6 trials of 22.8; 316.7 - 39 - 137 is 3 trainings
        (Fixed(max_epochs=40), (1, 40, 13, 6)),  # fewer than eight trainings
        (Fixed(max_epochs=120), (1, 120, 40, 1)),
        (Fixed(final_seeds=0), (19, 26, 8, 0)),  # 316.7 - 26.4 is 18.9 trials of 15.4
        (Fixed(final_seeds=2), (19, 22, 7, 2)),  # 14 trainings of 22.6; 316.7 - 3 x 22.6 is 18.9 trials of 13.2
        (Fixed(fold_trainings=3), (13, 21, 7, 4)),  # 15 trainings of 21.1; 158.4 is 12.9 trials of 12.3
        (Fixed(final_seeds=40), (1, 7, 2, 40)),  # 316.7 / 41
        (Fixed(final_epochs=50), (11, 26, 8, 2)),  # 316.7 - 26 - 10 x 15.2 is twice 50
        (Fixed(final_epochs=50, final_seeds=3), (19, 13, 4, 3)),  # 166.7 is 12 x 13.9; 166.7 - 13.9 is 18.9 x 8.1
        (Fixed(trials=1, final_epochs=50), (1, 66, 22, 5)),  # 316.7 - 26.4 has room for 5 x 50
        (Fixed(grace_period=13), (9, 26, 13, 5)),  # a trial takes 13 + 13 / 2
        (Fixed(stops_early=False), (7, 26, 8, 5)),  # half is 6 trials of 26.4; 316.7 - 7 x 26 is 5 trainings
    ],
)
def test_plan_keeps_what_is_fixed(fixed, expected):
    assert sizes(plan(parse_budget("30m"), SLOW, fixed)) == expected


@pytest.mark.parametrize(
    ("text", "fixed", "said"),
    [
        ("1m", Fixed(), f"budget is '1m', which is too little for one epoch: {WHY}; give a larger one"),
        ("3m", Fixed(max_epochs=40), f"budget is '3m', which is too little for 40 epochs: {WHY}; give a larger one"),
        (
            "20 epochs",
            Fixed(trials=50),
            "budget is '20 epochs', which is too little for one epoch of 50 trials; give a larger one",
        ),
        (
            "20 epochs",
            Fixed(final_seeds=20),
            "budget is '20 epochs', which is too little for one epoch with the final seeds and folds; give a larger "
            "one",
        ),
    ],
)
def test_plan_refuses_what_no_budget_of_this_size_can_hold(text, fixed, said):
    with pytest.raises(UserError) as refused:
        plan(parse_budget(text), SLOW, fixed)
    assert str(refused.value) == said


def draw_costs(seed: int) -> Costs:
    generator = random.Random(seed)
    return Costs(
        epoch_seconds=10 ** generator.uniform(-1, 2.5),
        num_lanes=generator.choice([1, 1, 2, 3, 8, 40]),
        num_workers=generator.choice([1, 1, 2]),
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


def search_length(found: Plan, num_lanes: int) -> float:
    """Return the epochs of one lane until a search ends: an even share of the work, then its longest trial at most."""
    if found.trials <= num_lanes:
        return found.max_epochs
    work = found.max_epochs * (1 + (found.trials - 1) * trial_share(1 / 3, 2))
    return found.max_epochs + (work - found.max_epochs) / num_lanes


@pytest.mark.parametrize("seed", SEEDS)
def test_plan_ends_in_time(seed):
    costs = draw_costs(seed)
    epoch = MARGIN * costs.epoch_seconds
    for capacity, found in plans(costs):
        total = costs.start_seconds + capacity / costs.num_lanes * epoch + costs.promotion_seconds
        rounds = math.ceil(found.final_seeds / costs.num_lanes / costs.num_workers) * costs.num_workers
        final = costs.final_epoch_ratio * rounds * found.max_epochs * epoch + found.final_seeds * costs.seed_seconds
        assert found.search_seconds is not None
        assert found.search_seconds == pytest.approx(total - costs.promotion_seconds - final)
        search = costs.start_seconds + search_length(found, costs.num_lanes) * epoch
        assert search <= found.search_seconds + 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_a_larger_budget_never_has_fewer_trials_or_a_shorter_schedule(seed):
    searches = [found for _, found in plans(draw_costs(seed)) if found.trials > 1]
    for smaller, larger in pairwise(searches):
        assert smaller.trials <= larger.trials
        assert smaller.max_epochs <= larger.max_epochs


@pytest.mark.parametrize("seed", SEEDS)
def test_other_trials_have_at_most_half_of_a_budget_unless_it_holds_all_final_seeds(seed):
    for capacity, found in plans(draw_costs(seed)):
        others = (found.trials - 1) * found.max_epochs * trial_share(1 / 3, 2)
        assert others <= SEARCH_SHARE * capacity * (1 + 1e-9) or found.final_seeds == MAX_MEMBERS
        assert found.final_seeds <= MAX_MEMBERS
        assert found.max_epochs <= MAX_EPOCHS
        assert found.trials == 1 or found.max_epochs >= MIN_EPOCHS


@pytest.mark.parametrize(("steps", "epochs"), [(1, 81), (10, 50), (17, 30), (55, 10), (100, 9), (5000, 9)])
def test_shortest_schedule_of_a_search_has_enough_steps(steps, epochs):
    assert least_epochs(steps) == epochs


def test_budget_that_is_too_small_for_a_search_trains_the_default_with_several_seeds():
    budget = parse_budget("100 epochs")
    assert sizes(plan(budget, SLOW, Fixed(least_epochs=12))) == (8, 12, 4, 3)
    assert sizes(plan(budget, SLOW, Fixed(least_epochs=13))) == (1, 14, 4, 6)
    assert sizes(plan(budget, SLOW, Fixed(least_epochs=50))) == (1, 50, 16, 1)
    assert sizes(plan(budget, SLOW, Fixed(least_epochs=51))) == (1, 81, 27, 0)


@pytest.mark.parametrize(("num_lanes", "capacity", "trials"), [(2, 71, 1), (2, 72, 7), (8, 143, 1), (8, 144, 8)])
def test_search_needs_eight_trainings_in_all_lanes_and_two_one_after_the_other(num_lanes, capacity, trials):
    """In 36 epochs of two lanes, half are 6 trials of 5.25; in 18 of eight, a lane has a trial and then a seed."""
    lanes = Costs(epoch_seconds=1 / MARGIN, num_lanes=num_lanes)
    assert plan(Budget(text="a time", seconds=capacity / num_lanes), lanes).trials == trials


def test_default_alone_and_its_final_seeds_share_the_time_evenly():
    slow = Costs(epoch_seconds=5, start_seconds=28, promotion_seconds=30, seed_seconds=11, final_epoch_ratio=1.2)
    found = plan(parse_budget("8m"), slow, Fixed(least_epochs=20))  # 76.7 - 2 x 2 epochs are 3.4 x 21.4
    assert sizes(found) == (1, 21, 7, 2)


@pytest.mark.parametrize("num_epochs", [96, 200, 500, 972])
def test_budget_holds_8_to_16_trainings_between_the_shortest_and_the_longest(num_epochs):
    found = plan(Budget(text="epochs", epochs=num_epochs), SLOW)
    assert 8 <= num_epochs / found.max_epochs <= 16


def test_few_patients_leave_a_search_only_what_final_seeds_do_not_need():
    few, alone = Fixed(max_epochs=40, num_patients=FEWEST_PATIENTS - 1), Fixed(num_patients=FEWEST_PATIENTS - 1)
    assert sizes(plan(parse_budget("480 epochs"), SLOW, Fixed(max_epochs=40))) == (11, 40, 13, 5)
    assert sizes(plan(parse_budget("480 epochs"), SLOW, few)) == (2, 40, 13, 10)  # 40 epochs are left
    assert sizes(plan(parse_budget("960 epochs"), SLOW, few)) == (23, 40, 13, 10)
    assert sizes(plan(parse_budget("300 epochs"), SLOW, alone)) == (1, 27, 9, 10)
    assert sizes(plan(parse_budget("3000 epochs"), SLOW, alone)) == (45, 81, 27, 10)  # there may be 10 seeds at most
    assert sizes(plan(parse_budget("30m"), replace(SLOW, num_lanes=4), alone)) == (4, 81, 27, 8)  # beside the default
