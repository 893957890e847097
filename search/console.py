"""The terminal of a command, for messages and tables."""

from rich.console import Console

from data.printable import printable

UNWRAPPED_COLUMNS = 10_000
"""Width of an output that is not a terminal, so that a program that reads it gets each row in one line."""

console = Console()
"""The terminal of a search. What is printed through it appears above the live table (search/screen/live.py)."""


def say(line: str) -> None:
    """Print a message, without control characters."""
    encoding = console.encoding  # a terminal that cannot show "…" shows "?"; otherwise Python would raise
    shown = printable(line).encode(encoding, "replace").decode(encoding)
    console.print(shown, markup=False, highlight=False, soft_wrap=True)


def open_console() -> Console:
    """Return standard output for tables: as wide as the terminal, or wide enough for any row if it is a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=UNWRAPPED_COLUMNS, no_color=True)
