"""W&B where a trial runs, so that it harms none: in a thread of its own, offline where a server is of no use."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace

from model.training.sample_slices import PredictedSlices
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.tracking.errands import Errands
from search.tracking.kept_slices import keep_slices
from search.tracking.outage import note_outage, noted_outage
from search.tracking.tracker import TrackedTrial, Tracking
from search.tracking.wandb_run import WandbRun, end_service, run_folders

logger = logging.getLogger(__name__)

END_SECONDS = {"online": 10.0, "offline": 60.0}
"""How long a trial waits for the end of its run. Offline nothing but this machine is waited for."""


class WandbTracker:
    """One W&B run a trial, in one group an experiment. A trial waits for W&B at its end alone, and not for long."""

    wants_slices = True

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._errands: Errands | None = None
        self._run: WandbRun | None = None
        self._trial: TrackedTrial
        self._epochs: list[EpochMetrics] = []

    def start(self, trial: TrackedTrial, history: Sequence[EpochMetrics] = ()) -> None:
        """Open the trial's run: an offline one where a server was of no use before."""
        if self._errands is not None:  # a trial that was taken away before its end
            self._errands.end(seconds=END_SECONDS["offline"])
        if self._is_online and noted_outage(self._tracking.folder):
            self._go_offline()
        self._trial = trial
        self._epochs = list(history)
        self._opened_before = run_folders(self._tracking, trial.number)
        self._errands = Errands("W&B")
        self._errands.add(lambda: self._open(list(history)))

    def log(self, epoch: EpochMetrics, slices: PredictedSlices | None = None) -> None:
        """Log an epoch."""
        if self._errands is None:
            return
        self._epochs.append(epoch)
        if slices is not None:
            self._keep(epoch.epoch, slices)
        if self._errands.problem:
            self._fall_back(self._errands.problem)
        else:
            self._errands.add(lambda: self._run.log(epoch, slices))

    def finish(self, state: State, reason: str) -> None:
        """Close the run with the trial's state. One that a server did not get whole is written offline."""
        if self._errands is None:
            return
        self._errands.add(lambda: self._run.end(state, reason))
        problem = self._errands.end(seconds=END_SECONDS[self._tracking.mode])
        self._errands = None
        if problem:
            self._fall_back(problem)
            self.finish(state, reason)

    @property
    def _is_online(self) -> bool:
        return self._tracking.mode == "online"

    def _open(self, history: list[EpochMetrics]) -> None:
        self._run = WandbRun(self._tracking, self._trial, history)

    def _keep(self, epoch: int, slices: PredictedSlices) -> None:
        try:
            keep_slices(self._tracking.folder, self._trial.number, epoch, slices)
        except OSError as error:
            logger.warning("validation slices are not kept: %s", error)

    def _fall_back(self, problem: str) -> None:
        """Go on offline, in a run with all epochs so far; where that does not work either, without."""
        folder, self._errands = self._tracking.folder, None
        if not self._is_online:
            sentence = f"W&B does not work, the search goes on without it: {problem}"
        else:
            sentence = f"W&B cannot be reached, runs are kept offline in {folder / 'wandb'}: {problem}"
        logger.warning(sentence)
        note_outage(folder, sentence)
        if not self._is_online:
            return
        self._go_offline()
        for part in run_folders(self._tracking, self._trial.number):
            if part not in self._opened_before:  # the offline run has all that is in it
                shutil.rmtree(part, ignore_errors=True)
        self.start(self._trial, self._epochs)

    def _go_offline(self) -> None:
        self._tracking = replace(self._tracking, mode="offline")
        end_service()
