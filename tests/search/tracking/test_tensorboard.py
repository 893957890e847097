"""A trial in TensorBoard's files, read back."""

import pickle
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue] (generated code)

from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.tracking import tensorboard
from search.tracking.tensorboard import TensorBoardTracker
from tests.support.tracked import EPOCHS, SAMPLE, progress, track, tracking


def read_events(folder: Path) -> list[Event]:
    """Return the events of a folder: records of a length, its checksum, the content, its checksum."""
    events = []
    for file in sorted(folder.glob("events.*")):
        content, place = file.read_bytes(), 0
        while place < len(content):
            [length] = struct.unpack_from("<Q", content, place)
            events.append(Event.FromString(content[place + 12 : place + 12 + length]))
            place += length + 16
    return events


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for event in read_events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


@pytest.fixture
def tracker(tmp_path) -> TensorBoardTracker:
    return TensorBoardTracker(tracking(tmp_path, "tensorboard"))


def test_every_metric_of_every_epoch_is_there(tmp_path, tracker):
    track(tracker, 3, state=State.PRUNED, error="interrupted")
    found = scalars(tmp_path / "tensorboard" / "t003")
    for name in ("val_dice", "val_iou", "train_loss", "peak_memory_mb"):
        assert found[name] == [(epoch.epoch, pytest.approx(epoch.value(name))) for epoch in EPOCHS]
    assert found["best_val_dice"][0][1] == 0.625
    written = b"".join(event.SerializeToString() for event in read_events(tmp_path / "tensorboard" / "t003"))
    assert b"PRUNED interrupted" in written
    assert all(name.encode() in written for name in SAMPLE)


def test_trial_of_a_resumed_search_has_every_epoch_once(tmp_path, tracker):
    track(tracker, 3, EPOCHS[:2], State.PRUNED, "interrupted")
    track(TensorBoardTracker(tracking(tmp_path, "tensorboard")), 3, EPOCHS[2:], before=EPOCHS[:2])
    found = scalars(tmp_path / "tensorboard" / "t003")
    assert [step for step, _ in found["val_dice"]] == [1, 2, 3]


def test_epoch_that_is_done_again_after_a_loss_is_there_once(tmp_path, tracker):
    again = replace(EPOCHS[1], val_dice=0.75)
    track(tracker, 3, [*EPOCHS[:2], again, EPOCHS[2]])
    assert scalars(tmp_path / "tensorboard" / "t003")["val_dice"] == [(1, 0.25), (2, 0.75), (3, 0.5)]


def test_trials_that_take_turns_have_every_epoch_once(tmp_path, tracker, monkeypatch):
    monkeypatch.setattr(tensorboard, "MOST_OPEN", 1)
    trials = [progress(number) for number in (0, 1)]
    for epoch in EPOCHS:
        for trial in trials:
            tracker.on_leg(trial)
            trial.epochs[epoch.epoch] = epoch
            tracker.on_epoch(trial, epoch)
    tracker.close()
    for trial in ("t000", "t001"):
        assert [step for step, _ in scalars(tmp_path / "tensorboard" / trial)["val_dice"]] == [1, 2, 3]


def test_tracker_can_be_pickled_as_tune_does(tracker):
    tracker.on_leg(progress(0))
    pickle.dumps(tracker)
    tracker.close()


def test_trial_without_a_score_has_no_best(tmp_path, tracker):
    track(tracker, 0, [EpochMetrics(epoch=1, train_loss=float("nan"))], State.FAILED)
    assert "best_val_dice" not in scalars(tmp_path / "tensorboard" / "t000")
