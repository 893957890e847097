"""Check that the machines of a cluster have this program, and reach the files of a search.

All are asked before a search begins. One that joins later looks for the files when it begins a leg.
"""

import hashlib
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data.errors import MachineError
from search.cluster.capacity.draining import UsableNode, usable_nodes
from search.storage.storage_path import StoragePath

ANSWER_SECONDS = 60.0
"""Machines are waited for this long: a worker of Ray starts within seconds, on a busy machine within a minute."""

SEEN_SECONDS = 10.0
"""A machine waits this long until it sees a folder that another has made, because a network may be slow to show it."""

PACKAGES = ("data", "model", "search")

T = TypeVar("T")


class UnfitMachine(MachineError):
    """A machine of the cluster has another program, or other files, so the search cannot go on with it."""


def ask_machines(function: Callable[..., T], *arguments: Any) -> list[tuple[UsableNode, T]]:
    """Return what a function returns on each machine that may run trials; a note names those that do not answer."""
    nodes = [node for node in usable_nodes() if node.resources.get("CPU")]
    task = ray.remote(num_cpus=0)(function)
    asked: dict[Any, UsableNode] = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(*arguments): node
        for node in nodes
    }
    done = ray.wait([*asked], num_returns=len(asked), timeout=ANSWER_SECONDS)[0] if asked else []
    answers, silent = [], [asked[reference] for reference in asked.keys() - set(done)]
    for reference in done:
        try:
            answers.append((asked[reference], ray.get(reference)))
        except RayError:  # the machine left, or cannot start a worker
            silent.append(asked[reference])
    if silent:
        print(f"note: {_names(silent)} did not answer, and may lose trials", file=sys.stderr)
    return answers


def check_programs() -> None:
    """Check that the machines of the cluster have the same program as this one.

    Another one may fail in the middle of a search, or train differently without anybody noticing.

    Raises:
        UnfitMachine: A machine has another one, or none.
    """
    own = fingerprint()
    others = [machine for machine, found in ask_machines(_fingerprint_there()) if found != own]
    if others:
        raise UnfitMachine(
            f"another version of this program than here, or none, is on {_names(others)}: install the same one there, "
            "for the Python that ran `ray start`, or take the machine out of the cluster (`ray stop`)"
        )


def check_reach(out: StoragePath) -> None:
    """Check that the machines of the cluster read and write the folder or bucket of all experiments.

    A machine that has another folder of the same name would write checkpoints that no other finds.

    Raises:
        UnfitMachine: A machine cannot.
        OSError: This machine cannot.
    """
    probe = out / f".probe-{uuid.uuid4().hex}"
    try:
        (probe / "written_here").write_bytes(probe.path.encode())
        answers = ask_machines(_problem_with, probe)
    finally:
        probe.remove_folder()
    if cut_off := [machine for machine, problem in answers if problem]:
        raise _no_reach(_names(cut_off), out, next(problem for _, problem in answers if problem))


def check_sees(checkpoints: StoragePath, *, seconds: float = SEEN_SECONDS) -> None:
    """Check that this machine sees the folder that the driver has made for checkpoints.

    Args:
        seconds: How long the folder may take to be seen.

    Raises:
        UnfitMachine: It does not.
    """
    deadline = time.monotonic() + seconds
    while not (checkpoints.is_bucket or Path(checkpoints.path).is_dir()):
        if time.monotonic() > deadline:
            raise _no_reach(ray.util.get_node_ip_address(), checkpoints, "it is not there")
        time.sleep(0.5)


def fingerprint() -> str:
    """Return the SHA-256 of all modules of the program, with their names."""
    root, digest = Path(__file__).parents[3], hashlib.sha256()
    for file in sorted(file for package in PACKAGES for file in (root / package).rglob("*.py")):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _no_reach(machines: str, folder: StoragePath, problem: str) -> UnfitMachine:
    remedy = (
        "give it the bucket's key, too"
        if folder.is_bucket
        else "mount the same folder there under the same path, or give a bucket (--out s3://BUCKET/FOLDER)"
    )
    return UnfitMachine(
        f"{folder}, where all machines keep the checkpoints of their trials, cannot be used on {machines} ({problem}): "
        f"{remedy}"
    )


def _fingerprint_there() -> Callable[[], str | None]:
    def find() -> str | None:
        try:
            from search.cluster.capacity.machines import fingerprint
        except ImportError:
            return None
        return fingerprint()

    return find  # Ray sends the code of a local function, which a machine without the program can call


def _problem_with(probe: StoragePath) -> str:
    """Return why this machine cannot read and write in a folder; "" if it can."""
    try:
        content = (probe / "written_here").read_bytes()
        (probe / ray.get_runtime_context().get_node_id()).write_bytes(content)
    except OSError as error:
        return str(error).partition("\n")[0]
    return ""


def _names(machines: Iterable[UsableNode]) -> str:
    """Return the addresses of machines; of many, the first ones."""
    addresses = sorted({machine.address for machine in machines})
    more = f" and {len(addresses) - 5} more machines" if len(addresses) > 5 else ""
    return ", ".join(addresses[:5]) + more
