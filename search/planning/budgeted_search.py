"""Turn a search with a budget into one with ordinary options, and keep it within the budget while it runs."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from data.loaders import num_train_batches
from search.cluster.capacity.autoscaler import plan_on_cluster
from search.cluster.capacity.lane_plan import LanePlan
from search.cohort import Cohort
from search.config import SearchConfig
from search.console import say
from search.planning.budget import Budget, parse_budget
from search.planning.costs import IN_EPOCHS, Costs
from search.planning.deadline import Deadline
from search.planning.estimates import find_costs, measured_in_trials
from search.planning.half_size import FEWEST_STEPS, at_half_size
from search.planning.measuring import measure_epoch
from search.planning.plan import FEWEST_PATIENTS, Fixed, least_epochs, plan
from search.promotion.options import MAX_MEMBERS, Promotion
from search.record.events import EpochEnded, read_events
from search.record.experiment_record import ExperimentRecord, Spent, write_experiment
from search.record.files import LOG_FILE
from search.record.model_metrics import ModelMetrics
from search.record.trials import TrialRow, best_first
from search.space.configs import SHRINKING
from search.storage.working_folder import format_command

PLANNED = ("trials", "max_epochs", "grace_period", "reduction_factor", "final_seeds")
"""The options that follow from a budget where they are not given."""

MOST_LANES = 200
"""The most lanes that a plan counts on, for clusters whose autoscaler could add machines without end."""

MEASURING_SHARE = 0.08
"""The most of a budget that one measurement may take. It is reached only where the budget holds few epochs; then there
may be a second one, at half the size."""

MAX_IMPORT_SECONDS = 20.0
"""The most time that the program is believed to have spent on importing torch and Ray before its clock starts."""

GROUP_SECONDS = 8.0
"""From the end of the measurement to the first batch: the start of the worker group of a lane."""

SHORTEST_FINAL, LONGEST_FINAL = 0.75, 1.5
"""Epochs of a final training, relative to a trial's: a little fewer where all final seeds then fit, or more where time
is left. A schedule of quite another length may need another learning rate."""


class BudgetKeeper:
    """Plans a search with a budget, and knows what is left of the budget. Without a budget, it changes nothing."""

    def __init__(self) -> None:
        self._began = time.monotonic() - min(MAX_IMPORT_SECONDS, time.process_time())
        self._num_lanes = 1

    @property
    def seconds(self) -> float:
        """Seconds since the search began, without the time between an interruption and its resume, and without the time
        that this machine slept, as the monotonic clock has it."""
        return time.monotonic() - self._began

    def resume(self, config: SearchConfig) -> None:
        """Count also what an interrupted search had spent when its last epoch ended."""
        events = read_events(config.folder / LOG_FILE)
        spent = [event.metrics.elapsed_seconds or 0.0 for event in events if isinstance(event, EpochEnded)]
        self._began -= max(spent, default=0.0)

    def plan(self, config: SearchConfig, cohort: Cohort) -> tuple[SearchConfig, LanePlan]:
        """Return the config with the options that follow from its budget, and its lanes.

        A search that is resumed keeps its options: its budget was planned when it began.

        Raises:
            UserError: One trial needs more than the cluster can ever have, or the budget does not hold an epoch.
        """
        if config.budget is None:
            return config, plan_on_cluster(config)
        lanes = plan_on_cluster(replace(config, trials=MOST_LANES))  # the number of trials follows from the lanes
        self._num_lanes = lanes.num_lanes
        if not config.resume:
            budget, costs = parse_budget(config.budget), IN_EPOCHS
            if budget.seconds:
                say("Measuring an epoch of the default configuration on these machines.")
                config, costs = self._measure(config, cohort, lanes, budget.seconds)
            config = apply_plan(config, budget, costs, _fixed(config, cohort))
        return config, replace(lanes, num_lanes=min(lanes.num_lanes, config.trials))

    def _measure(
        self, config: SearchConfig, cohort: Cohort, lanes: LanePlan, seconds: float
    ) -> tuple[SearchConfig, Costs]:
        """Return the config and its measured costs; slices are halved for its networks if steps are few."""

        def measure(config: SearchConfig) -> Costs:
            measured = measure_epoch(config, cohort, lanes, at_most_seconds=MEASURING_SHARE * seconds)
            return find_costs(measured, config, cohort, lanes.num_lanes, self.seconds + GROUP_SECONDS)

        costs = measure(config)
        num_steps = int(costs.length(seconds) * _steps_per_epoch(config, cohort))
        smaller = at_half_size(config) if num_steps < FEWEST_STEPS else None
        if smaller is None:
            return config, costs
        say(
            f"The budget of {config.budget} holds {max(0, num_steps)} steps of the default configuration, which teach "
            f"it little: all networks see slices at half their size. --set {SHRINKING}=1 keeps them whole."
        )
        return smaller, measure(smaller)

    def with_time_left(self, config: SearchConfig) -> SearchConfig:
        """Return the config of a search that begins now, with what is left of the time that its budget has for trials.

        Whatever was slower than planned then costs trials, and the command still ends in time.
        """
        if not _has_clock(config) or config.time_budget_seconds is None:
            return config
        left = config.time_budget_seconds - self.seconds
        if left < 1:
            say(
                f"The budget of {config.budget} has no time left for trials; "
                "--time-budget-seconds gives more, counted from the start of the first command."
            )
        return replace(config, time_budget_seconds=max(1.0, left))

    def with_final_seeds(self, config: SearchConfig, cohort: Cohort, rows: Sequence[TrialRow]) -> SearchConfig:
        """Return the config of a promotion with as many final seeds as the rest of the budget is enough for.

        They may be more than planned if the trials ended early, but never more than were given.
        """
        wanted, trained = config.promotion, [row for row in best_first(rows) if row.epochs]
        if config.budget is None or not trained:
            return config
        budget = parse_budget(config.budget)
        if budget.seconds:
            costs = self._costs(config, cohort, trained)
        else:
            costs = replace(IN_EPOCHS, start_seconds=sum(len(row.epochs) for row in rows))
        folds = _fold_trainings(config, min(len(trained), wanted.candidates + 1))
        left = costs.length(budget.amount) - costs.rounds(folds) * config.max_epochs
        most = wanted.final_seeds if "final_seeds" in config.given else _max_final_seeds(config)
        least = _least_epochs(config, cohort)
        found = _final_trainings(wanted, config.max_epochs, least, costs, left, most)
        if found.final_seeds != wanted.final_seeds:
            command = format_command("search.promote", config.folder, "--final-seeds", "N")
            say(
                f"The budget of {config.budget} is now enough for {found.final_seeds} final seed(s) instead of "
                f"{wanted.final_seeds}; {command} trains N."
            )
        return replace(config, promotion=found)

    def last_start(self, config: SearchConfig, cohort: Cohort, rows: Sequence[TrialRow]) -> Deadline | None:
        """Return the moment until which a final training can begin and end within the budget.

        It is None without a budget of time or without final seeds.
        """
        wanted, trained = config.promotion, [row for row in best_first(rows) if row.epochs]
        if config.budget is None or not (wanted.final_seeds and trained):
            return None
        seconds = parse_budget(config.budget).seconds
        if seconds is None:
            return None
        costs, epochs = self._costs(config, cohort, trained), wanted.final_epochs or config.max_epochs
        final_seconds = costs.seconds_from_last_start(wanted.final_seeds, epochs)
        return Deadline.after(seconds - self.seconds - final_seconds)

    def record(self, config: SearchConfig, experiment: ExperimentRecord, metrics: ModelMetrics) -> None:
        """Write into config.json what the search has spent, at the end of its promotion."""
        num_seeds = config.promotion.final_seeds - (len(metrics.final.not_begun) if metrics.final else 0)
        spent = Spent(seconds=round(self.seconds, 1), final_seeds=num_seeds)
        write_experiment(config.folder, replace(experiment, spent=spent))

    def _costs(self, config: SearchConfig, cohort: Cohort, trained: Sequence[TrialRow]) -> Costs:
        """Return what things take after the trials, by what their epochs took."""
        return find_costs(measured_in_trials(config, trained), config, cohort, self._num_lanes, self.seconds)


def fixed_options(config: SearchConfig) -> Fixed:
    """Return the planned options that were given: those of `given`, and those with another value than their default."""
    values = {name: getattr(config, name) for name in PLANNED[:-1]} | {"final_seeds": config.promotion.final_seeds}
    defaults = {name: getattr(SearchConfig, name) for name in PLANNED[:-1]} | {"final_seeds": 0}
    fixed = {name: value for name, value in values.items() if name in config.given or value != defaults[name]}
    return Fixed(
        **fixed,
        max_final_seeds=_max_final_seeds(config),
        final_epochs=config.promotion.final_epochs,
        fold_trainings=_fold_trainings(config, config.promotion.candidates + 1),
        stops_early=config.scheduler != "none",
    )


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
        given=tuple(sorted(name for name in PLANNED if getattr(fixed, name) is not None)),
        promotion=replace(config.promotion, final_seeds=found.final_seeds),
    )


def _fixed(config: SearchConfig, cohort: Cohort) -> Fixed:
    """Return what a person has decided, and what follows from the patients."""
    num_patients = len(cohort.val_patients) + (len(cohort.train_patients) if config.promotion.folds else 0)
    if len(config.objective) > 1 or config.promotion.ties == "best":
        num_patients = FEWEST_PATIENTS  # a winner need not be clearly better
    return replace(fixed_options(config), least_epochs=_least_epochs(config, cohort), num_patients=num_patients)


def _least_epochs(config: SearchConfig, cohort: Cohort) -> int:
    return least_epochs(_steps_per_epoch(config, cohort))


def _steps_per_epoch(config: SearchConfig, cohort: Cohort) -> int:
    return num_train_batches(cohort.train_pack, batch_size=config.batch_size)


def _final_trainings(wanted: Promotion, max_epochs: int, least: int, costs: Costs, left: float, most: int) -> Promotion:
    """Return the promotion with final trainings that fill the length which is left.

    There are as many seeds as planned if they fit with a somewhat shorter schedule, and more if the whole one fits.

    Args:
        least: The fewest epochs of a schedule.
        most: The most final seeds.
    """
    epochs = wanted.final_epochs or max_epochs
    shortest = epochs if wanted.final_epochs else min(epochs, max(least, math.ceil(SHORTEST_FINAL * epochs)))
    planned = min(wanted.final_seeds, costs.seeds_in(left, shortest, most))
    seeds = max(planned, costs.seeds_in(left, epochs, most))
    if seeds and not wanted.final_epochs:
        epochs = min(costs.epochs_of_seeds(seeds, left), int(LONGEST_FINAL * max_epochs))
        wanted = replace(wanted, final_epochs=None if epochs == max_epochs else epochs)
    return replace(wanted, final_seeds=seeds)


def _fold_trainings(config: SearchConfig, num_finalists: int) -> int:
    """Return the most trainings that a race over the folds can need: every finalist to its end.

    The finalists are the candidates and the default; with several objectives, only the winner is trained in folds.
    """
    return config.promotion.folds * (num_finalists if len(config.objective) == 1 else 1)


def _max_final_seeds(config: SearchConfig) -> int:
    return 1 if len(config.objective) > 1 else MAX_MEMBERS


def _has_clock(config: SearchConfig) -> bool:
    return config.budget is not None and parse_budget(config.budget).seconds is not None
