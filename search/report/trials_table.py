"""The report's table of trials. A column is one entry of `_columns`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from search.formatting import DASH, format_score, format_value
from search.record.trial_errors import headline
from search.record.trials import Trial, best_first
from search.report.snapshot import label_of

COSTS = {"million_parameters": "parameters (M)", "latency_ms": "latency (ms)"}
"""Columns that are shown where a trial has them, by metric."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table."""

    label: str
    text: Callable[[Trial], str]
    """What its cell shows."""

    sort_value: Callable[[Trial], float] | None = None
    """What the page sorts by, where the text is rounded; None: the text."""

    style: Literal["", "word", "text"] = ""
    """The cells' class in style.css: numbers are aligned to the right, words to the left, and texts are wrapped."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of the table."""

    text: str
    sort_value: float | None
    style: str


@dataclass(frozen=True, kw_only=True)
class TrialsTable:
    """The table, ready to be shown."""

    columns: list[Column]
    rows: list[tuple[str, list[Cell]]]
    """Each trial's id and cells, the best trial first and trials without a score last."""


def trials_table(rows: Sequence[Trial], axes: Sequence[str], default_trial: int | None = None) -> TrialsTable:
    """Return the table of trials, with a column for each axis of the search space.

    Args:
        default_trial: Number of the trial with the default configuration; None if there is none.
    """
    ranked = best_first(list(rows))
    ranked += [row for row in rows if not row.best_epoch]
    columns = _columns(rows, axes, default_trial)
    return TrialsTable(columns=columns, rows=[(row.id, [_cell(column, row) for column in columns]) for row in ranked])


def _columns(rows: Sequence[Trial], axes: Sequence[str], default_trial: int | None) -> list[Column]:
    costs = {name: label for name, label in COSTS.items() if any(_cost(row, name) is not None for row in rows)}
    regions = dict.fromkeys(name for row in rows if row.best_epoch for name in row.best_epoch.dice_by_region)
    return [
        Column(label="trial", text=lambda row: row.id + " (default)" * (row.number == default_trial)),
        Column(label="state", text=label_of, style="word"),
        Column(
            label="best Dice",
            text=lambda row: f"{row.best_dice:.4f}" if row.best_epoch else DASH,
            sort_value=lambda row: row.best_dice,
        ),
        *(Column(label=f"Dice of {name}", text=_region_text(name)) for name in regions),
        Column(label="at epoch", text=lambda row: str(row.best_epoch.epoch) if row.best_epoch else DASH),
        Column(label="epochs", text=lambda row: str(len(row.epochs))),
        Column(label="seconds", text=lambda row: f"{row.seconds:.1f}", sort_value=lambda row: row.seconds),
        *(Column(label=label, text=_cost_text(name)) for name, label in costs.items()),
        *(Column(label=axis, text=_sample_text(axis)) for axis in axes),
        Column(label="reason", text=lambda row: headline(row.error or ""), style="text"),
    ]


def _cell(column: Column, row: Trial) -> Cell:
    has_value = column.sort_value is not None and column.text(row) != DASH
    return Cell(
        text=column.text(row),
        sort_value=column.sort_value(row) if column.sort_value and has_value else None,
        style=column.style,
    )


def _cost(row: Trial, name: str) -> float | None:
    return row.best_epoch.value(name) if row.best_epoch else None


def _region_text(name: str) -> Callable[[Trial], str]:
    """Return a function for the Dice of a region in the epoch whose mean over regions is best."""
    return lambda row: format_score(row.best_epoch.dice_by_region.get(name, math.nan)) if row.best_epoch else DASH


def _cost_text(name: str) -> Callable[[Trial], str]:
    return lambda row: format_value(_cost(row, name))


def _sample_text(axis: str) -> Callable[[Trial], str]:
    return lambda row: format_value(row.sample.get(axis))
