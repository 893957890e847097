"""`python -m search.report NAME`: the report of an experiment, from its folder alone, also while its search runs."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from search.experiment import recorded_config
from search.report.page import REPORT_FILE, write_report
from search.storage.address import Out
from search.storage.download import sync_down
from search.storage.lock import is_held
from search.storage.writer import beside


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write an experiment's report anew, from what its folder says now: without Ray, and without the patients."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The experiment."""

    out: Out = Path("runs")
    """Folder of all experiments, or a bucket: s3://bucket/prefix."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report; return 0, or 2 on a mistake in what was asked."""
    arguments = tyro.cli(Arguments, prog="python -m search.report", args=argv)
    try:
        folder = sync_down(arguments.out / arguments.name, light=True)
        recorded_config(folder)  # only an experiment's folder can be held
        is_running = is_held(folder)
        with beside(folder, REPORT_FILE):
            print(write_report(folder, is_running=is_running))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
