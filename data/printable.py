"""Make text fit to print: names that a terminal would obey or cannot show, and lists that nobody would read."""

import io
import sys
from collections.abc import Iterable

MAX_LISTED = 5


def printable(text: str) -> str:
    """Return the text with control characters and characters that cannot be encoded replaced; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def never_fail_to_print() -> None:
    """Show characters that standard output cannot encode by their numbers; they would raise an error otherwise.

    There are names in other letters on a terminal that is said to be ASCII, and names of files that are not UTF-8.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def some(names: Iterable[str], *, most: int = MAX_LISTED) -> str:
    """Return the first few names as a list in a sentence, and how many more there are."""
    names = list(names)
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
