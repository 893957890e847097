"""The memory that a search may use, and the shared memory in which Ray keeps the slices: whether they are enough."""

import shutil
import sys
from pathlib import Path

from search.cluster.capacity.control_groups import is_container
from search.cluster.start.shared_memory import SHARED_MEMORY, gigabytes_for
from search.cluster.start.temp_folder import temporary_folder
from search.doctor.checks.finding import Finding, fail, format_bytes, ok, warn
from search.doctor.facts.folder import try_to_write
from search.doctor.facts.memory import Memory

LEAST, COMFORTABLE = 1.5e9, 4e9
"""Free memory without which a search fails, and with which a small one is at ease. In a control group, the tiny search
has taken 1.1 GB at its peak, with the files that it had read."""

RAY_SHARE = 0.95
"""Ray ends workers when more than this share of the memory is in use (RAY_memory_usage_threshold)."""

STORE_SHARE, STORE_WITHOUT_SHM = 0.3, 1e10
"""Ray's object store takes this share of the free memory. If it is larger than the second number, in bytes, Ray makes
it smaller, so that it fits into shared memory; if it is smaller, Ray puts it into a folder of temporary files."""


def check_memory(memory: Memory | None) -> Finding:
    """Return how much memory there is, how much is free, and whether that is enough."""
    if memory is None:
        return ok("memory", f"not checked on {sys.platform}")
    value = f"{format_bytes(memory.free)} free of {format_bytes(memory.total)}"
    if is_limited := memory.total < memory.machine:
        value += f", which a control group allows of the machine's {format_bytes(memory.machine)}"
    more = "allow more (docker run --memory, Kubernetes' limits, Slurm's --mem)" if is_limited else "end other programs"
    if memory.free < LEAST:
        return fail("memory", value, f"a search needs about {format_bytes(LEAST)} and more for your data: {more}")
    if memory.free < (1 - RAY_SHARE) * memory.total:
        return fail("memory", value, f"Ray ends trials when more than 95 % is in use: {more}")
    if memory.free < COMFORTABLE:
        return warn("memory", value, f"enough for a small search with small slices; for more than that, {more}")
    return ok("memory", value)


def check_shared_memory(memory: Memory | None, folder: Path = SHARED_MEMORY) -> Finding:
    """Return the size of the shared memory, and whether Ray's object store fits in."""
    if not sys.platform.startswith("linux"):
        return ok("shared memory", f"not checked on {sys.platform}")
    try:
        space = shutil.disk_usage(folder)
        try_to_write(folder)
    except OSError as error:
        remedy = _elsewhere("its objects", f"mount a tmpfs there (mount -t tmpfs -o mode=1777 tmpfs {folder})")
        return warn("shared memory", f"{folder} cannot be written: {error.strerror}", remedy)
    value = f"{format_bytes(space.free)} free of {format_bytes(space.total)} in {folder}"
    return judge_shared_memory(value, shared=space.free, memory=memory.free if memory else 0.0)


def judge_shared_memory(value: str, *, shared: float, memory: float) -> Finding:
    """Return whether Ray's object store fits into the shared memory.

    Args:
        value: What the finding says of the shared memory.
        shared: Free bytes of it.
        memory: Free bytes of all memory.
    """
    wanted = min(STORE_SHARE * memory, max(STORE_WITHOUT_SHM, 0.95 * shared))
    if shared >= wanted:
        return ok("shared memory", value)
    value += f"; Ray's object store would take {format_bytes(wanted)}"
    return warn("shared memory", value, _elsewhere("it", _enlarge(wanted)))


def _elsewhere(what: str, remedy: str) -> str:
    return f"Ray keeps {what} in {temporary_folder()} instead, which may be slower: {remedy}"


def _enlarge(wanted: float) -> str:
    size = f"{gigabytes_for(wanted)}g"
    if is_container():
        return f"docker run --shm-size={size}, or in Kubernetes an emptyDir with medium: Memory at /dev/shm"
    return f"remove files there, or as root mount -o remount,size={size} /dev/shm"
