"""A search whose Ray has lost a daemon ends with a sentence, and not by itself."""

import os
import signal
import subprocess
import sys
import time

import pytest

from search.cluster import daemons
from search.cluster.daemons import RayEnded, watch_daemons
from tests.support.process_tree import descendants
from tests.support.waiting import wait_until

KILLED = {"raylet": -signal.SIGKILL, "log_monitor": 1}
SENTENCE = r"Ray's raylet \(killed by signal 9\) ended, and .*: --resume mine continues it"


@pytest.fixture
def ended(monkeypatch) -> dict[str, int]:
    """What has ended of Ray, by name; nothing at first."""
    found: dict[str, int] = {}
    monkeypatch.setattr(daemons, "find_ended_daemons", lambda: found)
    monkeypatch.setattr(daemons, "abandon_ray", lambda: None)
    return found


def fail(seconds: float = 0.0) -> None:
    time.sleep(seconds)
    raise ConnectionError("no answer")


def kill_and_wait(ended: dict[str, int]) -> None:
    ended.update(KILLED)
    time.sleep(30.0)


def kill_and_fail(ended: dict[str, int]) -> None:
    ended["gcs_server"] = 0
    fail()


def test_watch_daemons_leaves_a_block_that_waits_when_a_daemon_has_ended(ended):
    with pytest.raises(RayEnded, match=SENTENCE), watch_daemons("--resume mine continues it"):
        kill_and_wait(ended)


def test_watch_daemons_does_not_enter_a_block_when_a_daemon_has_ended_before(ended):
    ended.update(KILLED)
    entered = False
    with pytest.raises(RayEnded, match=SENTENCE), watch_daemons("--resume mine continues it"):
        entered = True
    assert not entered


def test_watch_daemons_explains_an_error_that_ray_raised_before_it_looked(ended):
    with pytest.raises(RayEnded, match="gcs_server ended"), watch_daemons("start it again"):
        kill_and_fail(ended)


@pytest.mark.parametrize(("found", "is_ending"), [(KILLED, True), ({"log_monitor": 1}, False), ({}, False)])
def test_watch_daemons_leaves_other_errors_and_ends_alone(ended, found, is_ending):
    ended.update(found)
    with pytest.raises(ConnectionError), watch_daemons("start it again", is_ending=lambda: is_ending):
        fail(2 * daemons.POLL_SECONDS if is_ending else 0.0)


def test_watch_daemons_ends_a_process_that_hangs_in_a_library():
    program = """
import signal
from search.cluster import daemons
found = {}
daemons.find_ended_daemons = lambda: found
daemons.abandon_ray = lambda: None
daemons.LEAVE_SECONDS = 0.2
with daemons.watch_daemons("--resume mine continues it"):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    found["raylet"] = -9
    signal.pause()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == daemons.STATUS, ended.stderr
    assert ended.stdout.startswith("error: Ray's raylet (killed by signal 9) ended")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("daemon", [*daemons.DAEMONS])
def test_search_whose_ray_is_killed_while_it_starts_says_so(daemon, tmp_path):
    options = ["--data", "phantom:6", "--size", "64", "--out", str(tmp_path / "runs"), "--no-cache"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "search.tune", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    ) as search:
        wait_until(lambda: find_daemon(search.pid, daemon), seconds=120)
        time.sleep(0.5)  # in its first moments, Ray waits for a GCS server for two minutes, which nothing can end
        for pid in find_daemon(search.pid, daemon):
            os.kill(pid, signal.SIGKILL)
        said, _ = search.communicate(timeout=120)
    assert search.returncode == daemons.STATUS, said
    [line] = [line for line in said.splitlines() if line.startswith("error: ")]
    killed = f"Ray's {daemon} (killed by signal 9) ended"
    assert line == f"error: {killed}, and without it the search cannot go on: start it again"
    assert "Traceback" not in said


def find_daemon(pid: int, name: str) -> list[int]:
    """Return the daemon of the Ray that a process has started, if it is there."""
    return [child for child, command in descendants(pid).items() if command.split(" ")[0].endswith(f"/{name}")]
