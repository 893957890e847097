"""The terminal of a command: lines for the person who waits, and tables."""

from rich.console import Console

from data.printable import printable

UNWRAPPED_COLUMNS = 10_000
"""Width of an output that is no terminal: a program that reads it gets each row in one line."""

console = Console()
"""The terminal of a search. What is printed through it appears above the live table (search/screen/live.py)."""


def say(line: str) -> None:
    """Print a line for the person who waits, without control characters."""
    encoding = console.encoding  # a terminal that knows no "…" shows "?", instead of ending the search
    shown = printable(line).encode(encoding, "replace").decode(encoding)
    console.print(shown, markup=False, highlight=False, soft_wrap=True)


def open_console() -> Console:
    """Return standard output for tables: as wide as the terminal, or wide enough for any row if it is a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=UNWRAPPED_COLUMNS, no_color=True)
