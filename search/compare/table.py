"""A table of a comparison, which the terminal and the page both show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from search.compare.experiments import Experiment


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a column for each experiment, or for each pair of them."""

    id: str
    title: str
    header: tuple[str, ...]
    """The names of the columns, without the first one, which has the labels of the rows."""

    rows: tuple[tuple[str, ...], ...]
    """Each row with its label before the cells."""

    notes: tuple[str, ...] = ()
    """Sentences about how to read it."""


def by_experiment(
    id: str,
    title: str,
    experiments: Sequence[Experiment],
    rows: dict[str, Callable[[Experiment], str]],
    notes: Sequence[str],
) -> Table:
    """Return a table with a column for each experiment; `rows` maps each label to the text for an experiment."""
    cells = tuple((label, *(text(one) for one in experiments)) for label, text in rows.items())
    return Table(id=id, title=title, header=names_of(experiments), rows=cells, notes=tuple(notes))


def names_of(experiments: Sequence[Experiment]) -> tuple[str, ...]:
    """Return the header of such a table."""
    return tuple(one.name for one in experiments)
