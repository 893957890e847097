"""A search with a budget: what becomes of its options, and what is left out when it is late."""

from dataclasses import replace

import pytest

from data.errors import UserError
from search.cluster.capacity.lane_plan import LanePlan
from search.config import SearchConfig
from search.planning import budgeted_search
from search.planning.budget import parse_budget
from search.planning.budgeted_search import (
    Stopwatch,
    apply_plan,
    describe_plan,
    final_epoch_ratio,
    find_costs,
    fixed_options,
    plan_search,
    promotion_seconds,
    with_time_left,
    with_timely_seeds,
)
from search.planning.measuring import MeasuredEpoch
from search.planning.plan import Costs, Fixed
from search.promotion_options import Promotion
from search.record.epochs import EpochMetrics
from search.record.events import Begin, EpochEnded, append_event
from search.record.files import LOG_FILE
from tests.support.fakes import small_cohort, trial_row

COHORT = small_cohort()
NO_MORE_SLICES = replace(COHORT, num_tumour_slices=COHORT.num_tumour_slices | {"val": 0})
"""Validation patients without tumour: then an epoch of a final training has as many slices as one of a trial."""

LANES = LanePlan(num_lanes=1, num_workers=1, cpus_per_worker=1, gpus_per_worker=0.0)
SLOW = Costs(epoch_seconds=5, start_seconds=28, promotion_seconds=30)
PLANNED = SearchConfig(
    name="mine",
    budget="30m",
    epoch_seconds=5.0,
    trials=11,
    max_epochs=26,
    grace_period=8,
    reduction_factor=2,
    time_budget_seconds=1055.0,
    promotion=Promotion(final_seeds=5),
)


