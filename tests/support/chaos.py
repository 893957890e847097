"""Blows to a running search: one of its parts, or all of them, are killed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from search.record.jsonl import append_line, read_lines
from tests.support import power
from tests.support.process_tree import descendants
from tests.support.ray_internals import count_placement_groups

PARTS = {
    "lane": "ray::Lane",
    "worker": "ray::RayTrainWorker",
    "controller": "ray::TrainController",
    "raylet": "/raylet/raylet",
    "gcs": "/gcs/gcs_server",
}
"""What is in the first word of the command line of each part of a search, except the driver."""

DRIVERS = ("driver", "power")
"""What ends the driver."""

DAEMONS = ("raylet", "gcs")
"""Ray's own, without which a Ray on one machine cannot go on."""

BIRTH_SECONDS = 60.0
"""How long a part may take to start."""

EARLY_SHARE = 0.25
"""How many of the blows to the driver and to Ray's daemons fall while the search starts; the others wait for a lane."""

LEAK_SECONDS = 30.0
"""How soon after a loss everything must be free again that the lost parts had booked."""

END_SECONDS = 180.0
"""How long a search may take to notice that a daemon of its Ray is gone, and to end. While Ray waits for the first sign
of a GCS server, for two minutes, it notices nothing."""


@dataclass(frozen=True, kw_only=True)
class Blow:
    """A part that is killed, and when."""

    victim: str
    """A key of PARTS, "driver", or "power": everything at once, with what is not synced to the disk."""

    wait_seconds: float
    """How long after the blow before, or after the part was there."""

    share: float
    """Which of several such parts it is, from 0 to 1."""


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def draw_blows(victims: Sequence[str], number: int, seed: int) -> list[Blow]:
    """Return blows to all victims in turn, in an order of chance. A seed gives the same ones each time."""
    rng = random.Random(seed)
    drawn = [victims[index % len(victims)] for index in range(number)]
    rng.shuffle(drawn)
    return [Blow(victim=one, wait_seconds=rng.uniform(0.0, 8.0), share=rng.random()) for one in drawn]


