"""`python -m search.report NAME`: the report of an experiment, from its folder alone, also while its search runs."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from search.report.page import write_report
from search.standing import is_held


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write an experiment's report anew, from what its folder says now: without Ray, and without the patients."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The experiment."""

    out: Path = Path("runs")
    """Folder of all experiments."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report; return 0, or 2 on a mistake in what was asked."""
    arguments = tyro.cli(Arguments, prog="python -m search.report", args=argv)
    folder = arguments.out / arguments.name
    try:
        print(write_report(folder, is_running=is_held(folder)))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
