"""Writes the table of trials while Tune runs them, and says on the screen what happens."""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from rich.console import Console

from search.trials import METRIC, State, TrialRow, append_row, ended_state, find_best_checkpoint, trial_id
from search.worker_group import remove_orphans

ORPHAN_SECONDS = 120.0
"""How long after a loss orphaned placement groups are looked for, once a second."""

_console = Console()
"""Of the module, not of the recorder: Tune pickles its callbacks."""


@dataclass
class _Running:
    """What is known of a trial that has not ended."""

    sample: dict[str, Any]
    epochs: dict[int, dict[str, float]] = field(default_factory=dict)
    """By epoch: one that is done again after a loss takes the place of the lost one."""


class Recorder(tune.Callback):
    """One row a trial, written when the trial ends."""

    def __init__(self, table: Path, trials_folder: Path, num_trials: int) -> None:
        self._table = table
        self._trials_folder = trials_folder
        self._num_trials = num_trials
        self._running: dict[int, _Running] = {}
        self._num_ended = 0
        self._best = -math.inf
        self._started = time.monotonic()
        self._last_loss = self._last_look = -math.inf

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Remember a trial that begins, or goes on."""
        self._running.setdefault(trial.config["number"], _Running(sample=trial.config["sample"]))

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Remember an epoch; say so if it is the best so far."""
        if result["raised"]:
            return
        number = trial.config["number"]
        epoch = result["metrics"] | {"elapsed_seconds": round(time.monotonic() - self._started, 3)}
        self._running[number].epochs[epoch["epoch"]] = epoch
        if epoch.get(METRIC, -math.inf) > self._best:
            self._best = epoch[METRIC]
            self._say(f"{trial_id(number)} epoch {epoch['epoch']}: best so far, validation Dice {self._best:.4f}")

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Say that a trial lost its workers."""
        name, reason = trial_id(trial.config["number"]), _last_line(_error_of(trial))
        self._say(f"{name} lost its worker group and goes on from its last checkpoint ({reason})")
        self._last_loss = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list, **info: Any) -> None:
        """Give back what a killed lane had booked; Ray needs a while to see that its Train run is dead."""
        now = time.monotonic()
        if now < self._last_loss + ORPHAN_SECONDS and now > self._last_look + 1.0:
            self._last_look = now
            remove_orphans()

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Write the row of a trial that ended."""
        result = trial.last_result
        state = ended_state(result, error=False)
        error = result.get("failure") if result else "ended before its first epoch"
        self._write(trial.config["number"], state, error if state == State.FAILED else None)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Write the row of a trial that lost its workers too often."""
        self._running.setdefault(trial.config["number"], _Running(sample=trial.config["sample"]))
        self._write(trial.config["number"], State.FAILED, _error_of(trial))

    def stop_unfinished(self, reason: str) -> None:
        """Write the rows of trials that were cut off with the whole search."""
        for number in sorted(self._running):
            self._write(number, State.PRUNED, reason)

    def _write(self, number: int, state: State, error: str | None) -> None:
        running = self._running.pop(number, None)
        if running is None:
            return
        epochs = [running.epochs[epoch] for epoch in sorted(running.epochs)]
        checkpoint = find_best_checkpoint(self._trials_folder / trial_id(number))
        row = TrialRow(
            number=number,
            state=state,
            sample=running.sample,
            epochs=epochs,
            seconds=sum(epoch["seconds"] for epoch in epochs),
            error=error,
            checkpoint=str(checkpoint.relative_to(self._table.parent)) if checkpoint else None,
        )
        append_row(self._table, row)
        self._num_ended += 1
        reason = f" ({_last_line(error)})" if error else ""
        self._say(
            f"{row.id} {state.value:8s} after {len(epochs):2d} epochs, best Dice {row.best_dice:.4f}, "
            f"{_describe(row.sample)}  [{self._num_ended}/{self._num_trials}]{reason}"
        )

    def _say(self, line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        say(f"{minutes:3d}:{seconds:02d}  {line}")


def say(line: str) -> None:
    """Print a line for the person who waits."""
    _console.print(line, markup=False, highlight=False, soft_wrap=True)


def _describe(sample: dict[str, Any]) -> str:
    return " ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in sample.items()
    )


def _error_of(trial: Any) -> str:
    error = trial.get_error()
    return str(error) if error else "lost without a message"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().split("\n") if line.strip()]
    return lines[-1] if lines else ""
