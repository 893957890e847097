"""A whole search during which its parts are killed at random moments, at least twenty times."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from search.record.jsonl import read_lines
from search.record.trials import State, read_rows
from tests.support.process_tree import command_lines, descendants

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]

NUM_KILLS = 20
SEARCH = ("--data", "phantom:6", "--size", "64", "--width", "2", "--trials", "40", "--max-epochs", "9")
VICTIMS = {
    1: ("driver", "ray::Lane"),
    2: ("driver", "ray::Lane", "ray::RayTrainWorker", "ray::TrainController"),
}
"""What is killed, by the number of workers of a trial; a single worker runs in the lane itself."""

BIRTH_SECONDS = 60
ALONE_SECONDS = 60


@pytest.mark.parametrize(("workers", "seed"), [(1, 0), (2, 1)])
def test_search_survives_kills_at_random_moments(tmp_path, workers, seed):
    rng = random.Random(seed)
    shared_memory = set(os.listdir("/dev/shm"))
    options = ("--name", "chaos", "--workers-per-trial", str(workers), "--max-failures", "100", "--tracking", "off")
    process = start(tmp_path, *SEARCH, *options)
    killed: Counter[str] = Counter()
    while killed.total() < NUM_KILLS or process.poll() is None:
        time.sleep(rng.uniform(0.0, 4.0) if killed.total() < NUM_KILLS else 0.5)
        if process.poll() is not None:
            assert killed.total() >= NUM_KILLS, f"the search ended after {killed}: {log_of(tmp_path)}"
            break
        if killed.total() < NUM_KILLS and (victim := kill_one(process, VICTIMS[workers], rng)):
            killed[victim] += 1
            if victim == "driver":
                process.wait()
                started = (tmp_path / "chaos" / "config.json").exists()
                process = start(tmp_path, *(("--resume", "chaos") if started else (*SEARCH, *options)))
    assert process.returncode == 0, log_of(tmp_path)
    print(f"killed: {dict(killed)}")
    assert set(killed) == set(VICTIMS[workers]), killed
    check_table(tmp_path / "chaos", killed.total())
    check_nothing_is_left(process, shared_memory)


def start(out: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "search.tune", "--out", str(out), *options]
    with (out / "log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def log_of(out: Path) -> str:
    return (out / "log").read_text()[-5000:]


def kill_one(process: subprocess.Popen, victims: tuple[str, ...], rng: random.Random) -> str | None:
    """Kill a part of the search with SIGKILL once it runs, and return its name; None if it does not start in time."""
    victim = rng.choice(victims)
    if victim == "driver":
        process.kill()
        return victim
    deadline = time.monotonic() + BIRTH_SECONDS
    while not (pids := [pid for pid, name in descendants(process.pid).items() if name.startswith(victim)]):
        if process.poll() is not None or time.monotonic() > deadline:
            return None
        time.sleep(0.2)
    time.sleep(rng.uniform(0.0, 4.0))
    try:
        os.kill(rng.choice(sorted(pids)), signal.SIGKILL)
    except ProcessLookupError:  # it has ended in the meantime
        return None
    return victim


def check_table(folder: Path, num_kills: int) -> None:
    rows = read_rows(folder / "trials.jsonl")
    assert [row.number for row in rows] == list(range(40))
    assert {row.state for row in rows} == {State.COMPLETE, State.PRUNED}, Counter(row.state for row in rows)
    for row in rows:
        assert [epoch.epoch for epoch in row.epochs] == list(range(1, len(row.epochs) + 1))
        assert row.error is None
    epochs = Counter(
        (event["number"], event["metrics"]["epoch"])
        for event in read_lines(folder / "events.jsonl")
        if event["event"] == "epoch"
    )
    redone = epochs.total() - len(epochs)
    print(f"{redone} of {len(epochs)} epochs were trained again")
    assert redone <= num_kills
    assert json.loads((folder / "best" / "metrics.json").read_text())["trial"]


def check_nothing_is_left(process: subprocess.Popen, shared_memory: set[str]) -> None:
    deadline = time.monotonic() + ALONE_SECONDS
    while left := ray_processes() | (set(os.listdir("/dev/shm")) - shared_memory):
        assert time.monotonic() < deadline, left
        time.sleep(1.0)


def ray_processes() -> set[str]:
    """Return the command lines of all of Ray's processes on this machine."""
    names = ("ray::", "/raylet/raylet", "gcs_server")
    return {command[:100] for command in command_lines().values() if any(name in command for name in names)}
