"""A cluster that `ray up` started on hosts of this machine, as one sits before it."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Any

import overlay
import pool
from hosts import ROOT, Host, Hosts, hosts

FILE = "/mnt/shared/hosts/cluster.yaml"
UP_SECONDS = 240
JOIN_SECONDS = 240


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Hosts, and what a person types at the desk."""

    hosts: Hosts

    def ray(self, command: str, arguments: str = "", *, timeout_seconds: float = 120.0) -> CompletedProcess:
        """Return what `ray COMMAND cluster.yaml ARGUMENTS` said."""
        return self.at_desk(f"ray {command} {FILE} {arguments}", timeout_seconds=timeout_seconds)

    def at_desk(self, command: str, *, timeout_seconds: float = 120.0) -> CompletedProcess:
        """Return what a command said at the desk, in the project's folder."""
        return self.hosts.desk.run(f"cd {ROOT} && {command}", timeout_seconds=timeout_seconds)

    def offer(self, *machines: Host) -> None:
        """Let the cloud have these machines too."""
        pool.offer(self.hosts.shared / "hosts", {host.name: host.address for host in machines})

    def ask(self, expression: str) -> Any:
        """Return the value of an expression that the head evaluates with `ray` connected and `state`, its state API."""
        lines = [
            "import json, ray, ray.util.state as state",
            "ray.init('auto', log_to_driver=False, logging_level='error')",
            f"print('answer', json.dumps({expression}))",
        ]
        said = self.head.run(f'python -c "{"; ".join(lines)}"')
        found = re.search(r"^answer (.*)$", said.stdout, re.MULTILINE)
        assert found, said.stdout
        return json.loads(found[1])

    def cpus_by_address(self) -> dict[str, float]:
        """Return the cores that trials can book, of every node that lives."""
        return self.ask("{n['NodeManagerAddress']: n['Resources'].get('CPU', 0) for n in ray.nodes() if n['Alive']}")

    def wait_for_nodes(self, *nodes: Host) -> None:
        """Wait until these are the nodes that live, beside the head."""
        wanted = {self.head.address, *(node.address for node in nodes)}
        wait_until(lambda: set(self.cpus_by_address()) == wanted, f"nodes {sorted(wanted)}", seconds=JOIN_SECONDS)

    @property
    def head(self) -> Host:
        return self.hosts.others[0]

    @property
    def workers(self) -> tuple[Host, ...]:
        return self.hosts.others[1:]


@contextmanager
def cluster(*, num_workers: int, num_spare: int = 0) -> Iterator[Cluster]:
    """Let `ray up` start a cluster of a head and workers.

    Args:
        num_workers: Machines that the cloud has from the start, beside the head.
        num_spare: Machines that it has not yet.
    """
    config = overlay.cluster_yaml()
    with hosts(1 + num_workers + num_spare, overlay.image_environment(config)) as running:
        overlay.write(overlay.overlaid(config), running.shared / "hosts" / "cluster.yaml")
        made = Cluster(hosts=running)
        made.offer(*running.others[: 1 + num_workers])
        said = made.at_desk("ray get-auth-token --generate")
        assert said.returncode == 0, said.stdout
        said = made.ray("up", "-y", timeout_seconds=UP_SECONDS)
        assert said.returncode == 0, said.stdout
        made.wait_for_nodes(*made.workers[:num_workers])
        yield made


def wait_until(happened: Callable[[], bool], what: str, *, seconds: float) -> None:
    """Wait for something, and fail if it does not come."""
    started = time.monotonic()
    while not happened():
        assert time.monotonic() < started + seconds, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.5)
    print(f"{what} after {time.monotonic() - started:.1f} s")
