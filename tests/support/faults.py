"""A check that a fault of the program, planted by a test, ends a command with status 1 and keeps its traceback."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest


def assert_fault(
    capsys: pytest.CaptureFixture[str], main: Callable[[list[str]], int], argv: list[str], message: str = "planted"
) -> None:
    """Run a command in which a test planted a fault; check its status, its line, and the file with the traceback."""
    capsys.readouterr()
    assert main(argv) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "this is a fault of the program" in line
    report = re.search(r"please report it with (\S+)", line)
    assert report is not None, line
    path = Path(report[1])
    traceback = path.read_text()
    path.unlink()
    assert "Traceback (most recent call last)" in traceback
    assert message in traceback
    assert ", in fail" in traceback, "the frame that raised is in it"