@dataclass(kw_only=True)
class Disturbed:
    """A search that is disturbed, and resumed after each blow that ends it."""

    out: Path
    name: str
    options: Sequence[str]
    environment: Mapping[str, str]
    max_groups: int
    """How many placement groups its lanes and their workers book at most."""

    killed: Counter[str] = field(default_factory=Counter)
    """How often each part was killed."""

    lost: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Epochs that a power cut has taken out of the log, by trial and epoch."""

    groups_seen: Counter[int] = field(default_factory=Counter)
    """How often so many placement groups were there, when a part was about to be killed."""

    @property
    def folder(self) -> Path:
        return self.out / self.name

    @property
    def has_begun(self) -> bool:
        """Whether there is something to resume."""
        return (self.folder / "config.json").exists()

    @property
    def screen(self) -> Path:
        """The file with all that the search has printed."""
        return self.out / "screen"

    def start(self) -> subprocess.Popen:
        """Begin the search, or resume it if it had begun."""
        options = ("--resume", self.name) if self.has_begun else (*self.options, "--name", self.name)
        command = [sys.executable, "-m", "search.tune", "--out", str(self.out), *options]
        with self.screen.open("a") as screen:
            return subprocess.Popen(
                command, stdout=screen, stderr=subprocess.STDOUT, start_new_session=True, env=dict(self.environment)
            )

    def run(self, blows: Sequence[Blow]) -> int:
        """Return the exit status of the search after all blows; those of an earlier call are dealt already.

        Raises:
            AssertionError: It ended before the last blow, or not as it must after the end of one of Ray's daemons.
        """
        dealt = self.out / f"{self.name}.blows"
        for line in read_lines(dealt):
            self.killed[line["victim"]] += 1
            self.lost.update({(number, epoch): times for number, epoch, times in line["lost"]})
        process = self.start()
        try:
            for blow in blows[self.killed.total() :]:
                before = self.lost.copy()
                process = self._strike(blow, process)
                lost = [[*epoch, times] for epoch, times in (self.lost - before).items()]
                append_line(dealt, {"victim": blow.victim, "lost": lost})
            return process.wait()
        finally:
            power.end_at_once(process.pid)
            process.wait()

    def _strike(self, blow: Blow, process: subprocess.Popen) -> subprocess.Popen:
        """Kill a part of the search, and return the search's process, which may be another one."""
        while not self._kill(blow, process):
            assert process.poll() is None, f"it ended after {dict(self.killed)}, at {blow}: {self.last_words()}"
        self.killed[blow.victim] += 1
        print(f"{time.strftime('%X')} killed: {blow}", flush=True)
        if blow.victim in DAEMONS:
            self._check_end(blow.victim, process)
        elif blow.victim in DRIVERS:
            process.wait()
        else:
            return process
        if blow.victim == "power":
            self._drop_unsynced()
        return self.start()

    def _kill(self, blow: Blow, process: subprocess.Popen) -> bool:
        """Return whether a part was killed; it may not have started in time, or have ended by itself."""
        awaited = _awaited(blow)
        if awaited and not self._is_born(awaited, process):
            return False
        time.sleep(blow.wait_seconds)
        self._check_groups(process)
        if process.poll() is not None:
            return False
        if blow.victim in DRIVERS:
            (power.end_at_once if blow.victim == "power" else kill)(process.pid)
            return True
        pids = self._find(blow.victim, process)
        with suppress(ProcessLookupError, IndexError):
            os.kill(pids[int(blow.share * len(pids))], signal.SIGKILL)
            return True
        return False

    def _check_groups(self, process: subprocess.Popen) -> None:
        """Check that no earlier loss has left a placement group behind, whose resources nobody could book again."""
        deadline = time.monotonic() + LEAK_SECONDS
        while (found := _count_groups(process.pid)) > self.max_groups:
            assert time.monotonic() < deadline, f"{found} after {dict(self.killed)}: {self.last_words()}"
            time.sleep(1.0)
        self.groups_seen[found] += 1

    def _is_born(self, part: str, process: subprocess.Popen) -> bool:
        """Wait for a part, and return whether it is there."""
        deadline = time.monotonic() + BIRTH_SECONDS
        while not self._find(part, process):
            if process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def _find(self, victim: str, process: subprocess.Popen) -> list[int]:
        commands = descendants(process.pid)
        return sorted(pid for pid, command in commands.items() if PARTS[victim] in command.split(" ")[0])

    def _check_end(self, daemon: str, process: subprocess.Popen) -> None:
        """Check that a search ends after one of Ray's daemons has, and says what to do, without a traceback."""
        before = self.screen.stat().st_size
        process.wait(END_SECONDS)
        said = self.screen.read_bytes()[before:].decode()
        assert process.returncode not in (0, None), f"{daemon}: {said}"
        remedy = f"--resume {self.name} continues it" if self.has_begun else "start it again"
        assert remedy in said, f"{daemon}: {said}"
        assert "Traceback" not in said, f"{daemon}: {said}"

    def _drop_unsynced(self) -> None:
        if not self.folder.exists():
            return
        before = self.trained()
        num_cut = power.drop_unsynced(self.folder, Path(self.environment["SYNC_NOTES"]))
        print(f"{num_cut} files lost what was not synced", flush=True)
        self.lost += before - self.trained()

    def trained(self) -> Counter[tuple[int, int]]:
        """Return how often each epoch is in the log, by trial and epoch."""
        lines = read_lines(self.folder / "events.jsonl")
        return Counter((line["number"], line["metrics"]["epoch"]) for line in lines if line["event"] == "epoch")

    def last_words(self) -> str:
        """Return the end of what the search has printed."""
        return self.screen.read_text()[-3000:]


def _awaited(blow: Blow) -> str | None:
    """Return the part that must be there before a blow; None: it may fall at any time."""
    if blow.victim not in (*DRIVERS, *DAEMONS):
        return blow.victim
    if blow.share > EARLY_SHARE:
        return "lane"
    return blow.victim if blow.victim in DAEMONS else None


def _count_groups(pid: int) -> int:
    """Return how many placement groups are booked in the Ray that a process has started; 0 if none answers."""
    words = (word for command in descendants(pid).values() for word in command.split(" "))
    heads = {word.removeprefix("--gcs-address=") for word in words if word.startswith("--gcs-address=")}
    with suppress(grpc.RpcError):
        return sum(map(count_placement_groups, heads))
    return 0
