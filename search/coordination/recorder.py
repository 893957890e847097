"""Writes the table of trials as they end and their errors, and keeps the checkpoints that may be needed."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from search.coordination.checkpoints import Checkpoints
from search.coordination.progress import Progress
from search.record.objectives import worth_keeping
from search.record.trial_errors import keep_error
from search.record.trials import METRIC, State, TrialRow, append_row


class Recorder:
    """A listener of the coordinator: one row a trial, written when the trial ends."""

    def __init__(
        self,
        table: Path,
        checkpoints: Checkpoints,
        objectives: Sequence[str] = (METRIC,),
        *,
        logs: Path | None = None,
    ) -> None:
        self._table = table
        self._checkpoints = checkpoints
        self._objectives = objectives
        self._logs = logs
        self._kept: list[TrialRow] = []

    def on_leg(self, trial: Progress) -> None:
        """Do nothing: the row comes when the trial ends."""

    def on_epoch(self, trial: Progress, epoch: dict[str, Any]) -> None:
        """Do nothing: the row comes when the trial ends."""

    def on_loss(self, trial: Progress, error: str) -> None:
        """Keep what Ray said."""
        keep_error(self._table.parent, trial.number, error, self._logs)

    def on_end(self, trial: Progress, state: State, error: str | None) -> None:
        """Write the row of a trial that ended."""
        self._checkpoints.tidy(trial.number, goes_on=trial.phase != "ended")
        checkpoint = self._checkpoints.best(trial.number)
        epochs = [trial.epochs[epoch] for epoch in sorted(trial.epochs)]
        row = TrialRow(
            number=trial.number,
            state=state,
            sample=trial.sample,
            epochs=epochs,
            seconds=sum(epoch["seconds"] for epoch in epochs),
            error=error,
            checkpoint=self._checkpoints.relative(checkpoint) if checkpoint else None,
        )
        append_row(self._table, row)
        if error and state == State.FAILED:
            keep_error(self._table.parent, trial.number, error, self._logs)
        if trial.phase == "ended":  # else it was cut off, and may be resumed
            self._drop_losers(row)

    def go_on(self, trials: Iterable[Progress]) -> None:
        """Keep, of the trials of a search that was read back, the checkpoints from which paused ones go on."""
        for trial in trials:
            if trial.phase == "paused":
                self._checkpoints.tidy(trial.number, goes_on=True)

    def _drop_losers(self, row: TrialRow) -> None:
        """Of all trials that ended, keep the checkpoints of the best ones and of the Pareto front."""
        if row.checkpoint is None:
            self._checkpoints.drop(row.number)
            return
        before = [*self._kept, row]
        self._kept = worth_keeping(before, self._objectives)
        for loser in before:
            if loser not in self._kept:
                self._checkpoints.drop(loser.number)
