"""The live table: what it shows, and that it fits."""

import io
import logging
import math
import pickle
import re
import sys
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from search import console
from search.coordination.trial_progress import Phase
from search.record.trials import State
from search.screen import live
from search.screen.board import Best, RunningTrial, View
from search.screen.eta import Estimate, Plan
from search.screen.lines import Lines
from search.screen.live import ASCII_BARS, LiveTable, Picture, open_screen, spark_line
from search.space.named import WIDE
from tests.search.screen.test_screen import make_board
from tests.support.fakes import progress

LONG = dict.fromkeys(WIDE, 0.123456) | {"norm": "正規化" * 20, "augment": "\x1b[31m"}


def make_view(*, num_running: int, num_lanes: int = 16, left: Estimate | None = None, sample=LONG) -> View:
    best = Best(number=17, epoch=9, dice=0.8125, sample=sample)
    rows = [
        RunningTrial(
            number=number,
            sample=sample,
            dices=tuple(epoch / 40 for epoch in range(number)),
            epoch=number,
            left_seconds=60.0 * (40 - number) if number else None,
        )
        for number in range(num_running)
    ]
    return View(
        elapsed_seconds=3842.0,
        plan=Plan(num_trials=100, max_epochs=40, num_lanes=num_lanes),
        counts={State.PRUNED: 30, State.COMPLETE: 3, State.FAILED: 2},
        num_paused=5,
        best=best,
        running=tuple(rows),
        left=left,
    )


