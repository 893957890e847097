"""A real search, as small as one can be: what no other check finds, it does."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from search.cluster.start.choice import names_cluster
from search.doctor.checks.finding import Finding, fail, ok
from search.doctor.facts.probe import end, in_a_line, with_program
from search.formatting import format_duration

NAME = "doctor"

OPTIONS = (
    "--name", NAME, "--data", "phantom:3", "--size", "32", "--set", "depth=2", "--width", "2", "--trials", "1",
    "--max-epochs", "1", "--final-seeds", "0", "--tracking", "off", "--no-cache", "--no-choose",
)  # fmt: skip

SEARCH_SECONDS = 900.0
"""How long it may take. Alone on two cores it takes less than a minute; a busy machine may need ten."""

STOP_SECONDS = 30.0
"""How long a search may take to end after Ctrl-C."""

LOG = "search.log"

NUM_LINES = 3


def check_tiny_search(out: str, environment: Mapping[str, str]) -> Finding:
    """Run a search with one trial of one epoch on synthetic patients, and return how it ended.

    Args:
        out: The folder of all experiments. With a cluster, the search writes there, because all machines must reach it.
        environment: The environment variables of the search.
    """
    name, shared = "search", names_cluster(environment)
    is_new = shared and not os.path.exists(out)
    if shared and "://" in out:
        return ok(name, "not run: it would leave files in the bucket")
    try:
        if shared:
            Path(out).mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="tumour-search-doctor-", dir=out if shared else None))
    except OSError as error:
        return fail(name, f"it has no folder to write to: {error}", "mend the folders above first")
    try:
        return run_search(folder, environment)
    finally:
        if is_new:
            with suppress(OSError):  # what a search that failed has left there
                Path(out).rmdir()


def run_search(folder: Path, environment: Mapping[str, str], *options: str, seconds: float = SEARCH_SECONDS) -> Finding:
    """Run a search in an empty folder, which is removed if the search ends well, and return how it ended."""
    begun = time.monotonic()
    try:
        status = _search(folder, environment, options, seconds)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    took = time.monotonic() - begun
    if status == 0:
        shutil.rmtree(folder, ignore_errors=True)
        return ok("search", f"succeeded in {format_duration(took)}")
    why = f"no end within {format_duration(seconds)}" if status is None else f"failed after {format_duration(took)}"
    remedy = f"its whole output is in {folder / LOG}; the first red line above, if there is one, may be the cause"
    return fail("search", in_a_line(f"{why}: {explain(folder)}"), remedy)


def explain(folder: Path) -> str:
    """Return the first lines that say why a search failed: its own error, a trial's, or else the last it printed."""
    lines = [line.strip() for line in (folder / LOG).read_text(errors="replace").splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith(("error:", "ERROR"))]
    if errors:
        return " ".join(lines[errors[0] : errors[0] + NUM_LINES])
    for text in sorted((folder / NAME / "errors").glob("*.txt")):
        return " ".join(text.read_text(errors="replace").split("\n")[:NUM_LINES])
    return " ".join(lines[-NUM_LINES:]) or "it printed nothing"


def _search(folder: Path, environment: Mapping[str, str], options: Sequence[str], seconds: float) -> int | None:
    """Run the search, and return its exit status, or None if it takes too long."""
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "search.tune", *OPTIONS, "--out", str(folder.absolute()), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=with_program(environment),
            cwd=folder,
            start_new_session=True,
        )
        return _wait(process, seconds)


def _wait(process: subprocess.Popen, seconds: float) -> int | None:
    """Return the exit status of a search, or None if it takes too long. If this process is interrupted, it ends too."""
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=STOP_SECONDS)
        end(process)
