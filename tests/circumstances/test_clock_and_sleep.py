"""Searches whose clock jumps, or whose machine sleeps in the middle of an epoch, go on as if nothing had happened.

SLEEP_SECONDS changes for how long it sleeps.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from search.record.epochs import EpochMetrics
from search.record.events import EpochEnded, Lost, read_events
from search.record.trials import State, read_rows
from tests.circumstances.tiny_search import tiny_search
from tests.support.process_tree import descendants

SLEEP_SECONDS = int(os.environ.get("SLEEP_SECONDS", "90"))
"""By default more than the minute that a worker has at least to answer."""

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(1800 + SLEEP_SECONDS),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="the clock is set by a library that gcc compiles"),
]

SEARCH = (
    "--trials",
    "2",
    "--max-epochs",
    "4",
    "--time-budget-seconds",
    str(1200 + SLEEP_SECONDS),
    "--searcher",
    "random",
    "--scheduler",
    "none",
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> Path:
    """A library that sets a process's clock (clock_jump.c)."""
    library = tmp_path_factory.mktemp("shim") / "clock_jump.so"
    source = Path(__file__).with_name("clock_jump.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def test_the_library_sets_the_wall_clock_alone(shim, tmp_path):
    environment = os.environ | clock_of(shim, tmp_path, -3600)
    program = (
        "import pathlib, sys, threading, time\n"
        "before = time.time(), time.monotonic()\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "threading.Event().wait(0.2)\n"
        "print(time.time() - before[0], time.monotonic() - before[1])"
    )
    command = [sys.executable, "-c", program, environment["CLOCK_JUMP_FILE"]]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    assert float(said[0]) == pytest.approx(-3600, abs=10)
    assert 0.2 <= float(said[1]) < 10


@pytest.mark.parametrize("seconds", [-3600, 86400], ids=["an hour back", "a day ahead"])
def test_search_goes_on_when_the_clock_jumps(seconds, shim, tmp_path):
    environment = clock_of(shim, tmp_path, seconds)
    done = search_with(tmp_path, environment, Path(environment["CLOCK_JUMP_FILE"]).touch)
    check(done, tmp_path / "tiny")


def test_search_goes_on_after_the_machine_has_slept(shim, tmp_path):
    environment = clock_of(shim, tmp_path, 3600)

    def sleep() -> None:
        processes = [*descendants(os.getpid())]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        Path(environment["CLOCK_JUMP_FILE"]).touch()
        time.sleep(SLEEP_SECONDS)
        for process in reversed(processes):
            os.kill(process, signal.SIGCONT)

    done = search_with(tmp_path, environment, sleep)
    check(done, tmp_path / "tiny", slept_seconds=SLEEP_SECONDS)


def clock_of(shim: Path, folder: Path, seconds: int) -> dict[str, str]:
    """Return the environment of a process whose clock jumps when there is a file."""
    return {"LD_PRELOAD": str(shim), "CLOCK_JUMP_FILE": str(folder / "jump"), "CLOCK_JUMP_SECONDS": str(seconds)}


def search_with(out: Path, environment: dict[str, str], act: Callable[[], None]) -> subprocess.CompletedProcess[str]:
    """Run a tiny search, and act when its first epoch has ended."""
    log = out / "tiny" / "events.jsonl"

    def wait() -> None:
        while not ended.wait(0.05):
            if log.exists() and '"epoch"' in log.read_text():
                return act()

    ended = threading.Event()
    thread = threading.Thread(target=wait)
    thread.start()
    try:
        return tiny_search(out, *SEARCH, env=environment, timeout=600 + SLEEP_SECONDS)
    finally:
        ended.set()
        thread.join()


def check(done: subprocess.CompletedProcess[str], folder: Path, *, slept_seconds: float = 0) -> None:
    """Check that all trials were trained to their end, that nothing was lost, and that all durations are right."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row.state for row in read_rows(folder / "trials.jsonl")] == [State.COMPLETE] * 2
    events = read_events(folder / "events.jsonl")
    assert not [event for event in events if isinstance(event, Lost)]
    epochs: list[EpochMetrics] = [event.metrics for event in events if isinstance(event, EpochEnded)]
    ends = [epoch.elapsed_seconds or 0.0 for epoch in epochs]
    assert len(ends) == 8
    assert ends == sorted(ends)
    assert 0 < ends[0] < ends[-1] < 600 + slept_seconds
    assert all(0 < epoch.seconds < 300 + slept_seconds for epoch in epochs)
