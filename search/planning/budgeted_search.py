"""Turn a search with a budget into one with ordinary options, and keep it within the budget while it runs."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, median

from search.cluster.capacity.autoscaler import plan_on_cluster
from search.cluster.capacity.lane_plan import LanePlan
from search.cohort import Cohort
from search.config import SearchConfig
from search.console import say
from search.formatting import format_duration
from search.planning.budget import Budget, parse_budget
from search.planning.measuring import MeasuredEpoch, measure_epoch
from search.planning.plan import MARGIN, Costs, Fixed, plan
from search.promotion_options import MAX_MEMBERS
from search.record.events import EpochEnded, read_events
from search.record.files import LOG_FILE
from search.record.trials import TrialRow, best_first

MOST_LANES = 1_000_000
"""A number of trials that limits no number of lanes."""

MEASURING_SHARE = 0.15
"""The most of a budget that measuring may take. It is reached only where the budget holds a few epochs."""

IMPORT_SECONDS = 5.0
"""What the program takes before its clock starts: importing torch and Ray."""

GROUP_SECONDS = 8.0
"""From the end of the measurement to the first batch: the start of the worker group of a lane."""

EXPORT_SECONDS = 25.0
"""What follows the trials whatever the data: Ray stops, Ray starts again, two exports, the report."""

RESCORING_COST = 3.0
"""Cost of scoring a slice for the promotion relative to validating it in training: the slice is read from its file, in
float32, and its mask is resized to the patient's own size."""

CHOICE_PASSES = 8
"""How often the promotion predicts the validation slices to choose how the winner predicts: plainly, and up to three
times with mirror images, which count double; once more for the comparison with the exported model."""

TEST_PASSES = 5
"""The same for the test slices: the test patients and as many training patients, with mirror images; and pictures."""


class Stopwatch:
    """The time that a search has spent since its command began."""

    def __init__(self) -> None:
        self._began = time.monotonic() - IMPORT_SECONDS

    def resume(self, config: SearchConfig) -> None:
        """Count also what an interrupted search had spent when its last epoch ended."""
        events = read_events(config.folder / LOG_FILE)
        spent = [event.metrics.elapsed_seconds or 0.0 for event in events if isinstance(event, EpochEnded)]
        self._began -= max(spent, default=0.0)

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._began


def plan_search(config: SearchConfig, cohort: Cohort, watch: Stopwatch) -> tuple[SearchConfig, LanePlan]:
    """Return the config with the options that follow from its budget, and its lanes.

    A search without a budget keeps its options, and so does one that is resumed: its budget was planned when it began.

    Raises:
        UserError: One trial needs more than the cluster can ever have, or the budget does not hold an epoch.
    """
    if config.budget is None or config.resume:
        return config, plan_on_cluster(config)
    budget, fixed = parse_budget(config.budget), fixed_options(config)
    # The number of trials is not known yet, and must not limit the lanes.
    lanes = plan_on_cluster(config if fixed.trials else replace(config, trials=MOST_LANES))
    measured = None
    if budget.seconds:
        say("Measuring an epoch of the default configuration on these machines.")
        measured = measure_epoch(config, cohort, lanes, at_most_seconds=MEASURING_SHARE * budget.seconds)
    planned = apply_plan(config, budget, find_costs(config, cohort, measured, lanes, watch.seconds), fixed)
    say(describe_plan(planned))
    return planned, replace(lanes, num_lanes=min(lanes.num_lanes, planned.trials))


def fixed_options(config: SearchConfig) -> Fixed:
    """Return the planned options that have another value than their default: those a person has given."""
    fields = SearchConfig.__dataclass_fields__
    names = ("trials", "max_epochs", "grace_period", "reduction_factor")
    given = {name: getattr(config, name) for name in names if getattr(config, name) != fields[name].default}
    return Fixed(
        **given,
        final_seeds=config.promotion.final_seeds or None,
        max_final_seeds=MAX_MEMBERS if len(config.objective) == 1 else 1,
        fold_trainings=fold_trainings(config),
        stops_early=config.scheduler != "none",
    )


def find_costs(
    config: SearchConfig, cohort: Cohort, measured: MeasuredEpoch | None, lanes: LanePlan, spent_seconds: float
) -> Costs:
    """Return what things take on these machines; without a measurement, an epoch is the unit and all else is free."""
    if measured is None:
        return Costs(epoch_seconds=1.0)
    return Costs(
        epoch_seconds=measured.seconds,
        num_lanes=lanes.num_lanes,
        start_seconds=spent_seconds + GROUP_SECONDS,
        promotion_seconds=promotion_seconds(config, cohort, measured.val_seconds),
        seed_seconds=seed_seconds(cohort, measured.val_seconds),
        final_epoch_ratio=final_epoch_ratio(cohort, measured.seconds, measured.val_seconds),
    )


def promotion_seconds(config: SearchConfig, cohort: Cohort, val_seconds: float) -> float:
    """Return about how long all takes that follows the trials, without further trainings.

    Args:
        val_seconds: What validation takes after an epoch.
    """
    passes = config.promotion.candidates + 1 + (CHOICE_PASSES if config.promotion.choose else 1)
    num_slices = passes * cohort.num_slices["val"] + TEST_PASSES * cohort.num_slices["test"]
    return EXPORT_SECONDS + num_slices * _slice_seconds(cohort, val_seconds)


