"""`python -m search.list`: the experiments of a folder, newest first, a line each."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.arguments import parse_arguments
from data.printable import printable
from search.console import open_console
from search.formatting import format_duration
from search.record.files import BEST_FOLDER, CONFIG_FILE, METRICS_FILE, TABLE_FILE, read_experiment
from search.record.trials import best_first, count_states, read_rows
from search.status import experiment_names, standing, wall_seconds
from search.storage.download import sync_down_all
from search.storage.working_folder import Out, format_out

COLUMNS = ("experiment", "state", "data", "trials", "epochs", "val Dice", "test Dice", "began", "wall clock")
NUMBERS = ("epochs", "val Dice", "test Dice", "wall clock")

DISPENSABLE = ("wall clock", "epochs", "data", "trials", "began")
"""Columns that a narrow terminal goes without, the first of them first."""

NAME_WIDTH = 20
"""Characters of a name that must fit; what is longer goes on below."""

GAP = 2

MAX_REASON = 300
"""Characters."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """List the experiments of a folder, newest first: how each stands, what it spent, and how good its best is.

    `running`: a process writes there; `interrupted`: --resume would go on; `finished`: ended, nothing promoted;
    `promoted`: ended, with a model in best/. `trials` are those that ended, of those asked for, by C(OMPLETE),
    P(RUNED), F(AILED). `wall clock` is up to the last epoch.
    """

    out: Out = Path("runs")
    """Folder of all experiments, or a bucket: s3://bucket/prefix."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What the list says of one experiment."""

    name: str
    began: float
    """As a POSIX time, to sort by."""

    cells: dict[str, str]
    """By column."""

    damage: str | None = None
    """Why nothing more can be said of it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the list; return 0, or 2 on a mistake in what was asked."""
    arguments = parse_arguments(Arguments, argv, prog="python -m search.list")
    try:
        lines = [read_line(arguments.out / name) for name in experiment_names(sync_down_all(arguments.out))]
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not lines:
        print(f"no experiments in {format_out(arguments.out)}: python -m search.tune makes one")
        return 0
    print_lines(sorted(lines, key=lambda line: (-line.began, line.name)), open_console())
    return 0


def read_line(folder: Path) -> Line:
    """Return what is said of an experiment; of a damaged one, what is wrong with it."""
    try:
        experiment = read_experiment(folder)
        rows = read_rows(folder / TABLE_FILE)
        config, began = experiment["config"], datetime.fromisoformat(experiment["started"])
        counts = " ".join(f"{count}{state[0]}" for state, count in count_states(rows).items() if count)
        best = best_first(rows)
        cells = {
            "state": standing(folder, config, rows).value,
            "data": Path(experiment["data"]["source"]).name,
            "trials": f"{len(rows)}/{config['trials']}" + (f" {counts}" if counts else ""),
            "epochs": str(sum(len(row.epochs) for row in rows)),
            "val Dice": f"{best[0].best_dice:.4f}" if best else "-",
            "test Dice": _test_dice(folder),
            "began": f"{began:%Y-%m-%d %H:%M}",
            "wall clock": format_duration(wall_seconds(rows)),
        }
        return Line(name=folder.name, began=began.timestamp(), cells=cells)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Line(name=folder.name, began=_changed(folder), cells={"state": "damaged"}, damage=_reason(error))


def print_lines(lines: Sequence[Line], console: Console) -> None:
    """Print the table, and below it what it has no room for, and what is wrong with damaged experiments."""
    columns = _fitting(lines, console.width)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        is_name = column == COLUMNS[0]
        justify = "right" if column in NUMBERS else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=not is_name)
    for line in lines:
        table.add_row(*(Text(_cell(line, column)) for column in columns))
    console.print(table)
    notes = [f"{_one_line(line.name)} is damaged: {_one_line(line.damage)}" for line in lines if line.damage]
    if left_out := [column for column in COLUMNS if column not in columns]:
        notes.append(f"(A wider terminal, or a pipe, shows {', '.join(left_out)} as well.)")
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _fitting(lines: Sequence[Line], width: int) -> list[str]:
    """Return the columns that stand side by side in so many characters."""
    widths = {column: max(len(column), *(len(_cell(line, column)) for line in lines)) for column in COLUMNS}
    widths[COLUMNS[0]] = min(widths[COLUMNS[0]], NAME_WIDTH)
    columns, dispensable = list(COLUMNS), list(DISPENSABLE)
    while dispensable and sum(widths[column] + GAP for column in columns) > width:
        columns.remove(dispensable.pop(0))
    return columns


def _cell(line: Line, column: str) -> str:
    return _one_line(({COLUMNS[0]: line.name} | line.cells).get(column, "-"))


def _one_line(text: str) -> str:
    return printable(text.replace("\n", "\r"))  # which is not printable either


def _test_dice(folder: Path) -> str:
    path = folder / BEST_FOLDER / METRICS_FILE
    if not path.exists():
        return "-"
    dice = json.loads(path.read_text())["test"]["dice"]["mean"]
    return "-" if dice is None else f"{dice:.4f}"


def _changed(folder: Path) -> float:
    """Return when a folder that does not say when it began last changed."""
    try:
        return max(path.stat().st_mtime for path in (folder, folder / CONFIG_FILE) if path.exists())
    except OSError:
        return 0.0


def _reason(error: Exception) -> str:
    """Return an error in one line."""
    text = repr(error) if isinstance(error, KeyError | TypeError | AttributeError) else str(error)
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}..."


if __name__ == "__main__":
    sys.exit(main())
