"""A live table at the bottom of a terminal: the running trials, the best so far, and the time that is left.

Trials that ended are printed above it, a line each, and scroll away.
"""

import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.text import Text

from data.printable import printable
from search.console import console
from search.coordination.trial_progress import TrialProgress
from search.record.epochs import EpochMetrics
from search.record.trials import State, trial_id
from search.screen.board import Board, RunningTrial, View
from search.screen.clock import format_clock, format_roughly
from search.screen.lines import Lines, describe_gain, describe_left, describe_sample

REFRESHES_PER_SECOND = 2
BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-:=+*#"
CURVE_WIDTH = 16
GAP = "  "
MAX_BEST_LINES = 3
HISTORY_LINES = 6
"""Lines of the terminal that are left for what is printed above the table."""

MIN_SAMPLE_WIDTH = 16
"""The fewest characters in which hyperparameters are shown; in fewer they cannot be read."""


def open_screen(board: Board, folder: Path, describe_lanes: Callable[[int], str] | None = None) -> Lines:
    """Return a live table for an interactive terminal, else lines: for a pipe, a file, TERM=dumb, or in CI.

    Args:
        describe_lanes: Returns what a number of lanes reserves in all, such as "4 CPU and 2 GPU".
    """
    if console.is_interactive and not os.environ.get("CI"):
        return LiveTable(board, folder, describe_lanes)
    return Lines(board, folder)


class LiveTable(Lines):
    """Prints fewer events than Lines does, because the table below shows the others."""

    def __init__(self, board: Board, folder: Path, describe_lanes: Callable[[int], str] | None = None) -> None:
        super().__init__(board, folder)
        self._describe_lanes = describe_lanes

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Show the table during the search, and remove it at the end."""
        table = Live(
            console=console,
            get_renderable=self._picture,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
            redirect_stderr=sys.stderr.isatty(),  # stderr that goes to a file does not disturb the table
        )
        with table, _log_messages_above():
            console.show_cursor(True)  # a hidden cursor would stay hidden after `kill -9`
            yield

    def on_epoch(self, trial: TrialProgress, epoch: EpochMetrics) -> None:
        """Record an epoch; the table shows it."""
        self._board.on_epoch(trial, epoch)

    def _picture(self) -> "Picture":
        view = self._board.view()
        return Picture(view, self._describe_lanes(view.plan.num_lanes) if self._describe_lanes else "")

    def _ending(self, trial: TrialProgress, state: State) -> str:
        num_epochs, best = len(trial.epochs), self._board.best
        dice = f", Dice {max(trial.dices.values()):.4f}" if trial.dices else ""
        note = ", the best so far" if best and best.number == trial.number else ""
        epochs = "epoch" if num_epochs == 1 else "epochs"
        return f"{trial_id(trial.number)} {state.value:8s} after {num_epochs:2d} {epochs}{dice}{note}"


@dataclass(frozen=True)
class Picture:
    """The table, drawn for the current size of the terminal."""

    view: View
    lane_resources: str
    """What all lanes together reserve, such as "4 CPU and 2 GPU"."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        above = [_heading(self.view), _counts(self.view), *_best(self.view, console, options)]
        # One line each for the table's head, for the trials that do not fit, for the resources, and for the cursor.
        room = max(2, options.size.height - HISTORY_LINES - len(above) - 4)
        rows = self.view.running[: room if len(self.view.running) <= room else room - 1]
        lines = [*above, *_table(self.view, rows, width, ascii_only=options.ascii_only)]
        if hidden := len(self.view.running) - len(rows):
            lines.append(Text(f"and {hidden} more", style="dim"))
        lines.append(_resources(self.view, self.lane_resources))
        for line in lines:
            # rich ends a line that is too long with "…", which Python refuses to write to an ASCII terminal.
            line.no_wrap, line.overflow = True, "crop" if options.ascii_only else "ellipsis"
        yield Group(*lines)


def spark_line(values: Sequence[float], low: float, high: float, *, width: int, bars: str = BARS) -> str:
    """Return a curve in at most `width` characters, each a bar between `low` and `high`.

    If there are more values than characters, only every second (or third, ...) is shown, and always the last. A value
    that is not finite becomes a blank.
    """
    step = max(1, math.ceil(len(values) / width))
    shown = values[::-1][::step][::-1]
    return "".join(_bar(value, low, high, bars) if math.isfinite(value) else " " for value in shown)


