"""Several hosts on one machine, made of namespaces: each has its own sshd, address, name, processes and files.

Nothing outlives them: a host's first process ends with the pipe that `hosts` holds, however `hosts` ends. With that
process end its namespaces, and with those all their processes, mounts and network devices.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NETWORK = "10.77.0"
SHARED = Path("/mnt/shared")
"""The folder that all hosts share, by the path that they see."""

NAMESPACES = ("--mount", "--net", "--pid", "--uts", "--ipc")
START_SECONDS = 60

DELAY = ("netem", "delay", "60ms", "30ms", "loss", "2%")
"""A poor link, where the kernel can delay packets."""

NARROW = ("tbf", "rate", "2mbit", "burst", "16kb", "latency", "60ms")
"""A poor link elsewhere: a queue in which a packet waits for 60 ms, and that loses what comes while it is full."""

ENVIRONMENT = {
    "PATH": f"{sys.prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONPATH": str(HERE),  # desk and head import pool.py, which plays a cloud
    "PIP_NO_INDEX": "1",  # everything is installed; `pip install -e` finds it, and writes into the host's own files
    "PIP_NO_DEPS": "1",  # autoscaler v2 runs setup_commands twice, and resolving dependencies takes six seconds
    "PIP_NO_BUILD_ISOLATION": "off",  # pip's way to switch it off
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_timeout_ms": "2000",  # a pulled cable is noticed after 9 s instead of Ray's 65 s
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",  # these hosts run already, so 5 s between looks are not needed
}
"""Replaces the image of cluster.yaml, which has Python and all packages."""


def what_is_missing() -> str | None:
    """Return why hosts cannot be made on this machine; None if they can."""
    if os.geteuid() != 0:
        return "hosts of their own need root"
    if missing := [name for name in ("ip", "unshare", "nsenter", "ssh", "rsync") if not shutil.which(name)]:
        return f"there is no {' and no '.join(missing)}: install Debian's iproute2, openssh-client and rsync"
    if not Path("/usr/sbin/sshd").exists():
        return "there is no /usr/sbin/sshd: install Debian's openssh-server"
    tried = subprocess.run(["unshare", *NAMESPACES, "--fork", "true"], capture_output=True, text=True)
    return f"namespaces are not allowed here: {tried.stderr.strip()}" if tried.returncode else None


def require_hosts(request: pytest.FixtureRequest) -> None:
    """Skip, with the reason, where hosts cannot be made; fail if somebody asked for them by `-m cluster`."""
    reason = what_is_missing()
    if reason and "cluster" in request.config.option.markexpr:
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)


@dataclass(frozen=True, kw_only=True)
class Host:
    """A running host."""

    name: str
    address: str
    process: subprocess.Popen
    """The parent of its first process, outside the host."""

    pid: int
    """The id of its first process, as seen outside the host."""

    def start(self, command: str, **options) -> subprocess.Popen:
        """Start a shell command in the home folder of the host's user."""
        inside = ["bash", "-c", f"source ~/.bashrc && cd && {command}"]
        enter = ["nsenter", f"--target={self.pid}", *NAMESPACES, "--root", "env", "-i", "-C", "/", "HOME=/home/ray"]
        return subprocess.Popen([*enter, *inside], text=True, **options)

    def run(self, command: str, *, timeout_seconds: float = 120.0) -> subprocess.CompletedProcess:
        """Return the result of a shell command on the host, whether it succeeded or not."""
        with self.start(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                output, _ = process.communicate(timeout=timeout_seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, output)

    @property
    def received_bytes(self) -> int:
        """How many bytes have come over the network until now."""
        read = ["nsenter", f"--target={self.pid}", "--net", "cat", "/proc/net/dev"]
        lines = subprocess.run(read, check=True, capture_output=True, text=True).stdout.splitlines()
        [line] = [line for line in lines if line.strip().startswith("eth0:")]
        return int(line.partition(":")[2].split()[0])

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """All hosts, and the desk of their user, which is a host too and has the network's switch."""

    desk: Host
    others: tuple[Host, ...]
    shared: Path
    """The folder that hosts see as SHARED, by its path outside the hosts."""

    def kill(self, host: Host) -> None:
        """Kill all processes of a host at once, as when a cloud reclaims a machine; the cloud knows of it."""
        os.kill(host.pid, signal.SIGKILL)
        host.process.wait()
        (self.shared / "hosts" / f"{host.name}.off").touch()

    def cut_off(self, host: Host) -> None:
        """Pull the host's network cable."""
        _ip(self.desk.pid, "link", "set", host.name, "down")

    def reconnect(self, host: Host) -> None:
        """Plug the host's network cable in again."""
        _ip(self.desk.pid, "link", "set", host.name, "up")

    def slow_down(self, host: Host) -> None:
        """Make the host's link so poor that packets wait and are lost, in both directions."""
        for pid, device in self._ends(host):
            link = ("qdisc", "replace", "dev", device, "root")
            if _tc(pid, *link, *DELAY).returncode:
                _tc(pid, *link, *NARROW).check_returncode()

    def num_lost_packets(self, host: Host) -> int:
        """Return how many packets a poor link has lost until now, in both directions."""
        said = [_tc(pid, "-s", "qdisc", "show", "dev", device).stdout for pid, device in self._ends(host)]
        return sum(int(number) for number in re.findall(r"dropped (\d+)", "".join(said)))

    def _ends(self, host: Host) -> list[tuple[int, str]]:
        """Return the two ends of the host's cable: a process that sees it, and its name there."""
        return [(self.desk.pid, host.name), (host.pid, "eth0")]


@contextmanager
def hosts(num_hosts: int, environment: dict[str, str]) -> Iterator[Hosts]:
    """Run this many hosts and a desk, and remove all traces of them at the end.

    Args:
        num_hosts: How many hosts there are besides the desk.
        environment: Variables for all their shells, in addition to ENVIRONMENT.
    """
    with tempfile.TemporaryDirectory(prefix="hosts") as folder, ExitStack() as running:
        shared = Path(folder) / "shared"
        (shared / "hosts").mkdir(parents=True)
        names = ["desk", *(f"host{number}" for number in range(1, num_hosts + 1))]
        addresses = {name: f"{NETWORK}.{number}" for number, name in enumerate(names, start=1)}
        _write_files(shared / "hosts", addresses, ENVIRONMENT | environment)
        started = [running.enter_context(_process(name, Path(folder))) for name in names]
        desk, *others = [
            _wait_for(process, name, addresses[name]) for process, name in zip(started, names, strict=True)
        ]
        _connect(desk, others)
        yield Hosts(desk=desk, others=tuple(others), shared=shared)


def _write_files(folder: Path, addresses: dict[str, str], environment: dict[str, str]) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in addresses.items())]
    (folder / "etc_hosts").write_text("\n".join(lines) + "\n")
    exports = [f"export {name}='{value}'" for name, value in environment.items()]
    (folder / "bashrc").write_text("\n".join(exports) + "\n")


