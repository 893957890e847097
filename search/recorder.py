"""Writes the table of trials as they end, keeps the checkpoints that may be needed, and says what happens."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from search.checkpoints import Checkpoints
from search.objectives import worth_keeping
from search.progress import Progress
from search.trials import METRIC, State, TrialRow, append_row, trial_id

_console = Console()
"""Of the module, not of the recorder: Tune pickles its callbacks."""


class Recorder:
    """The coordinator's listener: one row a trial, written when the trial ends."""

    def __init__(
        self, table: Path, checkpoints: Checkpoints, num_trials: int, objectives: Sequence[str] = (METRIC,)
    ) -> None:
        self._table = table
        self._checkpoints = checkpoints
        self._num_trials = num_trials
        self._objectives = objectives
        self._num_ended = 0
        self._best = -math.inf
        self._kept: list[TrialRow] = []
        self._started = time.monotonic()
        self._is_quiet = False

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the search began, without those in which it was dead."""
        return round(time.monotonic() - self._started, 3)

    def on_epoch(self, trial: Progress, epoch: dict[str, Any]) -> None:
        """Say so if it is the best so far."""
        if epoch.get(METRIC, -math.inf) > self._best:
            self._best = epoch[METRIC]
            self.say(f"{trial_id(trial.number)} epoch {epoch['epoch']}: best so far, validation Dice {self._best:.4f}")

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
            checkpoint=str(checkpoint.relative_to(self._table.parent)) if checkpoint else None,
        )
        append_row(self._table, row)
        self._num_ended += 1
        reason = f" ({last_line(error)})" if error else ""
        self.say(
            f"{row.id} {state.value:8s} after {len(epochs):2d} epochs, best Dice {row.best_dice:.4f}, "
            f"{_describe(row.sample)}  [{self._num_ended}/{self._num_trials}]{reason}"
        )
        if trial.phase == "ended":  # else it was cut off, and may be resumed
            self._drop_losers(row)

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Write rows without a word on the screen: of trials that ended before."""
        self._is_quiet = True
        yield
        self._is_quiet = False

    def go_on(self, trials: dict[int, Progress]) -> None:
        """Continue the clock, the best and the paused trials' checkpoints of a search that was read back."""
        epochs = [epoch for trial in trials.values() for epoch in trial.epochs.values()]
        dices = [epoch.get(METRIC, math.nan) for epoch in epochs]
        self._best = max((dice for dice in dices if math.isfinite(dice)), default=-math.inf)
        self._started -= max((epoch["elapsed_seconds"] for epoch in epochs), default=0.0)
        paused = [trial for trial in trials.values() if trial.phase == "paused"]
        for trial in paused:
            self._checkpoints.tidy(trial.number, goes_on=True)
        unfinished = sum(trial.phase == "unfinished" for trial in trials.values())
        self.say(
            f"resumed: {self._num_ended} of {self._num_trials} trials had ended, {unfinished} go on from their last "
            f"checkpoint, {len(paused)} are paused"
        )

    def say(self, line: str) -> None:
        """Print a line with the time."""
        if not self._is_quiet:
            minutes, seconds = divmod(int(self.elapsed_seconds), 60)
            say(f"{minutes:3d}:{seconds:02d}  {line}")

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


def say(line: str) -> None:
    """Print a line for the person who waits."""
    _console.print(line, markup=False, highlight=False, soft_wrap=True)


def last_line(text: str) -> str:
    """Return the last line of a message, which says what a traceback ends with."""
    lines = [line.strip() for line in text.strip().split("\n") if line.strip()]
    return lines[-1] if lines else ""


def _describe(sample: dict[str, Any]) -> str:
    return " ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in sample.items()
    )
