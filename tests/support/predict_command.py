"""The command `model.predict`, run in the process of a test."""

import csv
from pathlib import Path

import pytest

from model.predict.__main__ import main


def run(model: Path, *arguments: object, out: Path) -> None:
    """Run the command with these arguments; it must succeed."""
    assert _status(model, arguments, out) == 0


def failure(capsys: pytest.CaptureFixture[str], model: Path, *arguments: object, out: Path) -> str:
    """Return what the command writes to standard error when it ends with exit status 2."""
    capsys.readouterr()
    assert _status(model, arguments, out) == 2
    return capsys.readouterr().err.strip()


def table(out: Path) -> list[dict[str, str]]:
    """Return the rows of volumes.csv."""
    return list(csv.DictReader((out / "volumes.csv").read_text().splitlines()))


def _status(model: Path, arguments: tuple[object, ...], out: Path) -> int:
    return main([str(model), *map(str, arguments), "--out", str(out), "--runtime", "onnxruntime"])
