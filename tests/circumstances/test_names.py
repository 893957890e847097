"""A whole search among folders and patients of any name, and the commands that it prints, pasted into a shell."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from data.readers.phantom_drawing import write_phantom
from search.record.experiment_record import read_experiment
from tests.circumstances.tiny_search import ROOT, tiny_search

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]

NAMES = ("Jürgen 'Müller'", "$(whoami) & co", os.fsdecode(b"M\xfcller"), "患者")
ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}


def test_search_among_odd_names_prints_commands_that_can_be_pasted(tmp_path):
    place = tmp_path / "über mein Ordner"
    place.mkdir()
    data, out = write_patients(place), place / "alle Läufe"
    done = tiny_search(out, "--data", str(data), env=ASCII)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(NAMES) < set(read_experiment(out / "tiny").data.split.ids)
    for command in ("search.list", "search.report tiny", "search.promote tiny"):
        done = paste(f"python -m {command} --out {shlex.quote(str(out))}", place, env=ASCII)
        assert done.returncode == 0, done.stdout + done.stderr
    assert paste(f"python -m data.inspect {shlex.quote(str(data))} --out page.html", place, env=ASCII).returncode == 0

    moved = data.rename(data.with_name("anderswo & überall"))
    done = paste(f"python -m search.promote tiny --out {shlex.quote(str(out))}", place)
    assert done.returncode == 2
    command = only_command(done.stderr).replace("NEWPATH", shlex.quote(str(moved)))
    done = paste(command, place)
    assert done.returncode == 0, done.stdout + done.stderr

    for printed in (done.stdout, (out / "tiny" / "best" / "card.md").read_text(encoding="utf-8")):
        command = only_command(printed, "model.predict").replace("PATIENT_FOLDER", shlex.quote(str(moved / NAMES[0])))
        assert paste(command, place).returncode == 0


def write_patients(place: Path) -> Path:
    """Write phantoms, rename some, and return the folder that holds them."""
    data = (write_phantom(place, num_patients=7) / "kaggle_3m").rename(place / "Bilder (1)")
    for folder, name in zip(sorted(data.iterdir()), NAMES, strict=False):
        for file in folder.iterdir():
            file.rename(folder / file.name.replace(folder.name, name))
        folder.rename(data / name)
    return data


def only_command(text: str, module: str = "") -> str:
    """Return the command in a text, which ends with its line."""
    [command] = re.findall(rf"python -m {re.escape(module)}.*", text)
    return command


def paste(command: str, folder: Path, *, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell, as a person who has installed the program does."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **(env or {})}
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