def draw(view: View, width: int, height: int, *, encoding: str = "utf-8") -> list[str]:
    """Return the lines that a terminal of this size shows."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    terminal = Console(file=file, width=width, height=height, force_terminal=True, color_system=None)
    terminal.print(Picture(view, "32 CPU and 16 GPU"))
    file.flush()
    return file.buffer.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 24), (200, 50), (80, 10), (20, 24)])
@pytest.mark.parametrize("num_running", [0, 1, 16, 64])
def test_picture_fits_and_counts_the_trials_that_it_leaves_out(width, height, num_running):
    lines = draw(make_view(num_running=num_running), width, height)
    assert len(lines) < height
    assert all(cell_len(line) <= width for line in lines)
    assert not any("\x1b" in line for line in lines)
    shown = sum(line.startswith("t0") for line in lines)
    hidden = [int(line.split()[1]) for line in lines if line.startswith("and ")]
    assert shown + sum(hidden) == num_running
    assert shown >= min(num_running, 1, height - 18)
    assert len(lines) <= max(height - 6, 10)  # what was said above is to be seen too


def test_picture_at_80_columns_by_hand():
    sample = {"learning_rate": 0.00123456, "depth": 3}
    view = make_view(
        num_running=3, num_lanes=4, left=Estimate(seconds=300, low_seconds=290, high_seconds=310), sample=sample
    )
    *lines, resources = draw(view, 80, 24)
    assert [line.rstrip() for line in lines] == [
        "1:04:02  35/100 trials ended  about 5 min left",
        "3 running, 5 paused, 3 complete, 30 pruned, 2 failed",
        "best so far t017 epoch 9, validation Dice 0.8125: learning_rate 0.00123 depth 3",
        "trial  epoch    Dice  curve  max left",
        "t000    0/40                           learning_rate 0.00123 depth 3",
        "t001    1/40  0.0000  ▁        39 min  learning_rate 0.00123 depth 3",
        "t002    2/40  0.0250  ▁█       38 min  learning_rate 0.00123 depth 3",
    ]
    assert resources.startswith("3 of 4 lanes busy, on 32 CPU and 16 GPU; memory of this machine ")


def test_picture_compares_the_best_with_the_default():
    view = make_view(num_running=0, sample={"depth": 3})

    def best_line(default_trial: int, default_dice: float) -> str:
        plan = replace(view.plan, default_trial=default_trial)
        return draw(replace(view, plan=plan, default_dice=default_dice), 120, 24)[2].rstrip()

    assert best_line(0, 0.75).endswith("Dice 0.8125, +0.0625 from the default: depth 3")
    assert best_line(0, math.nan).endswith("Dice 0.8125: depth 3")
    assert best_line(17, 0.8125).endswith("Dice 0.8125, by the default: depth 3")


def test_picture_at_40_columns_keeps_the_numbers():
    lines = draw(make_view(num_running=2, left=Estimate(seconds=300, low_seconds=290, high_seconds=310)), 40, 24)
    assert lines[0].rstrip() == "1:04:02  35/100 trials ended  about 5 m…"
    assert [line.rstrip() for line in lines[-4:-1]] == [
        "trial  epoch    Dice  curve  max left",
        "t000    0/40",
        "t001    1/40  0.0000  ▁        39 min",
    ]


def test_picture_of_a_search_that_has_only_begun():
    view = View(
        elapsed_seconds=0.0,
        plan=Plan(num_trials=4, max_epochs=9, num_lanes=1),
        counts={},
        num_paused=0,
        best=None,
        running=(),
        left=None,
    )
    lines = draw(view, 80, 24)
    assert [line.rstrip() for line in lines[:2]] == [
        "0:00  0/4 trials ended",
        "0 running, 0 paused, 0 complete, 0 pruned",
    ]
    assert lines[-1].startswith("0 of 1 lane busy, on ")
    waiting = replace(view, plan=replace(view.plan, num_lanes=0), waits_for="the only GPU is in use by other jobs")
    assert draw(waiting, 120, 24)[-1].startswith(
        "waiting for resources: the only GPU is in use by other jobs; memory of "
    )


def test_picture_draws_curves_where_there_are_only_ascii_characters():
    lines = draw(make_view(num_running=3, sample={"depth": 3}), 80, 24, encoding="ascii")
    assert any("0.0250  _#" in line for line in lines)


def test_picture_cuts_lines_where_there_are_only_ascii_characters():
    long = dict.fromkeys(WIDE, 0.123456)
    lines = draw(make_view(num_running=3, sample=long), 40, 24, encoding="ascii")
    assert all(len(line) <= 43 for line in lines)  # the last line of what is best ends by "..."
    assert any(line.endswith("...") for line in lines)


def test_say_replaces_what_a_terminal_cannot_show(monkeypatch):
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(console, "console", Console(file=file))
    console.say("RuntimeError: too lon…")
    file.flush()
    assert file.buffer.getvalue() == b"RuntimeError: too lon?\n"


@pytest.mark.parametrize(
    ("values", "width", "curve"),
    [
        ([], 8, ""),
        ([0.5], 8, "▅"),
        ([0.0, 0.25, 0.5, 0.75, 1.0], 8, "▁▃▅▇█"),
        ([0.0, math.nan, 1.0], 8, "▁ █"),
        ([0.0] * 7 + [1.0], 4, "▁▁▁█"),  # the last one is always there
        ([-1.0, 2.0], 8, "▁█"),
    ],
)
def test_spark_line_by_hand(values, width, curve):
    assert spark_line(values, 0.0, 1.0, width=width) == curve


@pytest.mark.parametrize("length", range(0, 60))
def test_spark_line_fits(length):
    assert len(spark_line([0.5] * length, 0.5, 0.5, width=16, bars=ASCII_BARS)) <= 16


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("file", "environment", "screen"),
    [
        (Terminal(), {"TERM": "xterm"}, LiveTable),
        (Terminal(), {"TERM": "dumb"}, Lines),
        (Terminal(), {"TERM": "xterm", "CI": "true"}, Lines),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, LiveTable),
        (io.StringIO(), {"TERM": "xterm"}, Lines),
    ],
)
def test_open_screen_is_a_table_only_for_a_person_at_a_terminal(tmp_path, monkeypatch, file, environment, screen):
    for name in ("TERM", "CI", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(live, "console", Console(file=file))
    assert type(open_screen(make_board(), tmp_path)) is screen


def watch_until_interrupted(table: LiveTable) -> None:
    with table.watched():
        table.on_leg(progress(0, [], phase=Phase.RUNNING))
        table.on_epoch(progress(0, [0.5]), progress(0, [0.5]).epochs[1])
        table.on_end(progress(0, [0.5]), State.PRUNED, None)
        table.on_end(progress(1, [0.5] * 2), State.COMPLETE, None)
        table.on_end(progress(2, []), State.FAILED, "ValueError: odd")
        console.say("a note")
        logging.getLogger("search").warning("a warning")
        print("a print", file=sys.stderr)
        raise KeyboardInterrupt


def test_lines_and_warnings_appear_whole_above_the_table(tmp_path, monkeypatch):
    terminal = Terminal()
    shared = Console(file=terminal, width=80, height=24, force_terminal=True, color_system=None)
    for module in (live, console):
        monkeypatch.setattr(module, "console", shared)
    monkeypatch.setattr(sys, "stderr", terminal)
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    table = LiveTable(make_board(), tmp_path, lambda num_lanes: f"{2 * num_lanes} CPU")
    with pytest.raises(KeyboardInterrupt):
        watch_until_interrupted(table)
    shown = re.sub(r"\x1b\[(2K|\?25[lh])", "\n", terminal.getvalue()).split("\n")  # a line that is cleared begins anew
    said = ["a note", "a warning", "a print"]
    assert [line for line in shown if line in said] == said
    ended = [line.split("  ", 1)[1] for line in (line.strip() for line in shown) if re.search(r"  t\d+ [A-Z]{6}", line)]
    assert ended == [
        "t000 PRUNED   after  1 epoch, Dice 0.5000, the best so far",
        "t001 COMPLETE after  2 epochs, Dice 0.5000",
        "t002 FAILED   after  0 epochs (ValueError: odd); errors/t002.txt",
    ]
    assert handler.stream is terminal
    assert "\x1b[?25h" in terminal.getvalue().rpartition("\x1b[?25l")[2], "the cursor is hidden"
    assert terminal.getvalue().endswith("\x1b[2K"), "the table is still there"


def test_a_live_table_can_be_pickled_as_tune_does(tmp_path):
    assert isinstance(pickle.loads(pickle.dumps(LiveTable(make_board(), tmp_path))), LiveTable)
