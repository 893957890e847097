"""A search whose Ray has lost a daemon ends with a sentence, and not by itself."""

import signal
import subprocess
import sys
import time

import pytest

from search.cluster import daemons
from search.cluster.daemons import RayEnded, watch_daemons

KILLED = {"raylet": -signal.SIGKILL, "log_monitor": 1}


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


def test_watch_daemons_leaves_a_block_that_waits_when_a_daemon_has_ended(ended):
    ended.update(KILLED)
    sentence = r"Ray's raylet \(killed by signal 9\) ended, and .*: --resume mine continues it"
    with pytest.raises(RayEnded, match=sentence), watch_daemons("--resume mine continues it"):
        time.sleep(30.0)


def test_watch_daemons_explains_an_error_that_ray_raised_before_it_looked(ended):
    ended["gcs_server"] = 0
    with pytest.raises(RayEnded, match="gcs_server ended"), watch_daemons("start it again"):
        fail()


@pytest.mark.parametrize(("found", "is_ending"), [(KILLED, True), ({"log_monitor": 1}, False), ({}, False)])
def test_watch_daemons_leaves_other_errors_and_ends_alone(ended, found, is_ending):
    ended.update(found)
    with pytest.raises(ConnectionError), watch_daemons("start it again", is_ending=lambda: is_ending):
        fail(2 * daemons.POLL_SECONDS if is_ending else 0.0)


def test_watch_daemons_ends_a_process_that_hangs_in_a_library():
    program = """
import signal
from search.cluster import daemons
daemons.find_ended_daemons = lambda: {"raylet": -9}
daemons.abandon_ray = lambda: None
daemons.LEAVE_SECONDS = 0.2
with daemons.watch_daemons("--resume mine continues it"):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    signal.pause()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == daemons.STATUS, ended.stderr
    assert ended.stdout.startswith("error: Ray's raylet (killed by signal 9) ended")
