"""Ray Tune, wired: lanes that stay warm, and a coordinator that says what they train."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ray
from ray import tune

from data.pack import Pack
from search import warm_start
from search.adapter import LaneWatch, LegScheduler, LegSearcher
from search.checkpoints import Checkpoints
from search.config import SearchConfig
from search.coordinator import Coordinator
from search.lane import Lane
from search.lanes import Lanes
from search.places import open_places
from search.recorder import Recorder, say
from search.schedulers import SCHEDULERS
from search.searcher import OptunaSearcher
from search.space import SPACES
from search.tracking import make_tracker
from search.trials import TrialRow, read_rows
from search.worker_group import GroupConfig

logger = logging.getLogger(__name__)

TABLE_FILE = "trials.jsonl"
LOG_FILE = "events.jsonl"
STUDY_FILE = "optuna_journal.log"
RAY_FOLDER = "ray"

INTERRUPTED = "interrupted"

STOP_SECONDS = 8.0
"""How long Tune may take to let its lanes go after Ctrl-C."""

RAY_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same everywhere
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the table is ours; Tune's CSV, JSON and TensorBoard files cost time
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours too: it ends in a table and a promoted model
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",  # a lane in the middle of an epoch is not waited for
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # its own state is written at the end alone: nothing is resumed from it
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a lost leg is one line of ours
    "RAY_AIR_NEW_OUTPUT": "0",
}


class StopRequest(tune.Stopper):
    """Ends the whole search when a person or the clock says so."""

    def __init__(self, time_budget_seconds: float | None) -> None:
        self._deadline = None if time_budget_seconds is None else time.monotonic() + time_budget_seconds
        self._interrupted = False  # no threading.Event: Tune pickles its stoppers

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.reason is not None

    @property
    def reason(self) -> str | None:
        """Why the search ends early; None if it does not."""
        if self._interrupted:
            return INTERRUPTED
        if self._deadline is not None and time.monotonic() > self._deadline:
            return "time budget spent"
        return None

    def interrupt(self) -> None:
        self._interrupted = True


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Connect to the cluster that RAY_ADDRESS names, or start Ray on this machine, and let go of it in the end.

    Raises:
        ValueError: There is no cluster at RAY_ADDRESS.
    """
    os.environ.update(RAY_SETTINGS)
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # it counts lost legs as trials that failed
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=None if address else False,
            runtime_env={"env_vars": RAY_SETTINGS},
        )
    except ConnectionError as error:
        raise ValueError(f"RAY_ADDRESS is {address!r}, but no Ray cluster answers there: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def run_trials(config: SearchConfig, lanes: Lanes, train_pack: Pack, val_pack: Pack) -> list[TrialRow]:
    """Return the table of trials after the search has ended, by itself, by time, or by Ctrl-C.

    Where the experiment's folder has a log already, the search goes on from there.
    """
    trainable = _trainable(config, lanes, train_pack, val_pack)
    return run_search(config, trainable, num_lanes=lanes.num_lanes, lanes=lanes)


def run_search(config: SearchConfig, trainable: Any, *, num_lanes: int, lanes: Lanes | None = None) -> list[TrialRow]:
    """Return the table of trials that a trainable trained, one leg at a time in each lane.

    Args:
        num_lanes: How many there are, at first.
        lanes: What one needs, for a number that follows the cluster's size; None: the number stays.
    """
    folder = config.folder.resolve()
    checkpoints = Checkpoints(folder / RAY_FOLDER)
    recorder = Recorder(folder / TABLE_FILE, checkpoints, config.trials, config.objective)
    coordinator = _open_coordinator(config, recorder, checkpoints)
    places = open_places(config, lanes, recorder.say) if lanes else None
    stop = StopRequest(config.time_budget_seconds)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=LegSearcher(coordinator, checkpoints, checkpoints_gb=config.checkpoints_gb, places=places),
            scheduler=LegScheduler(coordinator, recorder),
            num_samples=-1,  # the coordinator says when it is over
            max_concurrent_trials=config.trials if places else num_lanes,
            reuse_actors=True,
            trial_name_creator=_leg_name,
            trial_dirname_creator=_leg_name,
        ),
        run_config=tune.RunConfig(
            name=RAY_FOLDER,
            storage_path=str(folder),
            callbacks=[LaneWatch(recorder, checkpoints)],
            stop=stop,
            # What is kept, search.checkpoints decides: told to, Tune would write its whole state after every epoch.
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
            verbose=0,
        ),
    )
    if not coordinator.is_finished:
        with _interrupts(stop):
            tuner.fit()
    coordinator.stop(stop.reason)
    return read_rows(folder / TABLE_FILE)


