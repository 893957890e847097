"""A small trial as a tracker sees it."""

from pathlib import Path

import numpy as np

from model.training.sample_slices import PredictedSlices
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.space import SharedSettings
from search.tracking.tracker import TrackedTrial, Tracker, Tracking, make_tracker, tracked_trial

FIXED = SharedSettings(in_channels=3, max_epochs=9, batch_size=16, width=4, patience=0, precision="auto", seed=7)
SAMPLE = {"learning_rate": 2e-3, "depth": 4, "dropout": 0.25, "bce_weight": 0.5}
EPOCHS = [
    EpochMetrics(epoch=1, val_dice=0.25, val_iou=0.125, train_loss=0.75, peak_memory_mb=300.0),
    EpochMetrics(epoch=2, val_dice=0.625, val_iou=0.5, train_loss=0.5, peak_memory_mb=500.0),
    EpochMetrics(epoch=3, val_dice=0.5, val_iou=0.25, train_loss=0.375, peak_memory_mb=400.0),
]


def tracking(folder: Path, mode: str = "offline") -> Tracking:
    return Tracking(mode=mode, project="tumours", group="small", folder=folder, facts={"searcher": "tpe"})


def trial(number: int) -> TrackedTrial:
    return tracked_trial(number, SAMPLE, FIXED)


def track(
    tracker: Tracker, number: int, epochs=EPOCHS, state: State = State.COMPLETE, reason: str = "", slices=None
) -> None:
    tracker.start(trial(number))
    for epoch in epochs:
        tracker.log(epoch, slices if epoch.epoch == 2 else None)
    tracker.finish(state, reason)


def offline(folder: Path) -> Tracker:
    return make_tracker(tracking(folder))


def some_slices() -> PredictedSlices:
    """Two slices: one predicted half right, one without tumour."""
    true, predicted = np.zeros((2, 2, 16, 16), bool)
    true[0, 4:8, 4:8] = predicted[0, 4:8, 6:10] = True
    images = np.arange(2 * 16 * 16, dtype=np.uint8).reshape(2, 16, 16)
    numbers = np.array([12, 7])
    return PredictedSlices(patients=("P1", "P2"), numbers=numbers, images=images, true=true, predicted=predicted)
