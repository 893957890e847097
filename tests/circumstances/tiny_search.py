"""A whole search in half a minute, in a process of its own, under circumstances that a test makes."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TINY = ("--data", "phantom:6", "--size", "64", "--width", "2", "--trials", "1", "--max-epochs", "1", "--no-choose")


def tiny_search(
    out: Path,
    *options: str,
    env: Mapping[str, str | None] = {},
    wrapper: Sequence[str] = (),
    timeout: float = 600,
) -> subprocess.CompletedProcess[str]:
    """Run a search named `tiny`, and return its exit status and what it printed.

    Args:
        options: Added to those of the tiny search; later ones count.
        env: Environment variables that are different; None removes one.
        wrapper: A command in front of Python, such as `unshare -m`.
        timeout: Seconds after which the search is ended.
    """
    command = [*wrapper, sys.executable, "-m", "search.tune", "--out", str(out), "--name", "tiny", *TINY]
    return subprocess.run(
        [*command, "--tracking", "off", *options],
        env={name: value for name, value in {**os.environ, **env}.items() if value is not None},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
