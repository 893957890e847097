"""A search with a budget: what becomes of its options, and how many final seeds there is time for."""

import time
from dataclasses import replace

import pytest

from data.errors import UserError
from data.preprocess import Preprocessing
from search.cluster.capacity.lane_plan import LanePlan
from search.config import SearchConfig
from search.experiment import create_experiment, recorded_config
from search.planning import budgeted_search
from search.planning.budget import parse_budget
from search.planning.budgeted_search import (
    PLANNED,
    BudgetKeeper,
    _final_trainings,
    apply_plan,
    fixed_options,
)
from search.planning.costs import IN_EPOCHS, Costs
from search.planning.estimates import final_epoch_ratio, find_costs
from search.planning.measuring import MeasuredEpoch
from search.planning.plan import Fixed
from search.promotion.options import Promotion
from search.record.epochs import EpochMetrics
from search.record.events import Begin, EpochEnded, append_event
from search.record.experiment_record import Spent, WarmStart, read_experiment
from search.record.files import LOG_FILE
from search.record.final_training import FinalTraining
from search.record.trials import TrialRow
from tests.support.fakes import model_metrics, small_cohort, trial_row

COHORT = small_cohort()
NO_MORE_SLICES = replace(COHORT, num_tumour_slices=COHORT.num_tumour_slices | {"val": 0})
"""Validation patients without tumour: then an epoch of a final training has as many slices as one of a trial."""

