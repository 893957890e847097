"""A trial as a TensorBoard run: its metrics by epoch, and its hyperparameters beside its best Dice (HParams tab)."""

import shutil

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from search.coordination.trial_progress import TrialProgress
from search.record.epochs import METRIC, EpochMetrics
from search.record.trials import State, trial_id
from search.tracking.runs import Tracking, best_epoch, end_reason

FOLDER = "tensorboard"

MOST_OPEN = 32
"""The most folders that are open at the same time. Each costs a thread, and hundreds of trials may be paused."""


class TensorBoardTracker:
    """One folder for each trial, written in tensorboardX's own thread: `tensorboard --logdir runs/NAME/tensorboard`."""

    wants_slices = False

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._writers: dict[int, SummaryWriter] = {}
        self._logged: dict[int, set[int]] = {}

    def __getstate__(self) -> dict[str, object]:
        return {}  # Tune pickles its scheduler with all listeners, and nobody reads the copy

    def on_leg(self, trial: TrialProgress) -> None:
        """Begin the folder of a trial, anew if the search was resumed."""
        self._writer(trial)

    def on_epoch(self, trial: TrialProgress, epoch: EpochMetrics) -> None:
        """Log an epoch. One that was done again after a loss takes the place of the lost one."""
        if epoch.epoch in self._logged.get(trial.number, ()):
            self._writers.pop(trial.number).close()
        self._writer(trial)

    def on_loss(self, trial: TrialProgress, error: str) -> None:
        """Do nothing: the trial goes on."""

    def on_end(self, trial: TrialProgress, state: State, error: str | None) -> None:
        """Close the trial's folder with its hyperparameters and its best Dice."""
        writer = self._writer(trial)
        epoch = best_epoch(trial.epochs.values())
        best = {f"best_{METRIC}": epoch.val_dice} if epoch else {}
        max_epochs = self._tracking.settings.max_epochs
        reason = end_reason(state, error, num_epochs=len(trial.epochs), max_epochs=max_epochs)
        writer.add_text("state", f"{state} {reason}".strip())
        # `add_hparams` would make a second run of it, in a folder below.
        assert writer.file_writer is not None
        for summary in hparams(trial.sample, best):
            writer.file_writer.add_summary(summary)
        for name, value in best.items():
            writer.add_scalar(name, value)
        writer.close()
        del self._writers[trial.number]

    def close(self) -> None:
        """Close the folders of trials that have not ended."""
        while self._writers:
            self._writers.popitem()[1].close()

    def _writer(self, trial: TrialProgress) -> SummaryWriter:
        """Return the writer of a trial's folder, which has all epochs so far."""
        writer = self._writers.pop(trial.number, None) or self._begin(trial)
        self._writers[trial.number] = writer  # last, so that the first is the one that has been idle longest
        if len(self._writers) > MOST_OPEN:
            self._writers.pop(next(iter(self._writers))).close()
        logged = self._logged[trial.number]
        for epoch in sorted(trial.epochs.keys() - logged):
            for name, value in trial.epochs[epoch].to_json().items():
                if name not in ("epoch", "elapsed_seconds"):
                    writer.add_scalar(name, value, epoch)
            logged.add(epoch)
        return writer

    def _begin(self, trial: TrialProgress) -> SummaryWriter:
        folder = self._tracking.folder / FOLDER / trial_id(trial.number)
        shutil.rmtree(folder, ignore_errors=True)
        self._logged[trial.number] = set()
        return SummaryWriter(str(folder), flush_secs=10)
