"""How many CPUs this process may use, which may be fewer than the machine has."""

import os
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path

from search.cluster.capacity.control_groups import CGROUPS, MEMBERSHIP, groups_of, read

SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
"""What Slurm allots to a job, in the order of precedence; not every cluster enforces it."""


def usable_cpus(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of CPUs that this process may use: by affinity, by its control groups, and by Slurm.

    `taskset` sets the affinity, containers and batch systems the control groups. A quota of 1.5 CPUs counts as 2.
    """
    return whole_cpus(cpu_limits(environment))


def cpu_limits(
    environment: Mapping[str, str] = os.environ, *, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP
) -> dict[str, float]:
    """Return how many CPUs this process may use, by what says so: its affinity, its control groups, Slurm's variable.

    Args:
        environment: The environment variables.
        cgroups: As in `cgroup_quotas`; so is `membership`.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits: dict[str, float] = {"affinity": affinity}
    if quotas := [*cgroup_quotas(cgroups, membership)]:
        limits["control group"] = min(quotas)
    return limits | {name: int(environment[name]) for name in _slurm(environment)}


def whole_cpus(limits: Mapping[str, float]) -> int:
    """Return the number of CPUs that all limits of `cpu_limits` allow, at least one."""
    return max(1, min(map(ceil, limits.values())))


def cgroup_quotas(root: Path, membership: Path) -> Iterator[float]:
    """Yield the CPUs that each control group of this process allows, in both versions of the interface.

    Args:
        root: Where the file systems of control groups are mounted.
        membership: The file with the groups of this process, as /proc/self/cgroup.
    """
    for group in groups_of("cpu", root, membership):
        quota, _, period = _quota(group).partition(" ")
        if quota.isdecimal() and period.strip().isdecimal() and int(period):
            yield int(quota) / int(period)


def _quota(group: Path) -> str:
    """Return the quota and the period of a group, in microseconds; without one, text that begins with no number."""
    return read(group / "cpu.max") or " ".join(read(group / f"cpu.cfs_{one}_us").strip() for one in ("quota", "period"))


def _slurm(environment: Mapping[str, str]) -> list[str]:
    return [name for name in SLURM if environment.get(name, "").isdecimal()][:1]
