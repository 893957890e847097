"""A table of a comparison, the same on the terminal and on the page."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from search.compare.experiments import Experiment

ABSENT = "-"
"""Stands for what is not there, or not defined."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Properties of things that stand side by side."""

    id: str
    title: str
    header: tuple[str, ...]
    """Of the things, without the column of properties."""

    rows: tuple[tuple[str, ...], ...]
    """Each with the property's name before the cells."""

    notes: tuple[str, ...] = ()


def by_experiment(
    id: str,
    title: str,
    experiments: Sequence[Experiment],
    rows: dict[str, Callable[[Experiment], str]],
    notes: Sequence[str],
) -> Table:
    """Return a table with a column for each experiment; `rows` say by property what stands there."""
    cells = tuple((label, *(text(one) for one in experiments)) for label, text in rows.items())
    return Table(id=id, title=title, header=names_of(experiments), rows=cells, notes=tuple(notes))


def names_of(experiments: Sequence[Experiment]) -> tuple[str, ...]:
    """Return the header of such a table."""
    return tuple(one.name for one in experiments)


def format_number(value: float | None, decimals: int = 4) -> str:
    """Return a number for people; a dash where it is undefined."""
    return ABSENT if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"
