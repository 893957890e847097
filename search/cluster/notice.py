"""python -m search.cluster.notice aws|gcp|azure: wait for the notice that the cloud will reclaim this machine.

Run it beside `ray start` on every spot machine. A cloud announces on its metadata service that it will reclaim a
machine: AWS two minutes before, Google and Azure half a minute before. Then this command tells Ray to drain the
machine's node, and lanes save the batch under way and leave (search/cluster/capacity/draining.py).

`now` drains the node at once, without a cloud, and waits until the node is empty. Use it by hand, or in Kubernetes as a
pod's preStop hook.

AWS's rebalance recommendation is ignored: it only says that the risk is higher, often for hours, and a new machine
would get the same one. Two minutes are enough for a checkpoint.

The command ends when Ray has ended on this machine. It imports Ray, which takes 60 MB, only after a notice.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from data.command import run_command
from search.cluster.cloud_metadata import ASK, DEADLINE_SECONDS, METADATA, REQUEST_SECONDS, Ask, NoAnswer, Service

POLL_SECONDS = {"aws": 5.0, "gcp": 1.0, "azure": 2.0}
"""Time between two requests: what AWS recommends, and less for clouds that give notice only half a minute before."""

NUM_TRIES = 5
"""The number of requests without an answer after which a service counts as absent."""


@dataclass(frozen=True, kw_only=True)
class Raylet:
    """Ray's daemon on this machine, with facts from its command line."""

    node_id: str
    gcs_address: str


def main(argv: Sequence[str] | None = None) -> int:
    """Wait for a notice, drain the node, and return 0 (also if Ray has ended), or 1 without a metadata service."""
    return run_command(_main, argv)


def _main(argv: list[str]) -> int:
    options = _parse(argv)
    if options.cloud == "now":
        _drain_all(time.time() + options.seconds, "the command `now` was given")
        _wait_until_empty(time.time() + options.seconds)
        return 0
    service = Service(options.metadata, timeout_seconds=REQUEST_SECONDS[options.cloud])
    poll_seconds = POLL_SECONDS[options.cloud] if options.look_seconds is None else options.look_seconds
    try:
        deadline = _wait_for_notice(service, ASK[options.cloud], poll_seconds)
    except NoAnswer as error:
        say(f"no notices from {options.cloud}: {error}; trials of a lost node continue from their last whole epoch")
        return 1
    if deadline is None:
        say("Ray has ended on this machine")
        return 0
    _drain_all(deadline, f"{options.cloud} will reclaim this machine")
    _wait_until_empty(deadline)
    return 0


def _wait_for_notice(service: Service, ask: Ask, poll_seconds: float) -> float | None:
    """Return when the machine will be reclaimed (UNIX time); None if Ray ended first.

    Raises:
        NoAnswer: The service has never answered. After one answer, later failures are ignored.
    """
    has_answered = False
    num_tries = 0
    while find_raylets():
        num_tries += 1
        try:
            deadline = ask(service)
            has_answered = True
        except NoAnswer:
            if not has_answered and num_tries >= NUM_TRIES:
                raise
            deadline = None
        if deadline is not None:
            return deadline
        time.sleep(poll_seconds)
    return None


def find_raylets() -> list[Raylet]:
    """Return the daemons of Ray's worker nodes on this machine; in a container, those of the container.

    They are found by their command lines, because Ray has no API for a process that is not connected to it. The head's
    daemon is left out: Ray would drain it at once, and so end every search before the machine is reclaimed.
    """
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it ended in between
            continue
        if Path(command[0]).name != "raylet" or "--head" in command:
            continue
        flags = dict(part.removeprefix("--").split("=", 1) for part in command[1:] if "=" in part)
        if "node_id" in flags and "gcs-address" in flags:
            found.append(Raylet(node_id=flags["node_id"], gcs_address=flags["gcs-address"]))
    return found


def drain(raylet: Raylet, deadline: float, reason: str) -> str | None:
    """Tell Ray that a node will be reclaimed at `deadline` (UNIX time); return why Ray refused, or None."""
    from search.cluster.ray_internals import drain_node  # imported only after a notice, because it takes 60 MB

    return drain_node(raylet.node_id, deadline, reason, gcs_address=raylet.gcs_address)


def _drain_all(deadline: float, reason: str) -> None:
    """Drain every worker node of Ray on this machine. Try again until the deadline if Ray's head does not answer."""
    left = find_raylets()
    if not left:
        say("there is no worker node of Ray on this machine")
    while left:
        objections = {raylet: drain(raylet, deadline, reason) for raylet in left}
        for raylet, objection in objections.items():
            what = f"is not drained: {objection}" if objection else f"is drained: {reason}"
            say(f"node {raylet.node_id} {what}")
        left = [raylet for raylet, objection in objections.items() if objection]
        if left and time.time() > deadline:
            return
        time.sleep(1.0 if left else 0.0)


def _wait_until_empty(deadline: float) -> None:
    """Wait for the raylets to end, at most until the deadline. They end once nothing runs on their drained nodes."""
    while find_raylets() and time.time() < deadline:
        time.sleep(0.2)


def say(line: str) -> None:
    """Print a line of the log with the date and time."""
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", flush=True)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    # argparse, because tyro would take as much memory as everything else here.
    description = "Wait for the notice that the cloud will reclaim this machine, and drain its node of Ray."
    parser = argparse.ArgumentParser(prog="python -m search.cluster.notice", description=description)
    parser.add_argument("cloud", choices=(*ASK, "now"))
    parser.add_argument("--seconds", type=float, default=DEADLINE_SECONDS, help="now: until the machine ends")
    parser.add_argument("--metadata", default=METADATA, help="address of the metadata service")
    parser.add_argument("--look-seconds", type=float, help="between two requests to it")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
