"""Check that the machines of a cluster have this program, and reach the files of a search.

All are asked before a search begins. One that joins later looks for the files when it begins a leg, and a note names it
if it has another program (search/cluster/group/lane.py).
"""

import functools
import hashlib
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

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


@dataclass(frozen=True, kw_only=True)
class Answers(Generic[T]):
    """Tells what the machines of a cluster answered to a question, and which of them could not be asked."""

    answers: list[tuple[UsableNode, T]]
    """Each machine that has the same program as this process comes with its answer."""

    others: list[UsableNode]
    """These machines have another version of the program, or none, and were not asked for that reason."""

    def describe_others(self) -> str:
        """Return the beginning of a sentence about the machines that have another program."""
        return f"another version of this program than here, or none, is on {_names(self.others)}"


def ask_machines(function: Callable[..., T], *arguments: Any) -> Answers[T]:
    """Return what a function returns on each machine that may run trials; a note names those that do not answer."""
    nodes = [node for node in usable_nodes() if node.resources.get("CPU")]
    task, question = ray.remote(num_cpus=0)(_question_there()), ray.put((function, arguments))
    asked: dict[Any, UsableNode] = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
            fingerprint(), [question]
        ): node
        for node in nodes
    }
    done = ray.wait([*asked], num_returns=len(asked), timeout=ANSWER_SECONDS)[0] if asked else []
    answers, others, silent = [], [], [asked[reference] for reference in asked.keys() - set(done)]
    for reference in done:
        node = asked[reference]
        try:
            has_program, answer = ray.get(reference)
        except RayError:  # the machine left, or cannot start a worker
            silent.append(node)
        else:
            if has_program:
                answers.append((node, answer))
            else:
                others.append(node)
    if silent:
        print(f"note: {_names(silent)} did not answer, and may lose trials", file=sys.stderr)
    return Answers(answers=answers, others=others)


def check_machines(out: StoragePath | None = None) -> None:
    """Check that the machines of the cluster have the same program as this process, and use the same files.

    Another program may fail in the middle of a search, or train differently without anybody noticing. A machine that
    has another folder of the same name would write checkpoints that no other finds.

    Args:
        out: The folder or bucket of all experiments, which they must read and write; None: they need none.

    Raises:
        UnfitMachine: A machine has another program, or none, or cannot use `out`.
        OSError: This machine cannot use `out`.
    """
    if out is None:
        found = ask_machines(fingerprint)
    else:
        probe = out / f".probe-{uuid.uuid4().hex}"
        try:
            (probe / "written_here").write_bytes(probe.path.encode())
            found = ask_machines(_problem_with, probe)
        finally:
            probe.remove_folder()
    if found.others:
        raise UnfitMachine(
            f"{found.describe_others()}: install the same one there, for the Python that ran `ray start`, or take the "
            "machine out of the cluster (`ray stop`)"
        )
    if out is not None and (cut_off := [(machine, problem) for machine, problem in found.answers if problem]):
        raise _no_reach(_names(machine for machine, _ in cut_off), out, cut_off[0][1])


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


@functools.cache
def fingerprint() -> str:
    """Return the SHA-256 of all modules of the program, with their names, as this process found them at first."""
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


def _question_there() -> Callable[[str, list[ray.ObjectRef]], tuple[bool, Any]]:
    def answer(program: str, question: list[ray.ObjectRef]) -> tuple[bool, Any]:
        """Return whether this machine has the program and, if so, its answer to the question."""
        try:
            from search.cluster.capacity.machines import fingerprint
        except ImportError:
            return False, None
        if fingerprint() != program:
            return False, None
        function, arguments = ray.get(question[0])
        return True, function(*arguments)

    return answer  # Ray sends the code of a local function, which a machine without the program can call


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
