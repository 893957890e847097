"""A search on one machine goes on when the machine's address changes, and listens on the loopback address."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from search.record.events import Lost, read_events
from search.record.trials import State, read_rows
from tests.circumstances.tiny_search import NAME, ROOT, tiny_search
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

BEFORE, AFTER = "10.99.1.2/24", "10.99.2.2/24"

HOSTS = f"127.0.0.1 localhost\n{BEFORE.removesuffix('/24')} laptop\n"
"""As on most servers, the machine's own name leads to the address at which others reach it."""

MACHINE = (
    "ip link set lo up; ip link add wifi type veth peer name router; ip link set router up; ip link set wifi up; "
    f"ip address add {BEFORE} dev wifi; ip route add default dev wifi; hostname laptop; mount --bind hosts /etc/hosts"
)
LOOPBACK = ("127.", "[::1]", "[::ffff:127.")


@contextmanager
def machine(folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield the command that runs another on a machine with a network of its own, from which nothing is reached."""
    (folder / "hosts").write_text(HOSTS)
    script = f"{MACHINE}; echo ready; exec sleep infinity"
    command = ["unshare", "--net", "--uts", "--mount", "sh", "-euc", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder) as holder:
        assert holder.stdout
        assert holder.stderr
        try:
            if holder.stdout.readline() != "ready\n":
                pytest.skip(f"namespaces are not allowed here: {holder.stderr.read().strip()}")
            yield ("nsenter", f"--target={holder.pid}", "--net", "--uts", "--mount", f"--wd={ROOT}")
        finally:
            holder.kill()


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("ss"), reason="it needs root and Debian's iproute2"
)
@pytest.mark.parametrize("num_workers", [1, 2])
def test_search_goes_on_when_the_address_of_its_machine_changes(num_workers, tmp_path):
    log, listening = tmp_path / NAME / "events.jsonl", []

    def change() -> None:
        wait_until(lambda: log.exists() and '"epoch"' in log.read_text(), seconds=300)
        listening.extend(run(*inside, "ss", "--no-header", "--listening", "--tcp", "--numeric").splitlines())
        run(*inside, "sh", "-euc", f"ip address del {BEFORE} dev wifi; ip address add {AFTER} dev wifi")

    options = ("--trials", "2", "--max-epochs", "6", "--workers-per-trial", str(num_workers), "--max-concurrent", "1")
    with machine(tmp_path) as inside:
        thread = threading.Thread(target=change)
        thread.start()
        done = tiny_search(tmp_path, *options, "--scheduler", "none", "--searcher", "random", wrapper=inside)
        thread.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row.state for row in read_rows(tmp_path / NAME / "trials.jsonl")] == [State.COMPLETE] * 2
    assert not [event for event in read_events(log) if isinstance(event, Lost)]
    reachable = [line.split()[3] for line in listening if not line.split()[3].startswith(LOOPBACK)]
    assert listening
    assert not reachable


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
