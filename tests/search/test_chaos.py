"""A whole search whose parts are killed at random moments; then everything is accounted for.

Blows are drawn from a seed, which the test prints. Environment variables change what is drawn: CHAOS_KILLS (how many),
CHAOS_SEED, and CHAOS_VICTIMS ("raylet,power"). A test prints its figures as a line of JSON. With CHAOS_FOLDER, a test
that was interrupted goes on after the last blow.
"""

import getpass
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from search.record.trials import State, TrialRow, read_rows
from tests.support import power
from tests.support.chaos import Disturbed, draw_blows
from tests.support.process_tree import with_variable

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(4 * 3600)]

NUM_KILLS = int(os.environ.get("CHAOS_KILLS", "20"))
SEARCH = ("--data", "phantom:6", "--size", "64", "--width", "2", "--max-epochs", "9", "--tracking", "off")
ONE_LANE = ("--max-concurrent", "1", "--max-failures", "1000")
VICTIMS = {
    1: ("driver", "lane", "raylet", "gcs", "power"),
    2: ("driver", "lane", "worker", "controller", "raylet", "gcs", "power"),
}
"""What is killed, by the number of workers of a trial; a single worker runs in the lane itself."""

UNTIMED = {
    "seconds": 0.0,
    "val_seconds": None,
    "waiting_seconds": None,
    "elapsed_seconds": None,
    "peak_memory_mb": None,
}
"""What differs between two runs of a search: times, and the memory of processes that have trained before."""

ALONE_SECONDS = 60.0


@pytest.fixture
def out(tmp_path, workers) -> Path:
    """The folder of the searches, which stays if CHAOS_FOLDER names one."""
    folder = Path(os.environ.get("CHAOS_FOLDER") or tmp_path).resolve() / f"{workers}-workers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def environment(out, monkeypatch):
    """The environment of the searches, with folders of their own for temporary files; sockets need a short path."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray_folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    (out / "tmp").mkdir(exist_ok=True)
    yield power.environment(out / "synced") | {"TMPDIR": str(out / "tmp"), "RAY_TMPDIR": str(ray_folder)}
    shutil.rmtree(ray_folder)


@pytest.mark.parametrize("workers", [1, 2])
def test_search_survives_kills_at_random_moments(out, environment, workers):
    seed = int(os.environ.get("CHAOS_SEED") or workers)
    victims = tuple(filter(None, os.environ.get("CHAOS_VICTIMS", "").split(","))) or VICTIMS[workers]
    blows = draw_blows(victims, NUM_KILLS, seed)
    options = (*SEARCH, *ONE_LANE, "--trials", str(2 * NUM_KILLS), "--workers-per-trial", str(workers))
    print(f"CHAOS_SEED={seed} CHAOS_KILLS={NUM_KILLS} CHAOS_VICTIMS={','.join(victims)}", flush=True)
    shared_memory, started = set(os.listdir("/dev/shm")), time.monotonic()
    search = Disturbed(out=out, name="chaos", options=options, environment=environment, max_groups=workers)
    assert search.run(blows) == 0, search.last_words()
    seconds = time.monotonic() - started
    figures = {"workers": workers, "seed": seed, "kills": dict(search.killed), "seconds": round(seconds)}
    trained = search.trained() + search.lost
    figures |= {"epochs": len(search.trained()), "again": trained.total() - len(trained)}
    figures |= {"left": what_is_left(search, shared_memory), "groups": dict(search.groups_seen)}
    print(json.dumps(figures), flush=True)
    assert figures["again"] <= NUM_KILLS
    assert figures["left"] == []
    undisturbed = replace(search, name="quiet", killed=Counter(), lost=Counter())
    assert undisturbed.run([]) == 0, undisturbed.last_words()
    assert table(search.folder) == table(undisturbed.folder)
    best, expected = (json.loads((one.folder / "best/metrics.json").read_text()) for one in (search, undisturbed))
    assert (best["trial"], best["test"]) == (expected["trial"], expected["test"])


def table(folder: Path) -> list[TrialRow]:
    """Return the table of trials without times and paths; every trial is in it, with every epoch."""
    rows = read_rows(folder / "trials.jsonl")
    assert [row.number for row in rows] == list(range(2 * NUM_KILLS))
    assert {row.state for row in rows} <= {State.COMPLETE, State.PRUNED}, Counter(row.state for row in rows)
    for row in rows:
        assert [epoch.epoch for epoch in row.epochs] == list(range(1, len(row.epochs) + 1))
        assert row.error is None
    return [
        replace(row, seconds=0.0, checkpoint=None, epochs=tuple(replace(epoch, **UNTIMED) for epoch in row.epochs))
        for row in rows
    ]


def what_is_left(search: Disturbed, shared_memory: set[str]) -> list[str]:
    """Return processes, shared memory and temporary files that a search has left, once it had time to clear up.

    Placement groups end with the search's Ray, so they are counted before each kill (`Disturbed.groups_seen`). The lock
    of the experiment's folder ends with its process; only a search in a bucket has a lease.
    """
    known = {*shared_memory, f"torchinductor_{getpass.getuser()}"}  # torch keeps what it compiles there, for good
    mark, deadline = f"SYNC_NOTES={search.environment['SYNC_NOTES']}", time.monotonic() + ALONE_SECONDS
    while True:
        temporary = Path(search.environment["TMPDIR"]).iterdir()
        # Tune loads W&B's client, whose two empty folders stay where the driver is killed, or ends at once.
        files = {path.name for path in temporary if "wandb-" not in path.name or any(path.iterdir())}
        left = {*with_variable(mark), *os.listdir("/dev/shm"), *files}
        if not left - known or time.monotonic() > deadline:
            return sorted(left - known)
        time.sleep(1.0)