LANES = LanePlan(num_lanes=1, num_workers=1, cpus_per_worker=1, gpus_per_worker=0.0)
SLOW = Costs(epoch_seconds=5, start_seconds=28, promotion_seconds=30)
PLANNED_CONFIG = SearchConfig(
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


class Keeper(BudgetKeeper):
    """A keeper on so many lanes that has spent what it is told."""

    def __init__(self, seconds: float, num_lanes: int = 1) -> None:
        self._seconds, self._num_lanes = seconds, num_lanes

    @property
    def seconds(self) -> float:
        return self._seconds


def apply(config: SearchConfig, costs: Costs = SLOW) -> SearchConfig:
    assert config.budget is not None
    return apply_plan(config, parse_budget(config.budget), costs, fixed_options(config))


def trained_for(seconds: float) -> TrialRow:
    """Return a trial with epochs of this length, without validation."""
    epochs = tuple(EpochMetrics(epoch=epoch, val_dice=0.5, seconds=seconds, val_seconds=0.0) for epoch in (1, 2))
    return trial_row(0, [], epochs=epochs)


def test_plan_becomes_ordinary_options():
    assert apply(SearchConfig(name="mine", budget="30m")) == PLANNED_CONFIG


def test_plan_of_epochs_sets_no_clock():
    found = apply(SearchConfig(budget="500 epochs"))
    assert (found.trials, found.max_epochs, found.promotion.final_seeds) == (11, 41, 5)
    assert (found.time_budget_seconds, found.epoch_seconds) == (None, None)


def test_plan_gives_one_final_seed_at_most_to_a_search_with_several_objectives():
    config = apply(SearchConfig(budget="8h", objective=("val_dice", "latency_ms")))
    assert config.promotion.final_seeds == 1
    assert apply(SearchConfig(budget="8h")).promotion.final_seeds == 10


def test_epoch_of_a_final_training_has_more_slices_and_no_validation():
    cohort = replace(COHORT, num_tumour_slices={"train": 60, "val": 20, "test": 20})
    assert final_epoch_ratio(MeasuredEpoch(seconds=5.0, val_seconds=0.5), cohort) == pytest.approx(4.5 * 80 / 60 / 5)


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


def test_option_that_was_given_its_default_is_fixed():
    assert fixed_options(SearchConfig(given=PLANNED)) == Fixed(
        trials=8, max_epochs=9, reduction_factor=2, final_seeds=0
    )
    found = apply(SearchConfig(budget="30m", given=("trials", "final_seeds")))
    assert (found.trials, found.promotion.final_seeds, found.given) == (8, 0, ("final_seeds", "trials"))
    assert apply(SearchConfig(budget="30m", trials=5)).given == ("trials",)


def test_shorter_time_budget_beside_a_budget_stays():
    assert apply(SearchConfig(budget="30m", time_budget_seconds=600)).time_budget_seconds == 600
    assert apply(SearchConfig(budget="30m", time_budget_seconds=6000)).time_budget_seconds == 1055


def test_rung_beyond_the_planned_schedule_is_refused():
    said = r"^grace_period is 20, but must be at most max_epochs, which is 10 with a budget of 60 epochs$"
    with pytest.raises(UserError, match=said):
        apply(SearchConfig(budget="60 epochs", grace_period=20))
    assert apply(SearchConfig(budget="2000 epochs", grace_period=20)).grace_period == 20


def test_costs_are_those_of_the_measured_epoch():
    config, measured = SearchConfig(budget="30m", workers_per_trial=2), MeasuredEpoch(seconds=5.0, val_seconds=1.0)
    found = find_costs(measured, config, COHORT, 3, 20.0)
    assert (found.epoch_seconds, found.num_lanes, found.num_workers, found.start_seconds) == (2.5, 3, 2, 20.0)
    faster = find_costs(replace(measured, val_seconds=0.5), config, COHORT, 3, 20.0)
    assert found.promotion_seconds > faster.promotion_seconds > 0
    assert found.seed_seconds == 2 * faster.seed_seconds > 0


@pytest.mark.parametrize(("budget", "num_measured"), [("30m", 1), ("108 epochs", 0), (None, 0)])
def test_epoch_is_measured_for_a_budget_of_time_only(monkeypatch, budget, num_measured):
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
    planned, lanes = BudgetKeeper().plan(config, COHORT)
    assert measurements == [0.08 * 1800] * num_measured
    assert lanes.num_lanes == min(40, planned.trials)
    assert (planned == config) == (budget is None)
    assert lanes_for == [200 if budget else config.trials]


@pytest.mark.parametrize(
    ("options", "seconds", "downscale"),
    [
        ({}, 1.0, 2),  # 10 epochs of one step at full size
        ({}, 0.01, None),
        ({"fixed": ("downscale=1",)}, 1.0, 1),
        ({"preprocessing": Preprocessing(size=64)}, 1.0, None),  # too small for a network of depth 5 to halve
    ],
)
def test_networks_see_slices_at_half_their_size_where_a_budget_holds_few_steps(
    monkeypatch, capsys, options, seconds, downscale
):
    def measure_epoch(config, cohort, lanes, *, at_most_seconds):
        is_half = config.search_space.constants.get("downscale") == 2
        return MeasuredEpoch(seconds=seconds / (4 if is_half else 1), val_seconds=0.001)

    monkeypatch.setattr(budgeted_search, "measure_epoch", measure_epoch)
    monkeypatch.setattr(budgeted_search, "plan_on_cluster", lambda config: LANES)
    planned, _ = Keeper(20.0).plan(SearchConfig(budget="80s", **options), COHORT)
    assert planned.search_space.constants.get("downscale") == downscale
    is_said = "see slices at half their size. --set downscale=1 keeps them whole" in capsys.readouterr().out
    assert is_said == (downscale == 2)
    assert planned.epoch_seconds == seconds / (4 if downscale == 2 else 1)


def test_resumed_search_keeps_its_plan(monkeypatch):
    monkeypatch.setattr(budgeted_search, "plan_on_cluster", lambda config: LANES)
    resumed = replace(PLANNED_CONFIG, resume="mine")
    assert BudgetKeeper().plan(resumed, COHORT) == (resumed, LANES)


def test_trials_have_the_time_that_is_left_of_their_share(capsys):
    assert Keeper(100.0).with_time_left(PLANNED_CONFIG) == replace(PLANNED_CONFIG, time_budget_seconds=955.0)
    assert capsys.readouterr().out == ""
    assert Keeper(5000.0).with_time_left(PLANNED_CONFIG).time_budget_seconds == 1.0
    assert "The budget of 30m has no time left for trials; --time-budget-seconds gives more" in capsys.readouterr().out


@pytest.mark.parametrize(
    "config",
    [SearchConfig(), SearchConfig(time_budget_seconds=60), SearchConfig(budget="9 epochs", time_budget_seconds=60)],
)
def test_time_without_a_budget_of_time_counts_from_the_first_trial(config):
    assert Keeper(30.0).with_time_left(config) is config


@pytest.mark.parametrize(
    ("spent", "lanes", "seconds", "seeds", "epochs"),
    [
        (1000, 1, 5.0, 5, 28),  # a training takes 26 x 5.5 = 143 s, and the promotion 25 s; 775 s are 5 x 28.2 epochs
        (1300, 1, 5.0, 3, 28),
        (1300, 2, 5.0, 6, 28),
        (200, 1, 5.0, 10, 28),
        (1000, 1, 15.0, 1, 39),  # 46.9 epochs are left, but a half more than those of a trial are enough
        (1656, 1, 5.0, 0, None),
        (9999, 1, 5.0, 0, None),
    ],
)
def test_final_trainings_fill_the_time_that_is_left(capsys, spent, lanes, seconds, seeds, epochs):
    found = Keeper(spent, lanes).with_final_seeds(PLANNED_CONFIG, NO_MORE_SLICES, [trained_for(seconds)])
    assert found == replace(PLANNED_CONFIG, promotion=Promotion(final_seeds=seeds, final_epochs=epochs))
    said = f"The budget of 30m is now enough for {seeds} final seed(s) instead of 5; python -m search.promote mine "
    assert (said in capsys.readouterr().out) == (seeds != 5)


@pytest.mark.parametrize(
    ("wanted", "least", "left", "seeds", "epochs"),
    [
        (Promotion(final_seeds=5), 9, 105.0, 5, 21),
        (Promotion(final_seeds=5), 9, 99.0, 4, 24),  # five would have 19 epochs, fewer than three quarters of 26
        (Promotion(final_seeds=5), 25, 105.0, 4, None),
        (Promotion(final_seeds=5), 9, 130.0, 5, None),
        (Promotion(final_seeds=1), 9, 51.0, 1, 39),
        (Promotion(final_seeds=1), 9, 52.0, 2, None),
        (Promotion(final_seeds=5, final_epochs=30), 9, 149.0, 4, 30),
    ],
)
def test_planned_final_seeds_are_kept_with_a_somewhat_shorter_schedule(wanted, least, left, seeds, epochs):
    found = _final_trainings(wanted, 26, least, IN_EPOCHS, left, most=10)
    assert found == replace(wanted, final_seeds=seeds, final_epochs=epochs)


@pytest.mark.parametrize(("given", "spent", "seeds"), [(3, 100, 3), (3, 1500, 1), (0, 100, 0)])
def test_final_seeds_are_never_more_than_were_given(given, spent, seeds):
    config = replace(PLANNED_CONFIG, given=("final_seeds",), promotion=Promotion(final_seeds=given))
    found = Keeper(spent).with_final_seeds(config, NO_MORE_SLICES, [trained_for(5.0)])
    assert found.promotion.final_seeds == seeds


def test_final_seed_of_several_objectives_is_one():
    config = replace(PLANNED_CONFIG, objective=("val_dice", "million_parameters"), promotion=Promotion())
    assert Keeper(100).with_final_seeds(config, NO_MORE_SLICES, [trained_for(5.0)]).promotion.final_seeds == 1


def test_folds_are_trained_before_final_seeds_are_counted():
    config = replace(PLANNED_CONFIG, promotion=Promotion(final_seeds=5, folds=3))
    assert Keeper(1000).with_final_seeds(config, NO_MORE_SLICES, [trained_for(5.0)]).promotion.final_seeds == 2


def test_final_seeds_of_a_budget_of_epochs_are_those_that_are_left():
    config = replace(PLANNED_CONFIG, budget="30 epochs", max_epochs=9, time_budget_seconds=None, epoch_seconds=None)
    assert Keeper(9999).with_final_seeds(config, NO_MORE_SLICES, [trained_for(5.0)]).promotion.final_seeds == 3


def test_final_seeds_stay_without_a_budget_or_without_a_trial():
    for config, rows in ((replace(PLANNED_CONFIG, budget=None), [trained_for(5.0)]), (PLANNED_CONFIG, [])):
        assert Keeper(9999).with_final_seeds(config, COHORT, rows) is config


def test_last_final_training_begins_in_time_to_end_within_the_budget():
    config = replace(PLANNED_CONFIG, promotion=Promotion(final_seeds=5, final_epochs=28))
    last, now = Keeper(1000).last_start(config, NO_MORE_SLICES, [trained_for(5.0)]), time.monotonic()
    assert last is not None
    assert last.monotonic - now == pytest.approx(800 - 25 - 28 * 5.0, abs=5)


@pytest.mark.parametrize(
    "config",
    [
        replace(PLANNED_CONFIG, budget=None),
        replace(PLANNED_CONFIG, budget="500 epochs"),
        replace(PLANNED_CONFIG, promotion=Promotion()),
    ],
    ids=["no budget", "epochs", "no final seed"],
)
def test_final_trainings_begin_at_any_time(config):
    assert Keeper(1000).last_start(config, NO_MORE_SLICES, [trained_for(5.0)]) is None


def test_resumed_search_counts_what_it_had_spent(tmp_path):
    config = replace(PLANNED_CONFIG, out=tmp_path)
    config.folder.mkdir()
    append_event(config.folder / LOG_FILE, Begin(number=0, sample={}))
    for epoch, elapsed in ((1, 100.0), (2, 200.0)):
        metrics = EpochMetrics(epoch=epoch, val_dice=0.5, elapsed_seconds=elapsed)
        append_event(config.folder / LOG_FILE, EpochEnded(number=0, metrics=metrics, finished=False, failure=None))
    keeper = BudgetKeeper()
    before = keeper.seconds
    keeper.resume(config)
    assert 200 <= keeper.seconds - before < 201


def test_what_was_spent_is_recorded_beside_the_plan(tmp_path):
    config = replace(PLANNED_CONFIG, out=tmp_path)
    config.folder.mkdir()
    experiment = create_experiment(config, COHORT, LANES, WarmStart())
    final = FinalTraining(num_patients=9, epochs=26, networks=("a", "b"), left_out=("c", "d"), not_begun=("d",))
    Keeper(1791.23).record(config, experiment, model_metrics(final=final))
    found = read_experiment(config.folder)
    assert found.spent == Spent(seconds=1791.2, final_seeds=4)
    assert recorded_config(config.folder) == config
