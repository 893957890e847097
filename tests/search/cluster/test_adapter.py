"""The coordinator as Tune sees it, without Tune: legs that wait, checkpoints that make room, a driver that dies."""

import itertools
import json
import math
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayTaskError
from ray.tune.search import Searcher

from search.cluster import lane_watch
from search.cluster.adapter import LegScheduler, LegSearcher
from search.cluster.capacity.draining import Preempted
from search.cluster.capacity.machines import UnfitMachine
from search.cluster.group.messages import LEG, LaneReport, LegConfig
from search.cluster.lane_watch import LaneWatch
from search.cluster.stop_request import StopRequest
from search.coordination.checkpoints import METRICS_FILE, STATE_FILE, Checkpoints
from search.coordination.coordinator import Coordinator
from search.coordination.recorder import Recorder
from search.record.epochs import EpochMetrics
from search.record.trials import INTERRUPTED, State, read_rows
from search.scheduling.scheduler import SchedulerRequest
from search.scheduling.schedulers import SCHEDULERS
from search.screen.clock import Clock
from search.space.named import CORE
from search.suggestion.searcher import OptunaSearcher

NUM_TRIALS = 12
CHECKPOINT_BYTES = 1_000_000


def worst_first(number: int, epoch: int) -> float:
    return number / 100 + epoch / 1000


def suggest(searcher: LegSearcher, name: str) -> LegConfig:
    """Return the leg that a searcher suggests."""
    config = searcher.suggest(name)
    assert isinstance(config, dict)
    return config[LEG]


def train_leg(coordinator: Coordinator, folder: Path, leg: LegConfig) -> int:
    """Train a leg to its end in no time; return its trial's number."""
    number = leg.number
    last = json.loads((Path(leg.checkpoint).parent / METRICS_FILE).read_text())["epoch"] if leg.checkpoint else 0
    for epoch in itertools.count(last + 1):
        metrics = {"epoch": epoch, "val_dice": worst_first(number, epoch), "seconds": 1.0, "elapsed_seconds": 1.0}
        goes_on = coordinator.report(number, EpochMetrics.from_json(metrics), finished=epoch == 9, failure=None)
        write_checkpoint(folder / leg.folder / f"checkpoint_{epoch:06d}", metrics)
        if not goes_on:
            return number
    raise AssertionError("it trains for ever")


def write_checkpoint(checkpoint: Path, metrics: dict | None) -> None:
    """Write what a lane writes; without metrics, what one has written that was killed meanwhile."""
    checkpoint.mkdir(parents=True)
    (checkpoint / STATE_FILE).write_bytes(bytes(CHECKPOINT_BYTES))
    if metrics:
        (checkpoint / METRICS_FILE).write_text(json.dumps(metrics))


def make_coordinator(
    tmp_path: Path, checkpoints: Checkpoints, *, trials: int = NUM_TRIALS, scheduler: str = "asha", **options: Any
) -> Coordinator:
    request = SchedulerRequest(num_trials=trials, max_epochs=9, grace_period=1, reduction_factor=3)
    return Coordinator(
        OptunaSearcher(CORE, sampler="random", seed=0, num_trials=trials, max_epochs=9),
        SCHEDULERS[scheduler].make(request),
        num_trials=trials,
        listener=Recorder(tmp_path / "trials.jsonl", checkpoints),
        **options,
    )


class FakeCapacity:
    """Room for this many lanes, and what the search said of itself."""

    def __init__(self, num_lanes: int) -> None:
        self.num_lanes = num_lanes
        self.asked: list[dict[str, int]] = []

    def has_room(self, **search: int) -> bool:
        self.asked.append(search)
        return search["num_busy"] < self.num_lanes


def make_searcher(tmp_path: Path, **options: Any) -> LegSearcher:
    checkpoints = Checkpoints(tmp_path / "ray")
    return LegSearcher(make_coordinator(tmp_path, checkpoints), checkpoints, checkpoints_gb=None, **options)


def test_legs_wait_for_room_and_interrupted_trials_are_counted(tmp_path):
    capacity = FakeCapacity(1)
    searcher = make_searcher(tmp_path, capacity=capacity)
    assert suggest(searcher, "a").number == 0
    assert searcher.suggest("b") is None
    searcher.on_trial_complete("a", error=True)
    capacity.num_lanes = 0
    assert searcher.suggest("b") is None
    busy = [tuple(asked.values()) for asked in capacity.asked]
    assert busy == [(0, 0, 0), (1, 1, 0), (0, 1, 1)]


