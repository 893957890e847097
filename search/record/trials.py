"""The table of trials: what promotion, report and comparison read, and all they read. One JSON object a line."""

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from data.errors import UserError
from search.record.jsonl import append_line, read_lines

METRIC = "val_dice"
"""What is searched for: the mean over validation patients of the volumetric Dice."""

INTERRUPTED = "interrupted"
TIME_SPENT = "time budget spent"
"""Errors of trials that were cut off with the whole search, by a person or by the clock."""


class State(StrEnum):
    """How a trial ended."""

    COMPLETE = "COMPLETE"
    """Trained to the end of its schedule, or until it stopped improving."""

    PRUNED = "PRUNED"
    """Stopped before, by the scheduler, the time budget, or a person."""

    FAILED = "FAILED"
    """Raised, turned non-finite, or lost its workers too often; `error` says which."""


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial of a search."""

    number: int
    state: State
    sample: dict[str, Any]
    """Hyperparameters, by the names of the search space."""

    epochs: list[dict[str, float]]
    """Every epoch's metrics, first to last; `elapsed_seconds` is when it was known, since the search began."""

    seconds: float
    """Wall clock of its epochs: training and validation, without waiting for a worker group."""

    error: str | None = None
    """Why it is PRUNED or FAILED, in a line; None where nothing needs saying."""

    checkpoint: str | None = None
    """Its best epoch's checkpoint file, relative to the experiment's folder."""

    @property
    def id(self) -> str:
        """The name of the trial everywhere: folder, W&B run, table."""
        return trial_id(self.number)

    @property
    def best_epoch(self) -> dict[str, float] | None:
        """The metrics of the epoch with the best validation Dice; None if none has a finite one."""
        scored = [epoch for epoch in self.epochs if math.isfinite(epoch.get(METRIC, math.nan))]
        return max(scored, key=lambda epoch: epoch[METRIC], default=None)

    @property
    def best_dice(self) -> float:
        """The best validation Dice of all epochs; nan if none is finite."""
        return self.best_epoch[METRIC] if self.best_epoch else math.nan


def trial_id(number: int) -> str:
    """Return a name that sorts as the number does, up to a thousand trials and readable beyond."""
    return f"t{number:03d}"


def state_after(result: dict[str, Any]) -> State:
    """Return how a trial ended if nothing comes after this result of an epoch: one that only waits is PRUNED."""
    if result["failure"]:
        return State.FAILED
    if not math.isfinite(result[METRIC]):  # nobody to compare it by; such a validation set is refused before
        return State.FAILED
    return State.COMPLETE if result["finished"] else State.PRUNED


def count_states(rows: list[TrialRow]) -> dict[State, int]:
    """Return how many trials ended in each state."""
    return {state: sum(row.state == state for row in rows) for state in State}


def append_row(path: Path, row: TrialRow) -> None:
    """Add a trial to the table, and wait until the disk has it; a last line that a crash cut off makes room."""
    append_line(path, {"id": row.id, **asdict(row)}, durable=True)


def read_rows(path: Path) -> list[TrialRow]:
    """Return the trials by number; none where there is no table yet.

    A last line that was cut off by a crash is left out; a trial with several rows (a search that was interrupted and
    resumed) has its last.

    Raises:
        ValueError: A line is not a trial.
    """
    rows: dict[int, TrialRow] = {}
    for values in read_lines(path):
        try:
            del values["id"]
            rows[values["number"]] = TrialRow(**values | {"state": State(values["state"])})
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} has a line that is not a trial of this version: {error!r}") from error
    return [rows[number] for number in sorted(rows)]


def best_first(rows: list[TrialRow]) -> list[TrialRow]:
    """Return the trials that have a score, the best validation Dice first, the earlier trial first among equals."""
    scored = [row for row in rows if row.best_epoch]
    return sorted(scored, key=lambda row: (-row.best_dice, row.number))
