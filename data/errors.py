"""Errors that the user can mend, as opposed to faults of the program."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_LISTED_PROBLEMS = 10


class UserError(Exception):
    """Something that the person who ran the program caused and can mend.

    Raised where input enters: the command line, a config, files, data, the address of a cluster. The message names the
    thing, the value found, what is legal, and what to do. A command prints it as one line and exits with status 2
    (data/command.py). Every other exception is a fault of the program and keeps its traceback.

    It is no ValueError: a library that catches ValueErrors, as tyro and Optuna do, must not swallow or reword it.
    """


class DataError(UserError):
    """A mistake in a data source: a folder, a file, or an option that does not suit them."""


@dataclass(frozen=True, kw_only=True, order=True)
class Problem:
    """A file that cannot be used, and why."""

    path: Path
    reason: str
    """What is wrong with the file, what is legal, and what to do. A message shows it after the path and a colon."""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class BadFiles(DataError):
    """Files that cannot be used, all in one error, so that a person can repair or leave out all of them at once."""

    def __init__(self, headline: str, problems: Sequence[Problem], *, num_listed: int = MAX_LISTED_PROBLEMS) -> None:
        super().__init__(problems_message(headline, list(map(str, problems)), num_listed=num_listed))
        self.problems = tuple(problems)
        self._arguments = headline, self.problems, num_listed

    def __reduce__(self) -> tuple:  # by default an exception is pickled by its message alone
        return _bad_files, self._arguments


def _bad_files(headline: str, problems: Sequence[Problem], num_listed: int) -> BadFiles:
    return BadFiles(headline, problems, num_listed=num_listed)


def bad_file(path: Path, reason: str) -> BadFiles:
    """Return the error of a single file."""
    return BadFiles("a file cannot be used:", [Problem(path=path, reason=reason)])


def problems_message(headline: str, problems: Sequence[str], *, num_listed: int = MAX_LISTED_PROBLEMS) -> str:
    """Return the headline, the first problems below it, one a line, and how many more there are."""
    lines = [headline, *(f"  - {problem}" for problem in problems[:num_listed])]
    if len(problems) > num_listed:
        lines.append(f"  and {len(problems) - num_listed} more")
    return "\n".join(lines)