def test_a_search_that_waits_for_room_ends_when_it_is_asked_to(tmp_path):
    stop = StopRequest(None)
    searcher = make_searcher(tmp_path, capacity=FakeCapacity(0), stop=stop)
    assert searcher.suggest("a") is None
    stop.interrupt()
    assert searcher.suggest("a") == Searcher.FINISHED


def test_a_machine_that_cannot_take_part_ends_the_search_and_is_no_loss(tmp_path):
    stop, checkpoints = StopRequest(None), Checkpoints(tmp_path / "ray")
    coordinator = make_coordinator(tmp_path, checkpoints)
    leg = suggest(LegSearcher(coordinator, checkpoints, checkpoints_gb=None, stop=stop), "a")
    trial = ended_by(tmp_path, UnfitMachine("not installed on 10.0.0.7"), leg)
    LegScheduler(coordinator, Clock(), stop=stop).on_trial_error(None, trial)
    assert coordinator.trials[leg.number].num_losses == 0
    with pytest.raises(UnfitMachine, match=r"not installed on 10\.0\.0\.7"):
        stop.raise_failure()


def test_a_search_whose_log_cannot_be_written_ends_and_writes_nothing_more(tmp_path):
    log, stop, checkpoints = tmp_path / "events.jsonl", StopRequest(None), Checkpoints(tmp_path / "ray")
    log.symlink_to("/dev/full")
    coordinator = make_coordinator(tmp_path, checkpoints, log=log)
    searcher = LegSearcher(coordinator, checkpoints, checkpoints_gb=None, stop=stop)
    assert searcher.suggest("a") == Searcher.FINISHED
    assert stop.stop_all()
    assert stop.failure is not None
    assert str(stop.failure).startswith(f"{log} could not be written: the disk has no room for it")
    log.unlink()
    assert searcher.suggest("b") == Searcher.FINISHED
    assert not log.exists(), "an event after a lost one would make the log wrong"