@contextmanager
def _process(name: str, folder: Path) -> Iterator[subprocess.Popen]:
    scratch = folder / name
    scratch.mkdir()
    first = ["bash", str(HERE / "host.sh"), name, str(scratch), str(folder / "shared"), *_kept()]
    command = ["unshare", *NAMESPACES, "--fork", "--kill-child", *first]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()  # which kills its child, too (--kill-child)


def _kept() -> list[str]:
    """Return the folders of Python, its packages and the project, outer folders first."""
    return sorted({str(path.resolve()) for path in (ROOT, Path(sys.prefix), Path(sys.base_prefix))})


def _wait_for(process: subprocess.Popen, name: str, address: str) -> Host:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "ready\n", f"{name} did not start: {line!r}"
    [pid] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return Host(name=name, address=address, process=process, pid=int(pid))


def _connect(desk: Host, others: list[Host]) -> None:
    """Connect every host to the switch: a bridge, which is also the desk's network device."""
    _ip(desk.pid, "link", "add", "name", "eth0", "type", "bridge")
    for host in others:
        end = ["name", "eth0", "netns", str(host.pid)]
        subprocess.run(
            ["ip", "link", "add", *end, "type", "veth", "peer", "name", host.name, "netns", str(desk.pid)], check=True
        )
        _ip(desk.pid, "link", "set", host.name, "master", "eth0", "up")
    for host in (desk, *others):
        _ip(host.pid, "link", "set", "lo", "up")
        _ip(host.pid, "address", "add", f"{host.address}/24", "dev", "eth0")
        _ip(host.pid, "link", "set", "eth0", "up")
        if host is not desk:  # it leads nowhere, but by it Ray finds out which address a host uses
            _ip(host.pid, "route", "add", "default", "via", desk.address)


def _tc(pid: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["nsenter", f"--target={pid}", "--net", "tc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _ip(pid: int, *arguments: str) -> None:
    subprocess.run(["nsenter", f"--target={pid}", "--net", "ip", *arguments], check=True)
