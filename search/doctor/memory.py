"""The memory that a search may use, and the shared memory in which Ray keeps the slices."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from search.cluster.capacity.control_groups import CGROUPS, MEMBERSHIP, groups_of, is_container, read
from search.cluster.start.shared_memory import gigabytes_for
from search.doctor.finding import Finding, fail, format_bytes, ok, warn
from search.doctor.folders import temporary_folder, try_to_write

MEMINFO = Path("/proc/meminfo")
SHM = Path("/dev/shm")

LEAST, COMFORTABLE = 1.5e9, 4e9
"""Free memory without which a search fails, and with which a small one is at ease. In a control group, the tiny search
has taken 1.1 GB at its peak, with the files that it had read."""

RAY_SHARE = 0.95
"""Ray ends workers when more than this share of the memory is in use (RAY_memory_usage_threshold)."""

STORE_SHARE, STORE_WITHOUT_SHM = 0.3, 1e10
"""Ray's object store takes this share of the free memory. If it is larger than the second number, in bytes, Ray makes
it smaller, so that it fits into shared memory; if it is smaller, Ray puts it into a folder of temporary files."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What this process may use, in bytes."""

    total: float
    free: float
    machine: float
    """What the machine has; more than `total` if a control group allows less."""


class Space(Protocol):
    """The size of a file system, as `shutil.disk_usage` returns it."""

    @property
    def total(self) -> int: ...

    @property
    def free(self) -> int: ...


def find_memory(*, meminfo: Path = MEMINFO, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> Memory | None:
    """Return the memory of this process; None if the system does not say it in Linux's way."""
    lines = (line.split() for line in read(meminfo).splitlines())
    facts = {words[0]: float(words[1]) * 1024 for words in lines if len(words) > 1}
    if not {"MemTotal:", "MemAvailable:"} <= facts.keys():
        return None
    total, free = facts["MemTotal:"], facts["MemAvailable:"]
    for limit, used in cgroup_limits(cgroups, membership):
        total, free = min(total, limit), min(free, max(0.0, limit - used))
    return Memory(total=total, free=free, machine=facts["MemTotal:"])


def cgroup_limits(root: Path, membership: Path) -> Iterator[tuple[float, float]]:
    """Yield what each control group of this process allows and what it uses, in bytes, in both versions.

    What a group keeps of files that it has read is not counted, because the system drops it when memory is needed.
    """
    for group in groups_of("memory", root, membership):
        limit = read(group / "memory.max") or read(group / "memory.limit_in_bytes")
        used = read(group / "memory.current") or read(group / "memory.usage_in_bytes")
        if limit.strip().isdecimal() and used.strip().isdecimal():
            kept = dict(line.split() for line in read(group / "memory.stat").splitlines())
            droppable = int(kept.get("total_inactive_file", kept.get("inactive_file", 0)))
            yield float(limit), max(0.0, float(used) - droppable)


def check_memory(memory: Memory | None) -> list[Finding]:
    """Return how much memory there is, how much is free, and whether that is enough."""
    if memory is None:
        return [ok("memory", f"not checked on {sys.platform}")]
    value = f"{format_bytes(memory.free)} free of {format_bytes(memory.total)}"
    if is_limited := memory.total < memory.machine:
        value += f", which a control group allows of the machine's {format_bytes(memory.machine)}"
    more = "allow more (docker run --memory, Kubernetes' limits, Slurm's --mem)" if is_limited else "end other programs"
    if memory.free < LEAST:
        return [fail("memory", value, f"a search needs about {format_bytes(LEAST)} and more for your data: {more}")]
    if memory.free < (1 - RAY_SHARE) * memory.total:
        return [fail("memory", value, f"Ray ends trials when more than 95 % is in use: {more}")]
    if memory.free < COMFORTABLE:
        return [warn("memory", value, f"enough for a small search with small slices; for more than that, {more}")]
    return [ok("memory", value)]


def check_shared_memory(
    memory: Memory | None, folder: Path = SHM, *, measure: Callable[[Path], Space] = shutil.disk_usage
) -> list[Finding]:
    """Return the size of the shared memory, and whether Ray's object store fits in."""
    if not sys.platform.startswith("linux"):
        return [ok("shared memory", f"not checked on {sys.platform}")]
    try:
        space = measure(folder)
        try_to_write(folder)
    except OSError as error:
        remedy = (
            f"Ray keeps its objects in {temporary_folder()} instead, which may be slower: mount a tmpfs there "
            f"(mount -t tmpfs -o mode=1777 tmpfs {folder})"
        )
        return [warn("shared memory", f"{folder} cannot be written: {error.strerror}", remedy)]
    value = f"{format_bytes(space.free)} free of {format_bytes(space.total)} in {folder}"
    free = memory.free if memory else 0.0
    wanted = min(STORE_SHARE * free, max(STORE_WITHOUT_SHM, 0.95 * space.free))
    if space.free >= wanted:
        return [ok("shared memory", value)]
    value += f"; Ray's object store would take {format_bytes(wanted)}"
    remedy = f"Ray keeps it in {temporary_folder()} instead, which may be slower: {_enlarge(wanted)}"
    return [warn("shared memory", value, remedy)]


def _enlarge(wanted: float) -> str:
    size = f"{gigabytes_for(wanted)}g"
    if is_container():
        return f"docker run --shm-size={size}, or in Kubernetes an emptyDir with medium: Memory at /dev/shm"
    return f"remove files there, or as root mount -o remount,size={size} /dev/shm"
