"""A patient as every reader returns it: an id and the files of its slices, in number order.

Readers only find files; decoding waits until the pack is built, so that a folder can be checked in milliseconds.
"""

from dataclasses import dataclass
from pathlib import Path

MAX_LISTED_PROBLEMS = 10


class DataError(ValueError):
    """What a user's folder, file or data argument can get wrong; the message says what to do about it."""


@dataclass(frozen=True, kw_only=True)
class SliceFiles:
    """Where one slice lies: its number within the volume, its image and its mask."""

    number: int
    image: Path
    mask: Path


@dataclass(frozen=True, kw_only=True)
class Patient:
    """One patient: a unique id and its slices, ordered by number."""

    id: str
    slices: tuple[SliceFiles, ...]


def problems_message(headline: str, problems: list[str], *, num_listed: int = MAX_LISTED_PROBLEMS) -> str:
    """Returns the headline with the first problems below it, one a line, and how many more there are."""
    lines = [headline, *(f"  - {problem}" for problem in problems[:num_listed])]
    if len(problems) > num_listed:
        lines.append(f"  and {len(problems) - num_listed} more")
    return "\n".join(lines)