def _bar(value: float, low: float, high: float, bars: str) -> str:
    share = (value - low) / (high - low) if high > low else 0.0
    return bars[min(len(bars) - 1, max(0, int(share * len(bars))))]


def _heading(view: View) -> Text:
    left = f"  {describe_left(view.left)}" if view.left else ""
    return Text(
        f"{format_clock(view.elapsed_seconds)}  {view.num_ended}/{view.plan.num_trials} trials ended{left}", "bold"
    )


def _counts(view: View) -> Text:
    numbers = [
        (len(view.running), "running"),
        (view.num_paused, "paused"),
        *((view.counts.get(state, 0), state.value.lower()) for state in State),
    ]
    return Text(", ".join(f"{number} {name}" for number, name in numbers if number or name != "failed"))


def _best(view: View, terminal: Console, options: ConsoleOptions) -> list[Text]:
    """Return the best epoch so far and its hyperparameters, in up to three lines."""
    if view.best is None:
        return []
    best = view.best
    text = Text.assemble(
        "best so far ",
        (f"{trial_id(best.number)} epoch {best.epoch}, validation Dice {best.dice:.4f}", "green"),
        describe_gain(best.number, best.dice, view.plan.default_trial, view.default_dice),
        f": {printable(describe_sample(best.sample))}",
    )
    lines = list(text.wrap(terminal, options.max_width))
    if len(lines) > MAX_BEST_LINES:
        lines[MAX_BEST_LINES - 1].append("..." if options.ascii_only else "…")
    return lines[:MAX_BEST_LINES]


def _table(view: View, rows: Sequence[RunningTrial], width: int, *, ascii_only: bool) -> list[Text]:
    """Return the lines of the table. The curve, and then the hyperparameters, take the width that is left."""
    left = ["" if row.left_seconds is None else format_roughly(row.left_seconds) for row in rows]
    columns = [
        ["trial", *(trial_id(row.number) for row in rows)],
        _align_right(["epoch", *(f"{row.epoch}/{view.plan.max_epochs}" for row in rows)]),
        _align_right(["Dice", *(f"{row.dices[-1]:.4f}" if row.dices else "" for row in rows)]),
        _align_right(["max left", *left]),
    ]
    room = width - sum(len(GAP) + max(map(len, column)) for column in columns)
    columns.insert(3, ["curve", *_curves(view, rows, max(5, min(CURVE_WIDTH, room)), ascii_only=ascii_only)])
    columns = [[text.ljust(max(map(len, column))) for text in column] for column in columns]
    if width - sum(len(GAP) + len(column[0]) for column in columns) >= MIN_SAMPLE_WIDTH:
        columns.append(["", *(printable(describe_sample(row.sample)) for row in rows)])
    lines = [GAP.join(cells).rstrip() for cells in zip(*columns, strict=True)]
    return [Text(line, "dim" if place == 0 else "") for place, line in enumerate(lines)]


def _align_right(column: list[str]) -> list[str]:
    return [text.rjust(max(map(len, column))) for text in column]


def _curves(view: View, rows: Sequence[RunningTrial], width: int, *, ascii_only: bool) -> list[str]:
    """Return the curves of the rows, all on the scale of the running trials."""
    dices = [dice for row in view.running for dice in row.dices if math.isfinite(dice)]
    low, high = min(dices, default=0.0), max(dices, default=1.0)
    return [spark_line(row.dices, low, high, width=width, bars=ASCII_BARS if ascii_only else BARS) for row in rows]


def _resources(view: View, lane_resources: str) -> Text:
    lanes = f"{len(view.running)} of {view.plan.num_lanes} lane{'s'[: view.plan.num_lanes != 1]} busy"
    lanes += f", on {lane_resources}" if lane_resources else ""
    if view.waits_for:
        lanes = f"waiting for resources: {view.waits_for}"
    return Text("; ".join([lanes, *_memory()]), style="dim")


def _memory() -> list[str]:
    """Return a text about how much of this machine's memory is in use; [] where that is not known."""
    try:
        lines = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
    except OSError:
        return []
    bytes_of = {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines}
    total, free = bytes_of["MemTotal"], bytes_of["MemAvailable"]
    return [f"memory of this machine {(total - free) / 1e9:.3g} of {total / 1e9:.3g} GB"]


@contextmanager
def _log_messages_above() -> Iterator[None]:
    """Print log messages above the table. Their handlers write to the terminal directly, and would write into it."""
    handlers = [one for one in logging.getLogger().handlers if type(one) is logging.StreamHandler]
    before = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)