def _open_coordinator(config: SearchConfig, recorder: Recorder, checkpoints: Checkpoints) -> Coordinator:
    """Return a new search's coordinator, or that of the log in the experiment's folder as its writer left it."""
    folder = config.folder.resolve()
    # The study and the table are written anew from the log, so that it does not matter where their writer was killed.
    for derived in (folder / TABLE_FILE, folder / STUDY_FILE):
        derived.unlink(missing_ok=True)
    earlier, first = warm_start.load(folder)
    searcher = OptunaSearcher(
        SPACES[config.space],
        sampler=config.searcher,
        seed=config.seed,
        num_trials=config.trials,
        max_epochs=config.max_epochs,
        objectives=config.objective,
        study=folder / STUDY_FILE,
        name=config.name,
        first=first,
        earlier=earlier,
    )
    coordinator = Coordinator(
        searcher,
        SCHEDULERS[config.scheduler](config.budget()),
        num_trials=config.trials,
        listener=recorder,
        objectives=config.objective,
        max_failures=config.max_failures,
        log=folder / LOG_FILE,
    )
    if (folder / LOG_FILE).exists():
        with recorder.quietly():
            coordinator.read_back(checkpoints.last_epoch)
        recorder.go_on(coordinator.trials)
    return coordinator


def _trainable(config: SearchConfig, lanes: Lanes, train_pack: Pack, val_pack: Pack) -> Any:
    group = GroupConfig(
        num_workers=lanes.num_workers,
        worker_resources=lanes.worker_resources(),
        packs=(ray.put(train_pack), ray.put(val_pack)),
        storage=str(config.folder.resolve() / RAY_FOLDER / "groups"),
    )
    lane = tune.with_parameters(
        Lane,
        group=group,
        fixed=replace(config.fixed(train_pack.num_channels), loader_processes=lanes.loader_processes),
        tracker=make_tracker(
            config.tracking, project=config.project, group=config.name, folder=config.folder.resolve()
        ),
    )
    lane = tune.with_resources(lane, tune.PlacementGroupFactory([lanes.actor_resources()]))
    lane.__qualname__ = Lane.__qualname__  # what `ps` and Ray's dashboard show, instead of the wrapper's name
    return lane


def _leg_name(trial: Any) -> str:
    return trial.config["leg"]


@contextmanager
def _interrupts(stop: StopRequest) -> Iterator[None]:
    """Turn Ctrl-C, or a polite kill, into a request to stop, and swallow what is left of the search after a while.

    A signal to the whole process group ends Ray's own daemons too, and then Tune would never return.
    """

    gave_up = False

    def handle(signum: int, frame: Any) -> None:
        if stop.reason == INTERRUPTED:
            raise KeyboardInterrupt
        say("Stopping: the table is written and the best so far is promoted. Ctrl-C again ends at once.")
        stop.interrupt()
        signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS, 1.0)  # and again, where Ray swallows it

    def give_up(signum: int, frame: Any) -> None:
        nonlocal gave_up
        gave_up = True
        raise _StopTookTooLong

    if threading.current_thread() is not threading.main_thread():  # Python has signals in the main thread only
        yield
        return
    handlers = {signal.SIGINT: handle, signal.SIGTERM: handle, signal.SIGALRM: give_up}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    except BaseException:  # Ray's compiled code turns _StopTookTooLong into whatever it was doing
        if not gave_up:
            raise
        logger.warning("Ray did not stop within %.0f seconds; the search ends without it", STOP_SECONDS)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in before.items():
            signal.signal(number, handler)


class _StopTookTooLong(BaseException):
    """Not an Exception, so that nothing on the way up takes it for a failed trial."""
