"""Run a search on Ray Tune, with lanes that stay warm and a coordinator that decides what they train."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune

from data.packing.pack import Pack
from search import warm_start
from search.cluster.adapter import LegScheduler, LegSearcher, leg_config
from search.cluster.capacity.lane_capacity import open_lane_capacity
from search.cluster.capacity.lane_plan import LanePlan
from search.cluster.capacity.machines import fingerprint
from search.cluster.capacity.node_usage import avoid_spot_selector
from search.cluster.daemons import watch_daemons
from search.cluster.group.lane import Lane
from search.cluster.group.worker_group import GroupConfig
from search.cluster.lane_watch import LaneWatch
from search.cluster.stop_request import StopRequest, stop_on_signals
from search.config import SearchConfig
from search.console import say
from search.coordination.checkpoints import Checkpoints
from search.coordination.coordinator import Coordinator
from search.coordination.listener import Listeners
from search.coordination.missing_epochs import log_missing_epochs
from search.coordination.recorder import Recorder
from search.coordination.trial_progress import Phase
from search.record.experiment_record import WarmStart
from search.record.files import LOG_FILE, RAY_FOLDER, STUDY_FILE, TABLE_FILE
from search.record.trials import TrialRow, read_rows
from search.scheduling.scheduler import Scheduler
from search.scheduling.schedulers import SCHEDULERS
from search.screen.board import Board
from search.screen.clock import Clock
from search.screen.eta import Plan
from search.screen.lines import Lines
from search.screen.live import open_screen
from search.space.configs import SharedSettings
from search.storage.folder_remover import FolderRemover
from search.storage.working_folder import storage_path_of
from search.suggestion.expectation import parse_expectations
from search.suggestion.searcher import OptunaSearcher
from search.tracking.kept_slices import keep_slices
from search.tracking.outage import noted_outage
from search.tracking.sweep import where_runs_are
from search.tracking.tracker import NoTracker, Tracker, open_tracker


def run_trials(
    config: SearchConfig, lanes: LanePlan, train_pack: Pack, val_pack: Pack, *, logs: Path | None = None
) -> list[TrialRow]:
    """Return the table of trials after the search has ended, or was ended by its time budget or Ctrl-C.

    If the experiment's folder has a log, the search resumes from it.

    Args:
        logs: The folder of Ray's log files, from which the end of a lost worker's log is kept.

    Raises:
        DiskError: A file of the experiment cannot be written. The search has ended, and can be resumed.
    """
    shared = replace(config.shared_settings(train_pack.num_channels), loader_processes=lanes.loader_processes)
    with _watch_daemons(config):
        tracker = open_tracker(config)
        if config.tracking == "online" and not noted_outage(config.folder):
            for line in where_runs_are(config.folder):
                say(f"W&B: {line}")
        trainable = _trainable(config, lanes, (train_pack, val_pack), shared, wants_slices=tracker.wants_slices)
    return run_search(config, trainable, num_lanes=lanes.num_lanes, lanes=lanes, logs=logs, tracker=tracker)


def run_search(
    config: SearchConfig,
    trainable: Any,
    *,
    num_lanes: int,
    lanes: LanePlan | None = None,
    logs: Path | None = None,
    tracker: Tracker | None = None,
) -> list[TrialRow]:
    """Return the table of trials that a trainable has trained, one leg at a time in each lane.

    Args:
        num_lanes: How many lanes there are at first.
        lanes: What a lane books, so that the number of lanes can follow the cluster; None: the number stays the same.
        logs: The folder of Ray's log files, from which the end of a lost worker's log is kept.
        tracker: Sends the trials to W&B or TensorBoard, and is closed at the end; None: they are not tracked.
    """
    tracker = tracker or NoTracker()
    folder, clock, remover = config.folder.resolve(), Clock(), FolderRemover()
    checkpoints = Checkpoints(storage_path_of(folder) / RAY_FOLDER, remove=remover.remove)
    scheduler = SCHEDULERS[config.scheduler].make(config.scheduler_request())
    screen = _open_screen(config, scheduler, clock, num_lanes=num_lanes, lanes=lanes)
    recorder = Recorder(folder / TABLE_FILE, checkpoints, config.objective, config.default_trial, logs=logs)
    coordinator = _open_coordinator(config, scheduler, recorder, screen, clock, checkpoints, tracker)
    capacity = open_lane_capacity(config, lanes, screen.on_lanes) if lanes else None
    stop = _stop_request(config, coordinator)
    searcher = LegSearcher(coordinator, checkpoints, checkpoints_gb=config.checkpoints_gb, capacity=capacity, stop=stop)
    watch = LaneWatch(screen, checkpoints, folder, searcher.has_room, stop.keep)
    if not coordinator.is_finished:
        legs = LegScheduler(coordinator, clock, partial(keep_slices, folder), stop)
        tune_config = _tune_config(searcher, legs, max_legs=config.trials if capacity else num_lanes)
        with screen.watched(), stop_on_signals(stop), _watch_daemons(config, lambda: stop.reason):
            stop.guard(tune.Tuner(trainable, tune_config=tune_config, run_config=_run_config(folder, watch, stop)).fit)
    stop.guard(lambda: coordinator.stop(stop.reason))
    tracker.close()
    watch.say_outage()
    remover.end()
    stop.raise_failure()
    _say_what_is_unfinished(coordinator, screen, stop, name=config.name)
    return read_rows(folder / TABLE_FILE)


def _watch_daemons(
    config: SearchConfig, is_ending: Callable[[], object] = lambda: False
) -> AbstractContextManager[None]:
    return watch_daemons(f"--resume {config.name} continues it", is_ending=is_ending)


def _open_screen(
    config: SearchConfig, scheduler: Scheduler, clock: Clock, *, num_lanes: int, lanes: LanePlan | None
) -> Lines:
    plan = Plan(
        num_trials=config.trials,
        max_epochs=config.max_epochs,
        num_lanes=num_lanes,
        objectives=config.objective,
        default_trial=config.default_trial,
    )
    board = Board(plan, scheduler, clock, time_budget_seconds=config.time_budget_seconds)
    return open_screen(board, config.folder.resolve(), lanes.describe if lanes else None)


def _stop_request(config: SearchConfig, coordinator: Coordinator) -> StopRequest:
    """Return what ends the search early; one that is resumed may have a checkpoint already."""
    has_checkpoint = any(trial.epochs for trial in coordinator.trials.values())
    return StopRequest(config.time_budget_seconds, has_checkpoint=has_checkpoint)


def _tune_config(searcher: LegSearcher, scheduler: LegScheduler, *, max_legs: int) -> tune.TuneConfig:
    return tune.TuneConfig(
        search_alg=searcher,
        scheduler=scheduler,
        num_samples=-1,  # the coordinator decides when the search is finished
        max_concurrent_trials=max_legs,
        reuse_actors=True,
        trial_name_creator=_leg_name,
        trial_dirname_creator=_leg_name,
    )


def _run_config(folder: Path, watch: LaneWatch, stop: StopRequest) -> tune.RunConfig:
    # Where a full disk does not take Tune's own state, from which nothing is resumed, Tune would print a traceback.
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)
    return tune.RunConfig(
        name=RAY_FOLDER,
        storage_path=str(folder),
        callbacks=[watch],
        stop=stop,
        # Every epoch has a checkpoint; search.coordination.checkpoints decides which ones are kept.
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
        verbose=0,
    )


def _say_what_is_unfinished(coordinator: Coordinator, screen: Lines, stop: StopRequest, *, name: str) -> None:
    if num_unfinished := sum(trial.phase != Phase.ENDED for trial in coordinator.trials.values()):
        screen.say(f"{stop.reason}: {num_unfinished} trials did not finish, and continue with --resume {name}")


def _open_coordinator(
    config: SearchConfig,
    scheduler: Scheduler,
    recorder: Recorder,
    screen: Lines,
    clock: Clock,
    checkpoints: Checkpoints,
    tracker: Tracker,
) -> Coordinator:
    """Return the coordinator of a new search, or the one that the log in the experiment's folder describes."""
    folder = config.folder.resolve()
    # Table and study are written again from the log, so it does not matter how a killed process left them.
    for derived in (folder / TABLE_FILE, folder / STUDY_FILE):
        derived.unlink(missing_ok=True)
    known = warm_start.load(folder)
    coordinator = Coordinator(
        _open_searcher(config, known, folder),
        scheduler,
        num_trials=config.trials,
        listener=Listeners(recorder, screen, tracker),
        objectives=config.objective,
        max_failures=config.max_failures,
        log=folder / LOG_FILE,
    )
    log_missing_epochs(folder / LOG_FILE, checkpoints)
    if (folder / LOG_FILE).exists():
        with screen.quietly():
            coordinator.restore(checkpoints.last_epoch)
        clock.restore(coordinator.trials.values())
        recorder.restore(coordinator.trials.values())
        screen.restore(coordinator.trials)
    return coordinator


