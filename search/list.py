"""`python -m search.list`: list the experiments of a folder, the newest first, one on each line."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.arguments import parse_arguments
from data.command import run_command
from data.errors import UserError
from data.printable import printable
from search.console import open_console
from search.formatting import format_duration
from search.record.experiment_record import read_experiment
from search.record.files import BEST_FOLDER, CONFIG_FILE, METRICS_FILE, TABLE_FILE
from search.record.model_metrics import read_metrics
from search.record.trials import best_first, count_states, read_rows
from search.storage.download import sync_down_all
from search.storage.status import experiment_names, status_of, wall_seconds
from search.storage.working_folder import Out, format_out

COLUMNS = ("experiment", "status", "data", "trials", "epochs", "val Dice", "test Dice", "began", "wall clock")
NUMBERS = ("epochs", "val Dice", "test Dice", "wall clock")

DISPENSABLE = ("wall clock", "epochs", "data", "trials", "began")
"""The columns that are left out first on a narrow terminal, in this order."""

NAME_WIDTH = 20
"""Characters of a name that must fit on a line; a longer one is wrapped."""

GAP = 2

MAX_REASON = 300
"""The most characters of an error that are shown."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """List the experiments of a folder, the newest first: the status of each, what it spent, and its best Dice.

    The status is `running` while a process writes there, `interrupted` if --resume would continue the search,
    `finished` if the search has ended and nothing was promoted, and `promoted` if there is a model in best/. `trials`
    is the number that ended out of the number to try, followed by how many are C(OMPLETE), P(RUNED) and F(AILED).
    `wall clock` ends with the last epoch.
    """

    out: Out = Path("runs")
    """Folder of all experiments, or a bucket: s3://bucket/prefix."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the list."""

    name: str
    began: float
    """POSIX time; the list is sorted by it."""

    cells: dict[str, str]
    """The text of each cell, by column."""

    damage: str | None = None
    """Why the experiment cannot be read; None if it can."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the list and return the exit status (see data/command.py)."""
    return run_command(_main, argv)


def _main(argv: list[str]) -> int:
    arguments = parse_arguments(Arguments, argv, prog="python -m search.list")
    lines = [read_line(arguments.out / name) for name in experiment_names(sync_down_all(arguments.out))]
    if not lines:
        print(f"no experiments in {format_out(arguments.out)}: python -m search.tune makes one")
        return 0
    print_lines(sorted(lines, key=lambda line: (-line.began, line.name)), open_console())
    return 0


def read_line(folder: Path) -> Line:
    """Return the line of an experiment; that of a damaged one says what is wrong with it."""
    try:
        experiment = read_experiment(folder)
        rows = read_rows(folder / TABLE_FILE)
        began = datetime.fromisoformat(experiment.started)
        counts = " ".join(f"{count}{state[0]}" for state, count in count_states(rows).items() if count)
        best = best_first(rows)
        cells = {
            "status": status_of(folder, experiment, rows).value,
            "data": Path(experiment.data.source).name,
            "trials": f"{len(rows)}/{experiment.num_trials}" + (f" {counts}" if counts else ""),
            "epochs": str(sum(len(row.epochs) for row in rows)),
            "val Dice": f"{best[0].best_dice:.4f}" if best else "-",
            "test Dice": _test_dice(folder),
            "began": f"{began:%Y-%m-%d %H:%M}",
            "wall clock": format_duration(wall_seconds(rows)),
        }
        return Line(name=folder.name, began=began.timestamp(), cells=cells)
    except (OSError, UserError) as error:
        return Line(name=folder.name, began=_changed(folder), cells={"status": "damaged"}, damage=_reason(error))


def print_lines(lines: Sequence[Line], console: Console) -> None:
    """Print the table, and below it which columns were left out and what is wrong with damaged experiments."""
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
    """Return the columns that fit side by side into `width` characters."""
    widths = {column: max(len(column), *(len(_cell(line, column)) for line in lines)) for column in COLUMNS}
    widths[COLUMNS[0]] = min(widths[COLUMNS[0]], NAME_WIDTH)
    columns: list[str] = [*COLUMNS]
    dispensable = [*DISPENSABLE]
    while dispensable and sum(widths[column] + GAP for column in columns) > width:
        columns.remove(dispensable.pop(0))
    return columns


def _cell(line: Line, column: str) -> str:
    return _one_line(({COLUMNS[0]: line.name} | line.cells).get(column, "-"))


def _one_line(text: str) -> str:
    return printable(text.replace("\n", "\r"))  # printable() keeps line breaks, but replaces "\r"


def _test_dice(folder: Path) -> str:
    metrics = read_metrics(folder / BEST_FOLDER / METRICS_FILE)
    return f"{metrics.test.dice.mean:.4f}" if metrics and math.isfinite(metrics.test.dice.mean) else "-"


def _changed(folder: Path) -> float:
    """Return when a damaged experiment was last changed, as POSIX time; 0 if that cannot be read either."""
    try:
        return max(path.stat().st_mtime for path in (folder, folder / CONFIG_FILE) if path.exists())
    except OSError:
        return 0.0


def _reason(error: Exception) -> str:
    """Return the message of an error, cut where it is too long."""
    text = str(error)
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}..."


if __name__ == "__main__":
    sys.exit(main())
