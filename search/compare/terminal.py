"""The tables of a comparison on the terminal, broken into parts where it is too narrow for all columns."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from data.printable import printable
from search.compare.table import Table

LABEL_WIDTH = 32
COLUMN_WIDTH = 30
"""Maximum numbers of characters that are reserved for a label and a cell; a longer one may be wrapped."""

GAP = 2
"""Spaces between columns."""


def print_tables(tables: Sequence[Table], console: Console) -> None:
    """Print the tables, each with its title and its notes."""
    for table in tables:
        console.print()
        console.print(Text(table.title, style="bold"))
        for columns in _split_columns(table, console.width) if table.rows else ():
            console.print(_rich_table(table, columns))
        for note in table.notes:
            console.print(Text(printable(note), style="dim"))


def _rich_table(table: Table, columns: Sequence[int]) -> RichTable:
    drawn = RichTable(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    drawn.add_column("", overflow="fold")
    for column in columns:
        drawn.add_column(Text(printable(table.header[column])), justify="right", overflow="fold")
    for label, *cells in table.rows:
        drawn.add_row(*(Text(printable(text)) for text in (label, *(cells[column] for column in columns))))
    return drawn


def _split_columns(table: Table, width: int) -> Iterator[list[int]]:
    """Yield groups of columns that fit side by side into the width; each group has at least one."""
    label = min(max(len(row[0]) for row in table.rows), LABEL_WIDTH)
    group: list[int] = []
    taken = label
    for column, name in enumerate(table.header):
        longest = max(len(name), *(len(row[column + 1]) for row in table.rows))
        needed = GAP + min(longest, COLUMN_WIDTH)
        if group and taken + needed > width:
            yield group
            group, taken = [], label
        group.append(column)
        taken += needed
    if group:
        yield group
