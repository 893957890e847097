"""The command in a terminal of its own: one live table, whole lines above it, and a clean end."""

import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable
from fcntl import ioctl

import pytest

from search.record.trials import State, read_rows
from tests.support.process_tree import command_lines

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PATIENCE_SECONDS = 240
DIVERGING = """
import sys
from optuna.distributions import CategoricalDistribution
from search.space.named import SPACES
from search.space.space import Space
from search.tune import main
rates = CategoricalDistribution([1e-3, 1e30])  # the second is no learning rate
SPACES["core"] = Space({**SPACES["core"], "depth": CategoricalDistribution([2, 3]), "learning_rate": rates})
sys.exit(main())
"""
TINY = ("--data", "phantom:6", "--size", "64", "--width", "2", "--max-epochs", "3", "--tracking", "off", "--no-choose")
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def run_in_terminal(
    command: list[str],
    *,
    when: Callable[[str], bool] = lambda text: False,
    most_seconds: float = PATIENCE_SECONDS,
) -> tuple[int, str]:
    """Return a command's status and all that it wrote to a terminal of 80 x 24; once, Ctrl-C is pressed there.

    Args:
        most_seconds: What the command may take from then on.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {name: value for name, value in os.environ.items() if name not in ("CI", "RAY_ADDRESS")}
        os.execvpe(command[0], command, environment | {"TERM": "xterm-256color"})
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    text, deadline, pressed = "", time.monotonic() + PATIENCE_SECONDS, False
    try:
        while chunk := _read(terminal, deadline):
            text += chunk.decode(errors="replace")
            if not pressed and when(text):
                os.write(terminal, b"\x03")
                pressed, deadline = True, time.monotonic() + most_seconds
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text
    except TimeoutError:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise AssertionError(text) from None
    finally:
        os.close(terminal)


def _read(terminal: int, deadline: float) -> bytes:
    ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
    if not ready:
        raise TimeoutError
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux: nobody holds its other side any more
        return b""


def plain(text: str) -> list[str]:
    """Return the lines that were written, the table's many times, without colours and movements."""
    return [line.strip("\r") for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).split("\n")]


def test_search_in_a_terminal_shows_a_live_table_and_each_error_once(tmp_path):
    options = ["--out", str(tmp_path), "--name", "live", "--trials", "8", "--searcher", "random", *TINY]
    status, text = run_in_terminal([sys.executable, "-c", DIVERGING, *options])
    lines = plain(text)
    assert status == 0, text
    rows = read_rows(tmp_path / "live" / "trials.jsonl")
    failed = [row for row in rows if row.state == State.FAILED]
    assert 0 < len(failed) < 8, "the seed drew no bad or no good trial"
    for row in rows:
        assert sum(f"{row.id} {row.state}" in line for line in lines) == 1, text
    for row in failed:
        [said] = [place for place, line in enumerate(lines) if f"{row.id} FAILED" in line]
        assert "train_loss was" in lines[said]
    assert any("trials ended" in line for line in lines)
    assert any(re.fullmatch(r"trial +epoch +Dice +curve +max left", line.strip()) for line in lines)
    assert any(re.search(r"trials ended  .* left", line) for line in lines)
    assert any(re.match(r"1 of 1 lane busy, on \d+ CPU; memory of this machine", line) for line in lines)
    assert any(re.match(r"Ray's logs +/.*/logs", line) for line in lines)
    last_table = max(place for place, line in enumerate(lines) if "trials ended" in line)
    assert any(line.startswith("Winner      t") for line in lines[last_table:])
    assert any(line.startswith("Errors      ") for line in lines[last_table:])
    assert not any(word in text for word in ("Warning", "WARNING", "deprecat", "Traceback", "Usage stats"))
    assert text.rfind(HIDE_CURSOR) < text.find(SHOW_CURSOR, text.rfind(HIDE_CURSOR))


@pytest.mark.slow
def test_interrupted_search_promotes_what_it_has_and_leaves_no_process(tmp_path):
    options = ["--out", str(tmp_path), "--name", "cut", "--trials", "40", *TINY, "--max-epochs", "50"]
    command = [sys.executable, "-m", "search.tune", *options]
    status, text = run_in_terminal(command, when=lambda text: "t001" in text, most_seconds=60)
    lines = plain(text)
    assert status == 0, text
    [stopping] = [place for place, line in enumerate(lines) if "Stopping: " in line]  # after the terminal's own ^C
    [cut_off] = [place for place, line in enumerate(lines) if "interrupted: " in line]
    assert re.search(r"interrupted: \d+ trials did not finish, and continue with --resume cut$", lines[cut_off])
    assert stopping < max(place for place, line in enumerate(lines) if "trials ended" in line) < cut_off
    assert any(line.startswith("Winner      t") for line in lines[cut_off:])
    assert read_rows(tmp_path / "cut" / "trials.jsonl")[-1].error == "interrupted"
    assert (tmp_path / "cut" / "best" / "model.onnx").exists()
    session = re.search(r"/session_[\d_-]+", text)
    assert session is not None
    assert not [line for line in command_lines().values() if session[0] in line]
    assert not any(word in text for word in ("Warning", "WARNING", "deprecat", "Traceback", "Usage stats"))
