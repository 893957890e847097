"""The table of trials: what promotion, report and comparison read, and all they read. One JSON object a line."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from data.errors import UserError
from search.record.codec import JsonObject, check_version, from_json, to_json
from search.record.epochs import EpochMetrics
from search.record.jsonl import append_line, read_records

VERSION = 1
"""Of a row. Version 1 is not written down; a row of a later one has it as `version`."""

Sample = dict[str, Any]
"""Hyperparameters, by the names of the search space."""

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
    sample: Sample
    epochs: tuple[EpochMetrics, ...]
    """Every epoch, first to last."""

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
    def best_epoch(self) -> EpochMetrics | None:
        """The epoch with the best validation Dice, the earlier among equals; None if none has a finite one."""
        return max((epoch for epoch in self.epochs if epoch.has_dice), key=lambda epoch: epoch.val_dice, default=None)

    @property
    def best_dice(self) -> float:
        """The best validation Dice of all epochs; nan if none is finite."""
        return self.best_epoch.val_dice if self.best_epoch else math.nan


def trial_id(number: int) -> str:
    """Return a name that sorts as the number does, up to a thousand trials and readable beyond."""
    return f"t{number:03d}"


def state_after(val_dice: float, *, finished: bool, failure: str | None) -> State:
    """Return how a trial ended if this is its last epoch; one that is only paused counts as PRUNED."""
    if failure or not math.isfinite(val_dice):
        return State.FAILED
    return State.COMPLETE if finished else State.PRUNED


def count_states(rows: Iterable[TrialRow]) -> dict[State, int]:
    """Return how many trials ended in each state."""
    states = [row.state for row in rows]
    return {state: states.count(state) for state in State}


def append_row(path: Path, row: TrialRow) -> None:
    """Add a trial to the table, and wait until the disk has it; a last line that a crash cut off makes room."""
    append_line(path, {"id": row.id, **to_json(row)}, durable=True)


def read_rows(path: Path) -> list[TrialRow]:
    """Return the trials by number; none where there is no table yet.

    A last line that was cut off by a crash is left out; a trial with several rows (a search that was interrupted and
    resumed) has its last.

    Raises:
        UserError: A line is not a trial of this version; the message names it.
    """
    rows = {row.number: row for row in read_records(path, _row)}
    return [rows[number] for number in sorted(rows)]


def best_first(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Return the trials that have a score, the best validation Dice first, the earlier trial first among equals."""
    scored = [row for row in rows if row.best_epoch]
    return sorted(scored, key=lambda row: (-row.best_dice, row.number))


def _row(values: JsonObject, where: str) -> TrialRow:
    check_version(values, VERSION, where)
    legal = {"id", "version", *(field.name for field in fields(TrialRow))}
    if "id" not in values:
        raise UserError(f"{where}: id is missing")
    if unknown := sorted(set(values) - legal):
        raise UserError(f"{where}: {', '.join(unknown)} is nothing that this version knows of a trial")
    return from_json(TrialRow, values, where)
