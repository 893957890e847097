"""The smallest whole search, as a user runs it, under circumstances that a test chooses."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NAME = "tiny"
"""Name of the experiment: its files are in `out / NAME`."""

OPTIONS = {
    "--data": "phantom:6",
    "--size": "64",
    "--width": "2",
    "--trials": "1",
    "--max-epochs": "1",
    "--batch-size": "8",
    "--tracking": "off",
    "--name": NAME,
}
"""The options of the search, unless a test gives its own value."""


def tiny_search(
    out: Path,
    *options: str,
    env: Mapping[str, str | None] = {},
    wrapper: Sequence[str] = (),
    timeout: float = 600,
    program: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """Return the result of a whole search with one trial of one epoch, whether it succeeded or not.

    Args:
        out: The folder of the experiment's folder.
        options: Further options of `search.tune`; they take the place of those in OPTIONS.
        env: Variables to set, by name; None removes one.
        wrapper: A command and its options in front of the search, such as ("taskset", "-c", "0").
        timeout: After so many seconds subprocess.TimeoutExpired is raised.
        program: The folder of the packages that run.
    """
    pairs = [word for name, value in OPTIONS.items() if name not in options for word in (name, value)]
    command = [*wrapper, sys.executable, "-m", "search.tune", "--out", str(out), *pairs, "--no-choose", *options]
    changed = {"RAY_ADDRESS": None, **env}
    variables = {name: value for name, value in os.environ.items() if name not in changed}
    variables |= {name: value for name, value in changed.items() if value is not None}
    return subprocess.run(command, cwd=program, env=variables, capture_output=True, text=True, timeout=timeout)


def own_mounts() -> tuple[str, ...]:
    """Return the command that runs another with mounts of its own; skip the test where that is not allowed."""
    command = ("unshare", "--mount")
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare: install util-linux")
    tried = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"mounts are not allowed here: {tried.stderr.strip()}")
    return command