def _open_searcher(config: SearchConfig, known: WarmStart, folder: Path) -> OptunaSearcher:
    return OptunaSearcher(
        config.search_space,
        sampler=config.searcher,
        seed=config.seed,
        num_trials=config.trials,
        max_epochs=config.max_epochs,
        objectives=config.objective,
        study=folder / STUDY_FILE,
        name=config.name,
        first=known.first,
        earlier=warm_start.observations(known),
        expected={**config.search_space.expected, **parse_expectations(config.prior, config.search_space)},
    )


def _trainable(
    config: SearchConfig, lanes: LanePlan, packs: tuple[Pack, Pack], shared: SharedSettings, *, wants_slices: bool
) -> Any:
    group = GroupConfig(
        num_workers=lanes.num_workers,
        worker_resources=lanes.worker_resources(),
        packs=(ray.put(packs[0]), ray.put(packs[1])),
        storage=str(config.folder.resolve() / RAY_FOLDER / "groups"),
        checkpoints=storage_path_of(config.folder.resolve()) / RAY_FOLDER,
        program=fingerprint(),
    )
    lane = tune.with_parameters(Lane, group=group, shared_settings=shared, wants_slices=wants_slices)
    selector = None if lanes.num_workers == 1 else avoid_spot_selector()
    place = tune.PlacementGroupFactory([lanes.actor_resources()], bundle_label_selector=selector)
    lane = tune.with_resources(lane, place)
    lane.__qualname__ = Lane.__qualname__  # shown by `ps` and Ray's dashboard, instead of the wrapper's name
    return lane


def _leg_name(trial: Any) -> str:
    return leg_config(trial).folder
