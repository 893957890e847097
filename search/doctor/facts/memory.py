"""The memory that this process may use, of the machine and of its control groups."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from search.cluster.capacity.control_groups import CGROUPS, MEMBERSHIP, groups_of, read

MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The memory that this process may use, in bytes."""

    total: float
    free: float
    machine: float
    """What the machine has; more than `total` if a control group allows less."""


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
