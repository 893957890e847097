"""Is my data what I think it is? `python -m data.inspect SOURCE` shows its numbers and what is odd about it."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.arguments import parse_arguments
from data.command import run_command
from data.errors import UserError
from data.inspect.inspection import Inspection, inspect_source
from data.inspect.page import write_page
from data.printable import printable
from data.source import ReadingOptions, find_source
from data.splitting.options import SplitOptions


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Show the numbers of a data set and what is odd about it. Nothing is changed, and bad files are listed."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of patients, `phantom` or `phantom:N`, as `search.tune --data` takes it."""

    out: Path | None = None
    """Folder for inspect.html, one file with pictures that opens offline. None: only print."""

    reading: Annotated[ReadingOptions, tyro.conf.arg(name="")] = field(default_factory=ReadingOptions)
    splitting: Annotated[SplitOptions, tyro.conf.arg(name="")] = field(default_factory=SplitOptions)
    seed: int = 0
    """Seed of the split, as for the search, and of the slices that the page shows."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 whatever was found, 2 if there is nothing to inspect."""
    return run_command(_main, argv)


def _main(argv: list[str]) -> int:
    arguments = parse_arguments(Arguments, argv, prog="python -m data.inspect")
    arguments.splitting.check()
    if arguments.out:
        _make_folder(arguments.out)
    with tempfile.TemporaryDirectory() as phantom_root:
        reading = replace(arguments.reading, skip_bad_files=True)
        source = find_source(arguments.source, reading=reading, phantom_root=Path(phantom_root))
        inspection = inspect_source(arguments.source, source, arguments.splitting, seed=arguments.seed)
        _print(inspection)
        if arguments.out:
            page = arguments.out / "inspect.html"
            write_page(page, inspection)
            print(f"Wrote {page}")
    return 0


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out} cannot be made ({error.strerror}); choose another folder") from error


def _print(inspection: Inspection) -> None:
    console = Console(highlight=False)
    table = Table(title=Text(printable(inspection.name)), show_header=False, title_justify="left")
    for label, value in inspection.rows:
        table.add_row(Text(printable(label)), Text(printable(value)))
    console.print(table)
    for warning in inspection.warnings:
        console.print(Text(f"note: {printable(warning)}"), soft_wrap=True)
    findings = inspection.findings
    headline = f"{len(findings)} finding(s):" if findings else "Nothing odd was found."
    console.print(headline, style="bold")
    for finding in findings:
        line = Text(f"  {finding.kind}: ", style="bold")
        line.append(printable(f"{finding.where}: {finding.text}"), "not bold")
        console.print(line, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