def seed_seconds(cohort: Cohort, val_seconds: float) -> float:
    """Return about how long it takes to score the network of a final seed, and how much longer the scoring of the test
    patients takes because of it."""
    num_slices = cohort.num_slices["val"] + TEST_PASSES * cohort.num_slices["test"]
    return num_slices * _slice_seconds(cohort, val_seconds)


def fold_trainings(config: SearchConfig) -> int:
    """Return the most trainings that a race over the folds can need: all candidates and the default to its end."""
    finalists = config.promotion.candidates + 1 if len(config.objective) == 1 else 1
    return config.promotion.folds * finalists


def final_epoch_ratio(cohort: Cohort, epoch_seconds: float, val_seconds: float) -> float:
    """Return what an epoch of a final training takes, relative to one of a trial.

    The length of an epoch follows from its slices with tumour (data/loaders.py).
    """
    tumour = cohort.num_tumour_slices
    growth = (tumour["train"] + tumour["val"]) / tumour["train"]
    return growth * (epoch_seconds - val_seconds) / epoch_seconds


def _slice_seconds(cohort: Cohort, val_seconds: float) -> float:
    return RESCORING_COST * val_seconds / cohort.num_slices["val"]


def apply_plan(config: SearchConfig, budget: Budget, costs: Costs, fixed: Fixed) -> SearchConfig:
    """Return the config with the options that a budget is enough for; a shorter time budget that was given stays.

    Raises:
        UserError: The budget does not hold an epoch, or not what is fixed.
    """
    found = plan(budget, costs, fixed)
    seconds = [each for each in (found.search_seconds, config.time_budget_seconds) if each is not None]
    return replace(
        config,
        trials=found.trials,
        max_epochs=found.max_epochs,
        grace_period=found.grace_period,
        reduction_factor=found.reduction_factor,
        time_budget_seconds=max(1.0, round(min(seconds), 1)) if seconds else None,
        epoch_seconds=round(costs.epoch_seconds, 3) if budget.seconds else None,
        promotion=replace(config.promotion, final_seeds=found.final_seeds),
    )


def describe_plan(config: SearchConfig) -> str:
    """Return what was measured for a budget, and what follows from it, in one line."""
    search = f"{config.trials} trials of at most {config.max_epochs} epochs"
    if config.trials == 1:
        search = f"one training of {config.max_epochs} epochs"
    seeds = f", then {config.promotion.final_seeds} final seed(s)" if config.promotion.final_seeds else ""
    if config.epoch_seconds is None or config.time_budget_seconds is None:
        return f"The budget of {config.budget} is enough for {search}{seeds}."
    until = format_duration(config.time_budget_seconds)
    return (
        f"An epoch takes {config.epoch_seconds:.1f} s, so the budget of {config.budget} is enough for {search}, until "
        f"{until} after the start{seeds}, scoring and export."
    )


def with_time_left(config: SearchConfig, watch: Stopwatch) -> SearchConfig:
    """Return the config of a search that begins now, with what is left of the time that its budget has for trials.

    So whatever was slower than planned costs trials, and not the end of the command.
    """
    if not _has_clock(config) or config.time_budget_seconds is None:
        return config
    left = config.time_budget_seconds - watch.seconds
    if left < 1:
        say(
            f"The budget of {config.budget} has no time left for trials; "
            "--time-budget-seconds gives more, counted from the start of the first command."
        )
    return replace(config, time_budget_seconds=max(1.0, left))


def with_timely_seeds(
    config: SearchConfig, cohort: Cohort, lanes: LanePlan, rows: Sequence[TrialRow], watch: Stopwatch
) -> SearchConfig:
    """Return the config of a promotion without the final seeds for which no time of the budget is left.

    The length of a training is that of the slowest trial among the candidates, any of which may win.
    """
    wanted, trained = config.promotion, [row for row in best_first(rows) if row.epochs]
    if not _has_clock(config) or not wanted.final_seeds or not trained:
        return config
    budget = parse_budget(config.budget or "")
    assert budget.seconds is not None
    val_seconds = median(epoch.val_seconds or 0.0 for row in trained for epoch in row.epochs)
    slowest = max(fmean(epoch.seconds for epoch in row.epochs) for row in trained[: wanted.candidates])
    training = MARGIN * slowest * config.max_epochs
    final = training * final_epoch_ratio(cohort, slowest, val_seconds)
    left = budget.seconds - watch.seconds - promotion_seconds(config, cohort, val_seconds)
    left -= training * math.ceil(fold_trainings(config) / lanes.num_lanes)
    rounds = int(max(0.0, left) / (final + seed_seconds(cohort, val_seconds)))
    seeds = min(wanted.final_seeds, rounds * lanes.num_lanes)
    if seeds < wanted.final_seeds:
        say(
            f"{wanted.final_seeds - seeds} of {wanted.final_seeds} final seed(s) are left out, because the budget of "
            f"{config.budget} has no time for them; python -m search.promote {config.name} trains them."
        )
    return replace(config, promotion=replace(wanted, final_seeds=seeds))


def _has_clock(config: SearchConfig) -> bool:
    return config.budget is not None and parse_budget(config.budget).seconds is not None
