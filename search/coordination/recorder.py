"""A listener that writes the table of trials and their errors, and keeps the checkpoints that may still be needed."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from search.coordination.checkpoints import Checkpoints
from search.coordination.trial_progress import Phase, TrialProgress
from search.record.epochs import METRIC, EpochMetrics
from search.record.objectives import worth_keeping
from search.record.trial_errors import keep_error
from search.record.trials import State, TrialRow, append_row


class Recorder:
    """Writes one row for each trial, when the trial ends."""

    def __init__(
        self,
        table: Path,
        checkpoints: Checkpoints,
        objectives: Sequence[str] = (METRIC,),
        default_trial: int | None = None,
        *,
        logs: Path | None = None,
    ) -> None:
        self._table = table
        self._checkpoints = checkpoints
        self._objectives = objectives
        self._default_trial = default_trial
        self._logs = logs
        self._kept: list[TrialRow] = []

    def on_leg(self, trial: TrialProgress) -> None:
        """Do nothing: the row is written when the trial ends."""

    def on_epoch(self, trial: TrialProgress, epoch: EpochMetrics) -> None:
        """Do nothing: the row is written when the trial ends."""

    def on_loss(self, trial: TrialProgress, error: str) -> None:
        """Keep the error that Ray reported."""
        keep_error(self._table.parent, trial.number, error, self._logs)

    def on_end(self, trial: TrialProgress, state: State, error: str | None) -> None:
        """Write the row of a trial that ended."""
        self._checkpoints.tidy(trial.number, keep_newest=trial.phase != Phase.ENDED)
        checkpoint = self._checkpoints.best(trial.number)
        epochs = trial.all_epochs
        row = TrialRow(
            number=trial.number,
            state=state,
            sample=trial.sample,
            epochs=epochs,
            seconds=sum(epoch.seconds for epoch in epochs),
            error=error,
            checkpoint=self._checkpoints.relative(checkpoint) if checkpoint else None,
        )
        append_row(self._table, row)
        if error and state == State.FAILED:
            keep_error(self._table.parent, trial.number, error, self._logs)
        if trial.phase == Phase.ENDED:  # otherwise it was cut off, and may be resumed
            self._drop_losers(row)

    def restore(self, trials: Iterable[TrialProgress]) -> None:
        """Remove the checkpoints that the paused trials of a restored search do not need."""
        for trial in trials:
            if trial.phase == Phase.PAUSED:
                self._checkpoints.tidy(trial.number, keep_newest=True)

    def _drop_losers(self, row: TrialRow) -> None:
        """Keep the checkpoints of the best ended trials and of the Pareto front, and remove those of the others."""
        if row.checkpoint is None:
            self._checkpoints.drop(row.number)
            return
        before = [*self._kept, row]
        self._kept = worth_keeping(before, self._objectives, self._default_trial)
        for loser in before:
            if loser not in self._kept:
                self._checkpoints.drop(loser.number)
