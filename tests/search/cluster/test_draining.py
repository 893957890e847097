"""Draining nodes: how often Ray is asked, and what a lane does and says when it must leave."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import RayTaskError

from search.cluster.adapter import LegScheduler
from search.cluster.capacity.draining import LOOK_SECONDS, DrainWatch, Preempted
from search.cluster.group import lane as lane_module
from search.cluster.group.lane import Lane
from search.cluster.group.messages import LEG, Halt, LegConfig, Report
from search.cluster.group.worker_group import GroupConfig, WorkerGroup
from search.cluster.lane_watch import LaneWatch
from search.config import SearchConfig
from search.coordination.checkpoints import METRICS_FILE, STATE_FILE, Checkpoints
from search.screen.clock import Clock
from search.storage.storage_path import StoragePath, local_path
from tests.support.fakes import SAMPLE
from tests.support.ray_internals import StorageContext


class FakeTime:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_watch_asks_ray_at_once_and_then_once_a_second():
    clock, looks = FakeTime(), []

    def look() -> list[str]:
        looks.append(clock.now)
        return ["b"] if len(looks) > 1 else []

    watch = DrainWatch(look, clock)
    assert [watch.find({"a", "b"}) for _ in range(100)] == [None] * 100
    assert len(looks) == 1
    clock.now += LOOK_SECONDS
    assert watch.find({"a", "b"}) == "b"
    assert watch.find({"a"}) is None
    assert len(looks) == 2


class Group(WorkerGroup):
    """Workers on two nodes: their replies, in order, and what they were asked for."""

    def __init__(self, *replies: Report | Halt, fails_to_save: bool = False) -> None:
        self.nodes, self.changed = {"here", "there"}, ()
        self.replies = list(replies)
        self.asked: list[str] = []
        self.fails_to_save = fails_to_save
        self.takes = True

    def start(self, trial: Any) -> None:
        self.asked.append("start")

    def step(self, *, timeout_seconds: float, must_halt: Callable[[], bool] = lambda: False) -> Report | Halt:
        self.asked.append("step")
        must_halt()
        return self.replies.pop(0)

    def save(self, file: StoragePath, *, timeout_seconds: float) -> bool:
        if self.fails_to_save:
            raise OSError("the disk is full")
        self.asked.append("save")
        file.write_bytes(b"state")
        return self.takes

    def end(self, *, timeout_seconds: float = 10.0) -> None:
        self.asked.append("end")


@pytest.fixture
def draining(monkeypatch) -> set[str]:
    """The nodes that drain."""
    draining: set[str] = set()
    monkeypatch.setattr(lane_module, "DrainWatch", lambda: DrainWatch(lambda: draining, FakeTime()))
    monkeypatch.setattr(lane_module, "address_of", {"here": "10.0.0.7", "there": "10.0.0.8"}.get)
    return draining


class Storage(StorageContext):
    @property
    def trial_working_directory(self) -> str:  # the original asks a running Ray
        return "/tmp"


def leg_3(**changes: Any) -> LegConfig:
    """Return the config of a leg of trial 3."""
    return replace(LegConfig(number=3, sample={}, folder="t003-1", checkpoint=None, best_dice=0.0), **changes)


def open_lane(tmp_path: Path, group: Group, *, checkpoint: Path | None = None) -> Any:
    """Return a lane with these workers, into which tests look."""
    group_config = GroupConfig(
        num_workers=1,
        worker_resources={"CPU": 1.0},
        packs=(ray.ObjectRef.nil(), ray.ObjectRef.nil()),
        storage=str(tmp_path),
        checkpoints=local_path(tmp_path / "ray"),
        program="",
    )

    class WithGroup(Lane):
        def setup(self, config: dict[str, LegConfig], **_: Any) -> None:
            shared = SearchConfig(trials=1).shared_settings(3)
            super().setup(config, group=group_config, shared_settings=shared, wants_slices=False)

        def _start_group(self) -> Group:
            self._group = group
            return group

    sample = SAMPLE | {"dropout": 0.1, "bce_weight": 0.5}
    leg = leg_3(sample=sample, checkpoint=None if checkpoint is None else str(checkpoint))
    return WithGroup(
        {LEG: leg}, storage=Storage(storage_path=str(tmp_path), experiment_dir_name="ray", trial_dir_name="t003-1")
    )


def newest_of(checkpoints: Checkpoints) -> Path:
    newest = checkpoints.newest(3)
    assert newest is not None
    return Path(newest)


def report(epoch: int) -> Report:
    return Report(metrics={"epoch": epoch, "val_dice": 0.5}, finished=False, failure=None)


def test_lane_saves_the_epoch_under_way_and_leaves(tmp_path, draining):
    lane = open_lane(tmp_path, Group(report(1), Halt(epoch=1, num_batches=40)))
    lane.train()
    lane.save()
    with pytest.raises(Preempted) as left:
        run_while(draining, "there", lane)
    expected = "leaves 10.0.0.8, which will be reclaimed; it continues after batch 40 of epoch 2 elsewhere"
    assert str(left.value) == expected
    checkpoints = Checkpoints(tmp_path / "ray")
    newest = newest_of(checkpoints)
    assert newest.read_bytes() == b"state"
    metrics = json.loads(newest.with_name(METRICS_FILE).read_text())
    assert (metrics["epoch"], metrics["num_batches"], len(metrics["history"])) == (1, 40, 1)
    assert checkpoints.best(3) == tmp_path / "ray" / "t003-1" / "checkpoint_000000" / STATE_FILE
    lane.cleanup()


def run_while(draining: set[str], node: str, lane: Any) -> None:
    """Take one step, during which a node begins to drain."""
    step = lane._group.step

    def late(**arguments: Any) -> Report | Halt:
        draining.add(node)
        lane._watch._next_look = -1.0
        return step(**arguments)

    lane._group.step = late
    lane.train()


def test_lane_saves_the_first_epoch_under_way_too(tmp_path, draining):
    lane = open_lane(tmp_path, Group(Halt(epoch=0, num_batches=2)))
    with pytest.raises(Preempted, match=r"it continues after batch 2 of epoch 1 elsewhere$"):
        run_while(draining, "here", lane)
    newest = newest_of(Checkpoints(tmp_path / "ray"))
    assert json.loads(newest.with_name(METRICS_FILE).read_text()) == {"epoch": 0, "num_batches": 2, "history": []}


def test_lane_on_a_draining_node_leaves_before_it_trains(tmp_path, draining):
    draining.add("here")
    group = Group()
    with pytest.raises(Preempted, match=r"^leaves 10.0.0.7, which will be reclaimed; it continues elsewhere$"):
        open_lane(tmp_path, group).train()
    assert group.asked == []
    assert Checkpoints(tmp_path / "ray").newest(3) is None


def test_lane_whose_node_drains_between_two_epochs_leaves_before_the_next(tmp_path, draining):
    group = Group(report(1))
    lane = open_lane(tmp_path, group)
    run_while(draining, "here", lane)  # too late for this epoch
    lane.save()
    with pytest.raises(Preempted, match=r"it continues after epoch 1 elsewhere$"):
        lane.train()
    assert group.asked == ["start", "step", "save"]


def test_lane_halted_before_any_batch_keeps_the_checkpoint_that_there_is(tmp_path, draining):
    group = Group(report(1), Halt(epoch=1, num_batches=0))
    lane = open_lane(tmp_path, group)
    lane.train()
    with pytest.raises(Preempted, match=r"it continues after epoch 1 elsewhere$"):
        run_while(draining, "here", lane)
    assert "save" not in group.asked


def test_lane_that_cannot_save_leaves_anyway_and_says_so(tmp_path, draining):
    lane = open_lane(tmp_path, Group(Halt(epoch=0, num_batches=2), fails_to_save=True))
    with pytest.raises(
        Preempted, match=r"continues \(later state could not be saved: OSError: the disk is full\) elsewhere"
    ):
        run_while(draining, "here", lane)
    assert Checkpoints(tmp_path / "ray").newest(3) is None


def test_lane_whose_bucket_accepts_nothing_leaves_and_says_so(tmp_path, draining):
    group = Group(report(1), Halt(epoch=1, num_batches=2))
    lane = open_lane(tmp_path, group)
    lane.train()
    group.takes = False
    words = r"after epoch 1 \(later state could not be saved: .*accepts nothing\) elsewhere"
    with pytest.raises(Preempted, match=words):
        run_while(draining, "here", lane)


class Told:
    """A coordinator and a screen that remember what they are told."""

    def __init__(self) -> None:
        self.lost: list[tuple[int, str]] = []
        self.said: list[str] = []

    def lose(self, number: int, error: str) -> None:
        self.lost.append((number, error))

    def say(self, line: str) -> None:
        self.said.append(line)


@pytest.mark.parametrize(
    ("cause", "is_loss"),
    [
        (Preempted("leaves 10.0.0.7, which will be reclaimed; it continues elsewhere"), False),
        (RuntimeError("broken"), True),
    ],
)
def test_a_preempted_leg_is_no_loss_and_is_told_in_one_line(tmp_path, cause, is_loss):
    error = RayTaskError("step", "Traceback ...", cause)
    files = tmp_path / "error.pkl", tmp_path / "error.txt"
    files[0].write_bytes(pickle.dumps(error))
    files[1].write_text("RuntimeError: broken")
    trial = SimpleNamespace(config={LEG: leg_3()}, pickled_error_file=str(files[0]), error_file=str(files[1]))
    told: Any = Told()
    LegScheduler(told, Clock()).on_trial_error(None, trial)
    LaneWatch(told, Checkpoints(tmp_path / "ray"), tmp_path).on_trial_error(0, [], trial)
    assert told.lost == ([(3, "RuntimeError: broken")] if is_loss else [])
    assert told.said == ([] if is_loss else [f"t003 {cause}"])


def test_a_leg_that_ended_without_a_word_is_a_loss(tmp_path):
    trial = SimpleNamespace(config={LEG: leg_3()}, pickled_error_file=None, error_file=str(tmp_path / "none"))
    told: Any = Told()
    LegScheduler(told, Clock()).on_trial_error(None, trial)
    assert told.lost == [(3, "lost without a message")]
