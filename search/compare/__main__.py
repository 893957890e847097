"""`python -m search.compare NAME NAME...`: compare the budgets and results of experiments, and test their models."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from data.arguments import parse_arguments
from data.command import run_command
from search.compare.context_tables import budget, differences, importance, winners
from search.compare.experiments import Experiment, read_experiments
from search.compare.page import write_page
from search.compare.result_tables import efficiency, scores, significance
from search.compare.significance import Pair, compare_pairs
from search.compare.table import Table
from search.compare.terminal import print_tables
from search.console import open_console
from search.storage.download import sync_down_all
from search.storage.working_folder import Out, bucket_uri, format_out, storage_path_of

MAX_FILE_NAME = 150
"""Maximum number of characters in the default name of the page; file systems allow 255 bytes."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Compare experiments on the terminal and in one HTML file: scores, whether the models differ on the test patients,
    best Dice at equal budgets, budgets, winners, importance of hyperparameters, and differences in options and data.
    The experiments may still be running, or have ended without a model."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME NAME...")]
    """Two or more experiments."""

    out: Out = Path("runs")
    """Folder of all experiments, or a bucket: s3://bucket/prefix."""

    html: Path | None = None
    """File to write. None: compare-NAME-NAME.html in `out`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Compare experiments and return the exit status (see data/command.py)."""
    return run_command(_main, argv)


def _main(argv: list[str]) -> int:
    arguments = parse_arguments(Arguments, argv, prog="python -m search.compare")
    path = arguments.html or arguments.out / default_name(arguments.names)
    console = open_console()
    experiments = read_experiments(sync_down_all(arguments.out), arguments.names)
    pairs = compare_pairs(experiments)
    tables = all_tables(experiments, pairs)
    print_tables(tables, console)
    write_page(path, experiments, pairs, tables, command=_command(arguments))
    if bucket_uri(arguments.out) and not arguments.html:
        (storage_path_of(arguments.out) / path.name).write_bytes(path.read_bytes())
    console.print(f"\nPage        {path}", markup=False, highlight=False, soft_wrap=True)
    return 0


def all_tables(experiments: Sequence[Experiment], pairs: Sequence[Pair]) -> list[Table]:
    """Return the tables of a comparison, the most important first."""
    return [
        scores(experiments),
        significance(pairs),
        efficiency(experiments),
        budget(experiments),
        winners(experiments),
        importance(experiments),
        *differences(experiments),
    ]


def default_name(names: Sequence[str]) -> str:
    """Return the name of the file of a comparison; for many experiments, the first names and the number of others."""
    shown = list(names)
    while len(shown) > 1 and len("-".join(shown)) > MAX_FILE_NAME:
        shown.pop()
    more = f"-and-{len(names) - len(shown)}-more" if len(shown) < len(names) else ""
    return f"compare-{'-'.join(shown)}{more}.html"


def _command(arguments: Arguments) -> str:
    options = [] if arguments.out == Path("runs") else ["--out", format_out(arguments.out)]
    return shlex.join(["python", "-m", "search.compare", *arguments.names, *options])


if __name__ == "__main__":
    sys.exit(main())
