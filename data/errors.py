"""Errors that the user can mend, as opposed to faults of the program."""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_LISTED_PROBLEMS = 10

MAX_LINE = 300
"""The most characters of another program's message that one of ours repeats."""

NUM_EXAMPLES = 3
"""Number of files that are named of all those with one cause."""


class UserError(Exception):
    """Something that the person who ran the program caused and can mend.

    Raised where input enters: the command line, a config, files, data, the address of a cluster. The message names the
    thing, the value found, what is legal, and what to do. A command prints it as one line and exits with status 2
    (data/command.py). Every other exception is a fault of the program and keeps its traceback.

    It is no ValueError: a library that catches ValueErrors, as tyro and Optuna do, must not swallow or reword it.
    """


class MachineError(UserError):
    """Something that is wrong with a machine: when it is mended, what was begun can be continued."""


class DataError(UserError):
    """A mistake in a data source: a folder, a file, or an option that does not suit them."""


class MissingSource(DataError):
    """There is nothing where a data source should be."""


@dataclass(frozen=True, kw_only=True, order=True)
class Problem:
    """A file that cannot be used, and why."""

    path: Path
    reason: str
    """What is wrong with the file, what is legal, and what to do. A message shows it after the path and a colon."""

    cause: str = ""
    """The reason in words that fit all files with this cause, after "12 files:"; empty if it is particular to one."""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class BadFiles(DataError):
    """Files that cannot be used, all in one error, so that a person can repair or leave out all of them at once."""

    def __init__(self, headline: str, problems: Sequence[Problem], *, num_listed: int = MAX_LISTED_PROBLEMS) -> None:
        lines = [f"{where}: {reason}" for where, reason in by_cause(problems)]
        super().__init__(problems_message(headline, lines, num_listed=num_listed))
        self.problems = tuple(problems)
        self._arguments = headline, self.problems, num_listed

    def __reduce__(self) -> tuple:  # by default an exception is pickled by its message alone
        return _bad_files, self._arguments


def _bad_files(headline: str, problems: Sequence[Problem], num_listed: int) -> BadFiles:
    return BadFiles(headline, problems, num_listed=num_listed)


def bad_file(path: Path, reason: str, *, cause: str = "") -> BadFiles:
    """Return the error of a single file; the arguments are those of Problem."""
    return BadFiles("a file cannot be used:", [Problem(path=path, reason=reason, cause=cause)])


def by_cause(problems: Sequence[Problem]) -> list[tuple[str, str]]:
    """Return what is concerned and why, for each problem; once for each cause of more than NUM_EXAMPLES files."""
    found: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        found[problem.cause].append(str(problem.path))
    lines: list[tuple[str, str]] = []
    for problem in problems:
        paths = found[problem.cause]
        if not problem.cause or len(paths) <= NUM_EXAMPLES:
            lines.append((str(problem.path), problem.reason))
        elif paths[0] == str(problem.path):
            examples = [paths[k * (len(paths) - 1) // (NUM_EXAMPLES - 1)] for k in range(NUM_EXAMPLES)]
            lines.append((f"{len(paths)} files, such as {', '.join(examples)}", problem.cause))
    return lines


def problems_message(headline: str, problems: Sequence[str], *, num_listed: int = MAX_LISTED_PROBLEMS) -> str:
    """Return the headline, the first problems below it, one a line, and how many more there are."""
    lines = [headline, *(f"  - {problem}" for problem in problems[:num_listed])]
    if len(problems) > num_listed:
        lines.append(f"  and {len(problems) - num_listed} more")
    return "\n".join(lines)


def first_line(error: object) -> str:
    """Return the first line of what an error says, cut after MAX_LINE characters."""
    line = str(error).strip().partition("\n")[0].rstrip()
    return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean X?)", X being the known name that is most like a name; "" if none is like it."""
    by_lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""
