"""A trial in TensorBoard's files, read back."""

import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.tracking.tensorboard import TensorBoardTracker
from search.tracking.tracker import make_tracker
from tests.support.tracked import EPOCHS, SAMPLE, track, tracking, trial


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


def test_every_metric_of_every_epoch_is_there(tmp_path):
    track(make_tracker(tracking(tmp_path, "tensorboard")), 3, state=State.PRUNED, reason="interrupted")
    found = scalars(tmp_path / "tensorboard" / "t003")
    for name in ("val_dice", "val_iou", "train_loss", "peak_memory_mb"):
        assert found[name] == [(epoch.epoch, pytest.approx(epoch.value(name))) for epoch in EPOCHS]
    assert found["best_val_dice"][0][1] == 0.625
    written = b"".join(event.SerializeToString() for event in read_events(tmp_path / "tensorboard" / "t003"))
    assert b"PRUNED interrupted" in written
    assert all(name.encode() in written for name in SAMPLE)


def test_trial_that_goes_on_has_every_epoch_once(tmp_path):
    track(make_tracker(tracking(tmp_path, "tensorboard")), 3, EPOCHS[:2], State.PRUNED)
    tracker = TensorBoardTracker(tracking(tmp_path, "tensorboard"))  # of another lane
    tracker.start(trial(3), EPOCHS[:1])
    for epoch in EPOCHS[1:]:
        tracker.log(epoch)
    tracker.finish(State.COMPLETE, "")
    found = scalars(tmp_path / "tensorboard" / "t003")
    assert [step for step, _ in found["val_dice"]] == [1, 2, 3]


def test_trial_without_a_score_has_no_best(tmp_path):
    track(
        make_tracker(tracking(tmp_path, "tensorboard")),
        0,
        [EpochMetrics(epoch=1, train_loss=float("nan"))],
        State.FAILED,
    )
    assert "best_val_dice" not in scalars(tmp_path / "tensorboard" / "t000")
