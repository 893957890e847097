"""How many CPUs this process may use, which may be fewer than the machine has."""

import os
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path, PurePosixPath

SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
"""What Slurm allots to a job, in the order of precedence; not every cluster enforces it."""

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cpus(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of CPUs that this process may use: by affinity, by its control groups, and by Slurm.

    `taskset` sets the affinity, containers and batch systems the control groups. A quota of 1.5 CPUs counts as 2.
    """
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    limits += map(ceil, cgroup_quotas(CGROUPS, MEMBERSHIP))
    limits += [int(value) for value in _slurm(environment)]
    return max(1, min(limits))


def cgroup_quotas(root: Path, membership: Path) -> Iterator[float]:
    """Yield the CPUs that each control group of this process allows, in both versions of the interface.

    Args:
        root: Where the file systems of control groups are mounted.
        membership: The file with the groups of this process, as /proc/self/cgroup.

    Reference: https://docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.max`) and the Linux manual page cgroups(7).
    """
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "cpu" if controllers else root
        group = PurePosixPath(path).relative_to("/")
        for one in (group, *group.parents):  # a group has no more than the groups above it
            quota, _, period = _quota(mount / one).partition(" ")
            if quota.isdecimal() and period.strip().isdecimal() and int(period):
                yield int(quota) / int(period)


def _quota(group: Path) -> str:
    """Return the quota and the period of a group, in microseconds; without one, text that begins with no number."""
    return _read(group / "cpu.max") or " ".join(
        _read(group / f"cpu.cfs_{one}_us").strip() for one in ("quota", "period")
    )


def _slurm(environment: Mapping[str, str]) -> list[str]:
    return [environment[name] for name in SLURM if environment.get(name, "").isdecimal()][:1]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
