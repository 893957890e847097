"""Standard output for tables: of a terminal the width, of a pipe whole lines."""

from rich.console import Console

WIDE = 10_000
"""Columns where nobody looks: a line stays a line for the program that reads it."""


def open_console() -> Console:
    """Return standard output: as wide as the terminal, and where it is none, so wide that no line is folded."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE, no_color=True)
