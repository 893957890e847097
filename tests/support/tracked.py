"""A small trial as a tracker sees it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.training.sample_slices import PredictedSlices
from search.coordination.trial_progress import Phase, TrialProgress
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.space.configs import SharedSettings
from search.space.named import SPACES
from search.tracking.connection import Patience
from search.tracking.kept_slices import keep_slices, pack_slices
from search.tracking.outage import noted_outage
from search.tracking.runs import Tracking
from search.tracking.tracker import Tracker
from search.tracking.wandb_tracker import WandbTracker, open_wandb_tracker

FIXED = SharedSettings(in_channels=3, max_epochs=9, batch_size=16, width=4, patience=0, precision="auto", seed=7)
SAMPLE = {"learning_rate": 2e-3, "depth": 4, "dropout": 0.25, "bce_weight": 0.5}
EPOCHS = [
    EpochMetrics(epoch=1, val_dice=0.25, val_iou=0.125, train_loss=0.75, peak_memory_mb=300.0),
    EpochMetrics(epoch=2, val_dice=0.625, val_iou=0.5, train_loss=0.5, peak_memory_mb=500.0),
    EpochMetrics(epoch=3, val_dice=0.5, val_iou=0.25, train_loss=0.375, peak_memory_mb=400.0),
]

IMPATIENT = Patience(init_seconds=1.0, finish_seconds=1.0, arrival_seconds=1.0, answer_seconds=5.0)


def tracking(folder: Path, mode: str = "offline") -> Tracking:
    return Tracking(
        mode=mode, project="tumours", group="small", folder=folder, settings=FIXED, facts={"searcher": "tpe"}
    )


def open_offline(folder: Path) -> WandbTracker:
    return open_wandb_tracker(tracking(folder), SPACES["core"], searcher="tpe")


def open_online(folder: Path, patience: Patience | None = None) -> WandbTracker:
    return open_wandb_tracker(tracking(folder, "online"), SPACES["core"], searcher="tpe", patience=patience)


def progress(number: int, epochs: Sequence[EpochMetrics] = ()) -> TrialProgress:
    """Return a trial that has some epochs."""
    return TrialProgress(number=number, sample=SAMPLE, attrs={}, epochs={epoch.epoch: epoch for epoch in epochs})


def track(
    tracker: Tracker,
    number: int,
    epochs: Sequence[EpochMetrics] = EPOCHS,
    state: State = State.COMPLETE,
    error: str | None = None,
    *,
    before: Sequence[EpochMetrics] = (),
) -> None:
    """Let a tracker see a trial.

    Args:
        before: Epochs that it had before the search was resumed.
    """
    trial = progress(number, before)
    tracker.on_leg(trial)
    for epoch in epochs:
        trial.epochs[epoch.epoch] = epoch
        tracker.on_epoch(trial, epoch)
    tracker.on_end(replace(trial, phase=Phase.ENDED), state, error)


def keep_some_slices(folder: Path, number: int, epoch: int = 2) -> None:
    """Keep slices of a trial, as the driver does when a lane has sent them."""
    keep_slices(folder, number, epoch, pack_slices(epoch=epoch, **vars(some_slices())))


def some_slices() -> PredictedSlices:
    """Two slices: one predicted half right, one without tumour."""
    true, predicted = np.zeros((2, 2, 16, 16), bool)
    true[0, 4:8, 4:8] = predicted[0, 4:8, 6:10] = True
    images = np.arange(2 * 16 * 16, dtype=np.uint8).reshape(2, 16, 16)
    numbers = np.array([12, 7])
    return PredictedSlices(patients=("P1", "P2"), numbers=numbers, images=images, true=true, predicted=predicted)


def outage_in(folder: Path) -> str:
    """Return what was noted of an outage; nothing if there was none."""
    return noted_outage(folder) or ""


def wait_until(condition: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Wait for what another thread or process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