def test_room_is_looked_for_while_tune_asks_for_no_leg(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(lane_watch, "describe_waiting_groups", list)
    screen: Any = SimpleNamespace(say=print)
    watch = LaneWatch(screen, Checkpoints(tmp_path / "ray"), tmp_path, lambda: looks.append(1))
    watch.on_step_begin(0, [])
    watch.on_step_begin(1, [])
    assert looks == [1], "not once a second"


@pytest.mark.parametrize("num_checkpoints", [0, 6, 100])
def test_the_worst_paused_trials_and_no_more_make_room_for_checkpoints(tmp_path, num_checkpoints):
    checkpoints = Checkpoints(tmp_path / "ray")
    coordinator = make_coordinator(tmp_path, checkpoints)
    cap = num_checkpoints * (CHECKPOINT_BYTES + 1000)
    searcher = LegSearcher(coordinator, checkpoints, checkpoints_gb=cap / 1e9)
    for count in itertools.count():
        known = [dice for trial in coordinator.trials.values() for dice in trial.dices.values()]
        config = searcher.suggest(f"leg {count}")
        if config == Searcher.FINISHED:
            break
        assert isinstance(config, dict)
        assert config[LEG].best_dice == max(known, default=-math.inf)
        number = train_leg(coordinator, tmp_path / "ray", config[LEG])
        checkpoints.tidy(number, keep_newest=True)
        searcher.on_trial_complete(f"leg {count}")
        paused = [trial for trial in coordinator.trials.values() if trial.phase == "paused"]
        assert checkpoints.total_bytes <= cap or not paused
    coordinator.stop(None)
    rows = read_rows(tmp_path / "trials.jsonl")
    made_room = [row for row in rows if "(checkpoints_gb)" in (row.error or "")]
    assert len(rows) == NUM_TRIALS
    assert all(row.state == State.PRUNED for row in made_room)
    assert bool(made_room) == (num_checkpoints < 100)
    others = [row.best_dice for row in rows if row not in made_room]
    if num_checkpoints:
        assert max((row.best_dice for row in made_room), default=0) < max(others)


def open_search(tmp_path: Path) -> tuple[Coordinator, LegSearcher]:
    """Return a search of one trial, as a driver begins it, or goes on with it."""
    checkpoints = Checkpoints(tmp_path / "ray")
    log = tmp_path / "events.jsonl"
    coordinator = make_coordinator(tmp_path, checkpoints, trials=1, scheduler="none", max_failures=0, log=log)
    if log.exists():
        (tmp_path / "trials.jsonl").unlink(missing_ok=True)  # as search.cluster.engine does
        coordinator.restore(checkpoints.last_epoch)
    return coordinator, LegSearcher(coordinator, checkpoints, checkpoints_gb=None)


def preempted(tmp_path: Path) -> SimpleNamespace:
    """Return Tune's trial whose lane left its node."""
    leg = LegConfig(number=0, sample={}, folder="t000-1", checkpoint=None, best_dice=0.0)
    return ended_by(tmp_path, Preempted("leaves 10.0.0.7"), leg)


def ended_by(tmp_path: Path, cause: Exception, leg: LegConfig) -> SimpleNamespace:
    """Return Tune's trial of a leg that an exception in its lane has ended."""
    file = tmp_path / "error.pkl"
    file.write_bytes(pickle.dumps(RayTaskError("step", "", cause)))
    return SimpleNamespace(config={LEG: leg}, pickled_error_file=str(file), error_file=None)


@pytest.mark.parametrize("is_interrupted", [False, True])
@pytest.mark.parametrize("died", ["while it was saved", "before the driver knew", "before its next leg", "in it"])
def test_a_search_that_ends_right_after_a_notice_resumes_from_the_saved_batch(tmp_path, died, is_interrupted):
    coordinator, searcher = open_search(tmp_path)
    leg = tmp_path / "ray" / suggest(searcher, "a").folder
    first = {"epoch": 1, "val_dice": 0.5, "seconds": 1.0, "elapsed_seconds": 1.0}
    coordinator.report(0, EpochMetrics.from_json(first), finished=False, failure=None)
    write_checkpoint(leg / "checkpoint_000000", first)
    is_saved = died != "while it was saved"
    write_checkpoint(leg / "checkpoint_000001", {"epoch": 1, "num_batches": 5} if is_saved else None)
    if died in ("before its next leg", "in it"):
        LegScheduler(coordinator, Clock()).on_trial_error(None, preempted(tmp_path))
        searcher.on_trial_complete("a", error=True)
    if died == "in it":
        assert suggest(searcher, "b").number == 0
    if is_interrupted:
        coordinator.stop(INTERRUPTED)
        [row] = read_rows(tmp_path / "trials.jsonl")
        assert (row.state, row.error, len(row.epochs)) == (State.PRUNED, INTERRUPTED, 1)

    coordinator, searcher = open_search(tmp_path)
    again = suggest(searcher, "c")
    assert again.checkpoint == str(leg / f"checkpoint_{is_saved:06d}" / STATE_FILE)
    assert again.folder != leg.name
    train_leg(coordinator, tmp_path / "ray", again)
    searcher.on_trial_complete("c")
    assert searcher.suggest("d") == Searcher.FINISHED
    [row] = read_rows(tmp_path / "trials.jsonl")
    assert (row.state, row.error, [epoch.epoch for epoch in row.epochs]) == (State.COMPLETE, None, [*range(1, 10)])
    assert coordinator.trials[0].num_losses == 0


def test_slices_are_kept_before_listeners_are_told_of_their_epoch():
    told: list[tuple] = []

    def report(number: int, epoch: EpochMetrics, **outcome: Any) -> bool:
        told.append(("epoch", number, epoch.epoch))
        return True

    coordinator: Any = SimpleNamespace(report=report)
    clock: Any = SimpleNamespace(elapsed_seconds=1.0)
    scheduler = LegScheduler(coordinator, clock, lambda *slices: told.append(slices))
    leg = LegConfig(number=3, sample={}, folder="t003-1", checkpoint=None, best_dice=0.0)
    trial = SimpleNamespace(config={LEG: leg})
    report_2 = LaneReport(metrics=EpochMetrics(epoch=2), finished=False)
    scheduler.on_trial_result(None, trial, replace(report_2, slices=b"packed").to_result())
    scheduler.on_trial_result(None, trial, report_2.to_result())
    assert told == [(3, 2, b"packed"), ("epoch", 3, 2), ("epoch", 3, 2)]
