"""The table of trials (trials.jsonl), with a trial on each line. Promotion, report and comparison read it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias, TypeVar

from data.errors import UserError
from search.record.codec import JsonObject, check_version, from_json, to_json
from search.record.epochs import METRIC, EpochMetrics
from search.record.jsonl import append_line, read_records

VERSION = 1
"""Version of the rows. A row without a `version` has version 1."""

Sample: TypeAlias = dict[str, bool | int | float | str | None]
"""Values of hyperparameters, by the names of the search space."""

INTERRUPTED = "interrupted"
TIME_SPENT = "time budget spent"
"""Errors of trials that were cut off with the whole search, by Ctrl-C or by the time budget."""


class State(StrEnum):
    """How a trial ended."""

    COMPLETE = "COMPLETE"
    """Trained to the end of its schedule, or until it stopped improving."""

    PRUNED = "PRUNED"
    """Stopped earlier, by the scheduler, the time budget, or Ctrl-C."""

    FAILED = "FAILED"
    """Raised, became non-finite, or lost its worker group too often; `error` says which."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial of a search, whether it has ended or not."""

    number: int
    state: State | None
    """How it ended; None if it has not."""

    sample: Sample
    epochs: tuple[EpochMetrics, ...]
    """Every epoch, first to last."""

    seconds: float
    """Wall clock of training and validation, without waiting for a worker group."""

    error: str | None = None
    """Why the trial is PRUNED or FAILED; None if the state says enough."""

    checkpoint: str | None = None
    """The checkpoint file of its best epoch, relative to the experiment's folder; None if there is none."""

    @property
    def id(self) -> str:
        """The trial's name in folders, W&B and the table."""
        return trial_id(self.number)

    @property
    def best_epoch(self) -> EpochMetrics | None:
        """The epoch with the best validation Dice, the earlier among equals; None if none has a finite one."""
        return max((epoch for epoch in self.epochs if epoch.has_dice), key=lambda epoch: epoch.val_dice, default=None)

    @property
    def best_dice(self) -> float:
        """The best validation Dice of all epochs; nan if none is finite."""
        return self.best_value(METRIC)

    @property
    def best_epoch_number(self) -> int:
        """The number of its best epoch; 0 if it has none."""
        return self.best_epoch.epoch if self.best_epoch else 0

    def best_value(self, metric: str) -> float:
        """Return a metric of its best epoch; nan if it has none, or if that was not measured."""
        value = self.best_epoch.value(metric) if self.best_epoch else None
        return math.nan if value is None else value


@dataclass(frozen=True, kw_only=True)
class TrialRow(Trial):
    """A row of the table: a trial that has ended."""

    state: State


R = TypeVar("R", bound=Trial)


def trial_id(number: int) -> str:
    """Return a trial's id, such as "t007". The ids of the first thousand trials sort like their numbers."""
    return f"t{number:03d}"


def count_states(rows: Iterable[Trial]) -> dict[State, int]:
    """Return how many trials ended in each state."""
    states = [row.state for row in rows]
    return {state: states.count(state) for state in State}


def append_row(path: Path, row: TrialRow) -> None:
    """Append a trial to the table, and wait until it is on disk. A last line that a crash cut off is removed first."""
    append_line(path, {"id": row.id, **to_json(row)}, durable=True)


def read_rows(path: Path) -> list[TrialRow]:
    """Return the trials in the order of their numbers; [] if there is no table yet.

    A last line that a crash cut off is left out. If a trial has several rows, the last one counts.

    Raises:
        UserError: A line is not a trial that this version can read; the message names the line.
    """
    rows = {row.number: row for row in read_records(path, _row)}
    return [rows[number] for number in sorted(rows)]


def best_first(rows: Sequence[R]) -> list[R]:
    """Return the trials that have a score, the best validation Dice first, the earlier trial first among equals."""
    scored = [row for row in rows if row.best_epoch]
    return sorted(scored, key=lambda row: (-row.best_dice, row.number))


def _row(values: JsonObject, where: str) -> TrialRow:
    check_version(values, VERSION, where)
    legal = {"id", "version", *(field.name for field in fields(TrialRow))}
    if "id" not in values:
        raise UserError(f"{where}: id is missing")
    if unknown := sorted(set(values) - legal):
        raise UserError(
            f"{where}: this version does not know {', '.join(unknown)}; legal are {', '.join(sorted(legal))}"
        )
    return from_json(TrialRow, values, where)
