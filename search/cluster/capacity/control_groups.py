"""The control groups of this process, by which containers and batch systems limit it, in both versions of Linux."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
"""Files that Docker and Podman leave in a container."""

NAMES = ("docker", "kubepods", "containerd", "libpod", "lxc")
"""Words in the names of the control groups of containers."""


def groups_of(controller: str, root: Path, membership: Path) -> Iterator[Path]:
    """Yield the folder of each control group that limits this process: its own, and then those above it.

    Args:
        controller: What is limited: `cpu` or `memory`.
        root: Where the file systems of control groups are mounted.
        membership: The file with the groups of this process, as /proc/self/cgroup.

    Reference: https://docs.kernel.org/admin-guide/cgroup-v2.html and the Linux manual page cgroups(7).
    """
    for line in read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / controller if controllers else root
        group = PurePosixPath(path).relative_to("/")
        yield from (mount / one for one in (group, *group.parents))


def is_container(environment: Mapping[str, str] = os.environ, *, membership: Path = MEMBERSHIP) -> bool:
    """Return whether this process seems to be in a container of Docker, Podman, Kubernetes, LXC, or Apptainer."""
    if any(mark.exists() for mark in MARKS) or {"KUBERNETES_SERVICE_HOST", "APPTAINER_CONTAINER"} & environment.keys():
        return True
    return any(name in read(membership) for name in NAMES)


def read(path: Path) -> str:
    """Return the text of a file of the kernel; "" if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
