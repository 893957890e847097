"""The tables of a comparison on the terminal, in as many parts as its width asks for."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from data.printable import printable
from search.compare.table import Table

LABEL_WIDTH = 32
COLUMN_WIDTH = 30
"""Characters beyond which a cell goes on below, where there is no room for all."""

GAP = 2


def print_tables(tables: Sequence[Table], console: Console) -> None:
    """Print the tables with their notes."""
    for table in tables:
        console.print()
        console.print(Text(table.title, style="bold"))
        for part in _parts(table, console.width) if table.rows else ():
            console.print(_drawn(table, part))
        for note in table.notes:
            console.print(Text(printable(note), style="dim"))


def _drawn(table: Table, columns: Sequence[int]) -> RichTable:
    drawn = RichTable(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    drawn.add_column("", overflow="fold")
    for column in columns:
        drawn.add_column(Text(printable(table.header[column])), justify="right", overflow="fold")
    for label, *cells in table.rows:
        drawn.add_row(*(Text(printable(text)) for text in (label, *(cells[column] for column in columns))))
    return drawn


def _parts(table: Table, width: int) -> Iterator[list[int]]:
    """Yield the columns that stand side by side; each part has one at least."""
    label = min(max(len(row[0]) for row in table.rows), LABEL_WIDTH)
    part: list[int] = []
    taken = label
    for column, name in enumerate(table.header):
        longest = max(len(name), *(len(row[column + 1]) for row in table.rows))
        needed = GAP + min(longest, COLUMN_WIDTH)
        if part and taken + needed > width:
            yield part
            part, taken = [], label
        part.append(column)
        taken += needed
    if part:
        yield part
