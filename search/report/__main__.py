"""`python -m search.report NAME`: write the report of an experiment from its folder, even while its search runs."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from data.arguments import parse_arguments
from data.command import run_command
from search.experiment import recorded_config
from search.record.files import REPORT_FILE
from search.report.page import write_report
from search.storage.download import sync_down
from search.storage.lock import is_being_written
from search.storage.working_folder import Out
from search.storage.writer import publish_file


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write the report of an experiment again, from its folder alone. Neither Ray nor the patients are needed, and the
    search may still be running."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The experiment."""

    out: Out = Path("runs")
    """Folder of all experiments, or a bucket: s3://bucket/prefix."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report and return the exit status (see data/command.py)."""
    return run_command(_main, argv)


def _main(argv: list[str]) -> int:
    arguments = parse_arguments(Arguments, argv, prog="python -m search.report")
    folder = sync_down(arguments.out / arguments.name, light=True)
    recorded_config(folder)  # a folder that is no experiment is refused before its lock is looked at
    is_running = is_being_written(folder)
    with publish_file(folder, REPORT_FILE):
        print(write_report(folder, is_running=is_running))
    return 0


if __name__ == "__main__":
    sys.exit(main())
