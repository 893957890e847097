"""A trial as a TensorBoard run: its metrics by epoch, and its hyperparameters beside its best Dice (HParams tab)."""

import math
import shutil
from collections.abc import Sequence
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from model.training.sample_slices import PredictedSlices
from search.record.epochs import METRIC, EpochMetrics
from search.record.trials import State, trial_id
from search.tracking.tracker import TrackedTrial, Tracking

FOLDER = "tensorboard"


class TensorBoardTracker:
    """One folder a trial, written in a thread of tensorboardX's own: `tensorboard --logdir runs/NAME/tensorboard`."""

    wants_slices = False

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._writer: Any = None

    def start(self, trial: TrackedTrial, history: Sequence[EpochMetrics] = ()) -> None:
        """Begin a trial's folder anew: the legs before are in the history."""
        folder = self._tracking.folder / FOLDER / trial_id(trial.number)
        shutil.rmtree(folder, ignore_errors=True)
        self._trial = trial
        self._best = -math.inf
        self._writer = SummaryWriter(str(folder), flush_secs=10)
        for epoch in history:
            self.log(epoch)

    def log(self, epoch: EpochMetrics, slices: PredictedSlices | None = None) -> None:
        """Log an epoch."""
        for name, value in epoch.to_json().items():
            if name != "epoch":
                self._writer.add_scalar(name, value, epoch.epoch)
        self._best = max(self._best, epoch.val_dice)  # nan is not larger

    def finish(self, state: State, reason: str) -> None:
        """Close the folder with the hyperparameters and the best Dice."""
        if self._writer is None:
            return
        best = {f"best_{METRIC}": self._best} if math.isfinite(self._best) else {}
        self._writer.add_text("state", f"{state} {reason}".strip())
        # `add_hparams` would make a second run of it, in a folder below.
        for summary in hparams(self._trial.sample, best):
            self._writer.file_writer.add_summary(summary)
        for name, value in best.items():
            self._writer.add_scalar(name, value)
        self._writer.close()
        self._writer = None
