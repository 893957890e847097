"""A cluster that `ray up` has started on hosts of this machine, seen from the desk of its user."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from subprocess import PIPE, CompletedProcess, Popen
from typing import Any

from tests.cluster import overlay, pool
from tests.cluster.hosts import ROOT, Host, Hosts, hosts

FILE = "/mnt/shared/hosts/cluster.yaml"
UP_SECONDS = 240
JOIN_SECONDS = 240

ANSWERS = """
import json, sys, ray, ray.util.state as state
from ray.job_submission import JobSubmissionClient
ray.init("auto", log_to_driver=False, logging_level="error")
jobs = JobSubmissionClient()
for expression in sys.stdin:
    print("answer", json.dumps(eval(expression)), flush=True)
"""
"""A program that stays on the head: to start a Python with Ray for every question would take seconds each."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The hosts, and the commands that a person types at the desk."""

    hosts: Hosts
    answers: Popen
    """Takes one expression per line, and answers with a line that has its value as JSON."""

    def ray(self, command: str, arguments: str = "", *, timeout_seconds: float = 120.0) -> CompletedProcess:
        """Return the result of `ray COMMAND cluster.yaml ARGUMENTS`."""
        return self.at_desk(f"ray {command} {FILE} {arguments}", timeout_seconds=timeout_seconds)

    def at_desk(self, command: str, *, timeout_seconds: float = 120.0) -> CompletedProcess:
        """Return the result of a command at the desk, in the project's folder."""
        return self.hosts.desk.run(f"cd {ROOT} && {command}", timeout_seconds=timeout_seconds)

    def ask(self, expression: str) -> Any:
        """Return the value of an expression that the head evaluates with `ray`, its `state` API and its `jobs`."""
        print(expression, file=self.answers.stdin, flush=True)
        assert self.answers.stdout is not None
        for line in self.answers.stdout:
            if line.startswith("answer "):  # Ray prints lines of its own, such as on dead nodes
                return json.loads(line.removeprefix("answer "))
        raise AssertionError("the head no longer answers; its error is above")

    def cpus_by_address(self) -> dict[str, float]:
        """Return the cores that trials can book on every living node."""
        return self.ask("{n['NodeManagerAddress']: n['Resources'].get('CPU', 0) for n in ray.nodes() if n['Alive']}")

    def wait_for_nodes(self, *nodes: Host) -> None:
        """Wait until exactly these nodes live, besides the head."""
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
    """Start a cluster with `ray up`, and yield it.

    Args:
        num_workers: How many machines the cloud has from the start, besides the head.
        num_spare: How many machines can be offered later.
    """
    config = overlay.cluster_yaml()
    with hosts(1 + num_workers + num_spare, overlay.image_environment(config)) as running:
        overlay.write(overlay.overlaid(config), running.shared / "hosts" / "cluster.yaml")
        offer(running, *running.others[: 1 + num_workers])
        up = f"cd {ROOT} && ray get-auth-token --generate && ray up {FILE} -y"
        said = running.desk.run(up, timeout_seconds=UP_SECONDS)
        assert said.returncode == 0, said.stdout
        with running.others[0].start(f"python -c '{ANSWERS}'", stdin=PIPE, stdout=PIPE) as answers:
            made = Cluster(hosts=running, answers=answers)
            made.wait_for_nodes(*made.workers[:num_workers])
            yield made
            assert answers.stdin is not None
            answers.stdin.close()


def offer(running: Hosts, *machines: Host) -> None:
    """Give the cloud these machines, too."""
    pool.offer(running.shared / "hosts", {host.name: host.address for host in machines})


def wait_until(happened: Callable[[], bool], what: str, *, seconds: float) -> None:
    """Wait until something has happened; fail if it does not happen in time."""
    started = time.monotonic()
    while not happened():
        assert time.monotonic() < started + seconds, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.5)
    print(f"{what} after {time.monotonic() - started:.1f} s")
