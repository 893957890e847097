"""The hosts themselves: separate from each other, and gone without a trace at the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.hosts import HERE, ROOT, Host, Hosts, hosts, require_hosts
from tests.support.process_tree import command_lines

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", autouse=True)
def _possible(request):
    require_hosts(request)


def said(host: Host, command: str) -> str:
    done = host.run(command)
    assert done.returncode == 0, done.stdout
    return done.stdout.strip()


def namespaces(pid: int) -> set[str]:
    return {os.readlink(link) for link in Path(f"/proc/{pid}/ns").iterdir()}


def in_namespaces(wanted: set[str]) -> list[int]:
    """Return the processes in any of these namespaces."""
    found = []
    for pid in command_lines():
        try:
            if namespaces(pid) & wanted:
                found.append(pid)
        except OSError:  # it ended in between
            continue
    return found


def own_namespaces(running: Hosts) -> set[str]:
    return set().union(*(namespaces(host.pid) for host in (running.desk, *running.others))) - namespaces(os.getpid())


def can_reach(host: Host, other: Host) -> bool:
    return host.run(f"timeout 2 bash -c '</dev/tcp/{other.address}/22'").returncode == 0


def test_hosts_have_names_addresses_processes_and_files_of_their_own():
    with hosts(2, {"COLOUR": "blue"}) as running:
        first, second = running.others
        assert [said(host, "hostname") for host in running.others] == ["host1", "host2"]
        assert said(running.desk, "getent hosts host2").split() == [second.address, "host2"]
        over_ssh = "ssh -i /mnt/shared/hosts/key -o StrictHostKeyChecking=no -o LogLevel=ERROR ray@host2"
        assert said(running.desk, f"{over_ssh} 'hostname; pwd; echo $COLOUR'").split() == ["host2", "/home/ray", "blue"]
        said(first, f"touch /tmp/mine {HERE}/mine /mnt/shared/ours")
        assert [host.run("ls /tmp/mine").returncode for host in running.others] == [0, 2]
        assert not (HERE / "mine").exists()
        assert (running.shared / "ours").exists()
        assert said(second, "ls /mnt/shared/ours")
        assert "sshd" in said(first, "ps -e -o comm")
        assert len(said(first, "ps -e -o comm=").split()) < 10


def test_a_host_whose_cable_is_out_is_out_of_reach_until_it_is_back():
    with hosts(2, {}) as running:
        first, second = running.others
        assert can_reach(first, second)
        running.cut_off(second)
        assert not can_reach(first, second)
        running.reconnect(second)
        assert can_reach(first, second)


def test_hosts_leave_no_process_no_mount_no_device_and_no_file():
    devices = set(os.listdir("/sys/class/net"))
    with hosts(2, {}) as running:
        running.others[0].run("setsid -f sleep 1000 > /dev/null 2>&1")
        ours, folder = own_namespaces(running), running.shared.parent
        assert len(in_namespaces(ours)) > 3
    assert in_namespaces(ours) == []
    assert not folder.exists()
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    assert set(os.listdir("/sys/class/net")) == devices


def test_hosts_end_with_whoever_holds_them_even_when_that_is_killed(tmp_path):
    script = f"import sys, time; sys.path.insert(0, {str(ROOT)!r}); from tests.cluster.hosts import hosts\n"
    script += (
        "with hosts(1, {}) as running:\n print(running.desk.pid, running.others[0].pid, flush=True)\n time.sleep(100)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}  # what is killed leaves its folder
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout is not None
        pids = [int(pid) for pid in holder.stdout.readline().split()]
        ours = set().union(*map(namespaces, pids)) - namespaces(os.getpid())
        assert set(in_namespaces(ours)) >= set(pids)
        holder.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while left := in_namespaces(ours):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_a_killed_host_is_dead_at_once_and_the_others_live():
    with hosts(2, {}) as running:
        first, second = running.others
        ours = namespaces(second.pid) - namespaces(first.pid) - namespaces(os.getpid())
        running.kill(second)
        assert not second.is_alive
        assert in_namespaces(ours) == []
        assert said(first, "hostname") == "host1"


def test_a_slow_link_lets_packets_wait_and_loses_some():
    with hosts(2, {}) as running:
        first, second = running.others
        send = f"ssh -i /mnt/shared/hosts/key -o StrictHostKeyChecking=no -o LogLevel=ERROR ray@{second.name}"
        seconds = []
        for _ in range(2):
            started = time.monotonic()
            assert said(first, f"{send} 'head -c 500000 /dev/zero' | wc -c") == "500000"
            seconds.append(time.monotonic() - started)
            running.slow_down(second)
        assert seconds[1] > seconds[0] + 1.0
        assert running.num_lost_packets(second) > running.num_lost_packets(first) == 0