class Watch(Stopwatch):
    """A stopwatch that shows what it is told."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @property
    def seconds(self) -> float:
        return self._seconds


def apply(config: SearchConfig, costs: Costs = SLOW) -> SearchConfig:
    assert config.budget is not None
    return apply_plan(config, parse_budget(config.budget), costs, fixed_options(config))


def test_plan_becomes_ordinary_options():
    assert apply(SearchConfig(name="mine", budget="30m")) == PLANNED


def test_plan_of_epochs_sets_no_clock():
    found = apply(SearchConfig(budget="500 epochs"))
    assert (found.trials, found.max_epochs, found.promotion.final_seeds) == (11, 41, 5)
    assert (found.time_budget_seconds, found.epoch_seconds) == (None, None)


def test_plan_gives_one_final_seed_at_most_to_a_search_with_several_objectives():
    config = apply(SearchConfig(budget="8h", objective=("val_dice", "latency_ms")))
    assert config.promotion.final_seeds == 1
    assert apply(SearchConfig(budget="8h")).promotion.final_seeds == 10


def test_option_with_another_value_than_its_default_is_fixed():
    assert fixed_options(SearchConfig()) == Fixed()
    config = SearchConfig(
        trials=5, max_epochs=30, grace_period=4, reduction_factor=4, scheduler="none", promotion=Promotion(folds=2)
    )
    assert fixed_options(config) == Fixed(
        trials=5, max_epochs=30, grace_period=4, reduction_factor=4, fold_trainings=8, stops_early=False
    )
    assert fixed_options(SearchConfig(promotion=Promotion(final_seeds=3))) == Fixed(final_seeds=3)
    assert apply(SearchConfig(budget="30m", trials=5)).trials == 5


def test_shorter_time_budget_beside_a_budget_stays():
    assert apply(SearchConfig(budget="30m", time_budget_seconds=600)).time_budget_seconds == 600
    assert apply(SearchConfig(budget="30m", time_budget_seconds=6000)).time_budget_seconds == 1055


def test_rung_beyond_the_planned_schedule_is_refused():
    with pytest.raises(UserError, match=r"^grace_period is 20, but must be at most max_epochs \(9\)$"):
        apply_plan(SearchConfig(budget="60 epochs"), parse_budget("60 epochs"), SLOW, Fixed(grace_period=20))


def test_description_says_what_was_measured_and_what_follows():
    assert describe_plan(PLANNED) == (
        "An epoch takes 5.0 s, so the budget of 30m is enough for 11 trials of at most 26 epochs, until 17 min 35 s "
        "after the start, then 5 final seed(s), scoring and export."
    )
    assert describe_plan(apply(SearchConfig(budget="20 epochs"))) == (
        "The budget of 20 epochs is enough for one training of 20 epochs."
    )


def test_costs_are_in_seconds_where_an_epoch_was_measured_and_in_epochs_where_not():
    config, measured = SearchConfig(budget="30m"), MeasuredEpoch(seconds=5.0, val_seconds=1.0)
    found = find_costs(config, COHORT, measured, LANES, 20.0)
    assert (found.epoch_seconds, found.num_lanes) == (5.0, 1)
    assert found.start_seconds > 20
    assert found.promotion_seconds == promotion_seconds(config, COHORT, 1.0) > promotion_seconds(config, COHORT, 0.5)
    assert find_costs(config, COHORT, None, LANES, 20.0) == Costs(epoch_seconds=1.0)


@pytest.mark.parametrize(("budget", "num_measured"), [("30m", 1), ("108 epochs", 0), (None, 0)])
def test_epoch_is_measured_for_a_budget_of_time_only(monkeypatch, capsys, budget, num_measured):
    measurements, lanes_for = [], []

    def measure_epoch(config, cohort, lanes, *, at_most_seconds):
        measurements.append(at_most_seconds)
        return MeasuredEpoch(seconds=1.0, val_seconds=0.1)

    def plan_on_cluster(config):
        lanes_for.append(config.trials)
        return replace(LANES, num_lanes=min(40, config.trials))

    monkeypatch.setattr(budgeted_search, "measure_epoch", measure_epoch)
    monkeypatch.setattr(budgeted_search, "plan_on_cluster", plan_on_cluster)
    config = SearchConfig(budget=budget)
    planned, lanes = plan_search(config, COHORT, Watch(20.0))
    assert len(measurements) == num_measured
    assert lanes.num_lanes == min(40, planned.trials)
    assert (planned == config) == (budget is None)
    assert ("is enough for" in capsys.readouterr().out) == (budget is not None)
    assert lanes_for[0] >= planned.trials


def test_resumed_search_keeps_its_plan(monkeypatch):
    monkeypatch.setattr(budgeted_search, "plan_on_cluster", lambda config: LANES)
    resumed = replace(PLANNED, resume="mine")
    assert plan_search(resumed, COHORT, Watch(20.0)) == (resumed, LANES)


def test_trials_have_the_time_that_is_left_of_their_share(capsys):
    assert with_time_left(PLANNED, Watch(100.0)) == replace(PLANNED, time_budget_seconds=955.0)
    assert capsys.readouterr().out == ""
    assert with_time_left(PLANNED, Watch(5000.0)).time_budget_seconds == 1.0
    assert "The budget of 30m has no time left for trials; --time-budget-seconds gives more" in capsys.readouterr().out


@pytest.mark.parametrize(
    "config",
    [SearchConfig(), SearchConfig(time_budget_seconds=60), SearchConfig(budget="9 epochs", time_budget_seconds=60)],
)
def test_time_without_a_budget_of_time_counts_from_the_first_trial(config):
    assert with_time_left(config, Watch(30.0)) is config


@pytest.mark.parametrize(
    ("spent", "lanes", "seeds"), [(1000, 1, 5), (1300, 1, 3), (1300, 2, 5), (1700, 1, 0), (9999, 1, 0)]
)
def test_final_seeds_without_time_are_left_out(capsys, spent, lanes, seeds):
    epochs = tuple(EpochMetrics(epoch=epoch, val_dice=0.5, seconds=5.0, val_seconds=0.0) for epoch in (1, 2))
    found = with_timely_seeds(
        PLANNED, NO_MORE_SLICES, replace(LANES, num_lanes=lanes), [trial_row(0, [], epochs=epochs)], Watch(spent)
    )  # a training takes 26 x 5.5 = 143 s, and the promotion 25 s
    assert found == replace(PLANNED, promotion=Promotion(final_seeds=seeds))
    said = f"{5 - seeds} of 5 final seed(s) are left out, because the budget of 30m has no time for them"
    assert (said in capsys.readouterr().out) == (seeds < 5)


def test_epoch_of_a_final_training_has_more_slices_and_no_validation():
    cohort = replace(COHORT, num_tumour_slices={"train": 60, "val": 20, "test": 20})
    assert final_epoch_ratio(cohort, 5.0, 0.5) == pytest.approx(4.5 * 80 / 60 / 5.0)


def test_final_seeds_of_a_slower_winner_are_fewer():
    slow = tuple(EpochMetrics(epoch=epoch, val_dice=0.5, seconds=15.0, val_seconds=0.0) for epoch in (1, 2))
    found = with_timely_seeds(PLANNED, NO_MORE_SLICES, LANES, [trial_row(0, [], epochs=slow)], Watch(1000))
    assert found.promotion.final_seeds == 1


def test_final_seeds_stay_without_a_clock_or_without_a_trial():
    for config, rows in ((SearchConfig(budget="9 epochs"), [trial_row(0, [0.5])]), (PLANNED, [])):
        assert with_timely_seeds(config, COHORT, LANES, rows, Watch(9999)) == config


def test_stopwatch_of_a_resumed_search_counts_what_it_had_spent(tmp_path):
    config = replace(PLANNED, out=tmp_path)
    config.folder.mkdir()
    append_event(config.folder / LOG_FILE, Begin(number=0, sample={}))
    for epoch, elapsed in ((1, 100.0), (2, 200.0)):
        metrics = EpochMetrics(epoch=epoch, val_dice=0.5, elapsed_seconds=elapsed)
        append_event(config.folder / LOG_FILE, EpochEnded(number=0, metrics=metrics, finished=False, failure=None))
    watch = Stopwatch()
    before = watch.seconds
    watch.resume(config)
    assert 200 <= watch.seconds - before < 201
