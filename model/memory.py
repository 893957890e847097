"""The peak memory of a process or its GPU, limits on both, and what is said where memory ran out."""

import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

STATUS = Path("/proc/self/status")

MEMORY_WORDS = re.compile(
    "can't allocate memory|not enough memory|bad_alloc|out of memory|could not create a primitive|start new thread",
    re.IGNORECASE,
)
"""How torch says on a CPU that memory ran out, in a RuntimeError; the last two are oneDNN's and Python's words."""

CONTEXT_BYTES = 700_000_000
"""Memory of a GPU that CUDA itself takes for each process, beside torch's tensors: its context and the kernels."""


def limit_gpu_memory(share: float, *, cuda: Any = torch.cuda) -> None:
    """Limit this process to a share of its GPU's memory, so that a process that wants more fails alone.

    Without the limit, whichever process allocates next would fail. Nothing is limited if the share is 1, or if there is
    no GPU.
    """
    if not 0 < share < 1 or not cuda.is_available():
        return
    _, total = cuda.mem_get_info()
    # If CUDA itself would use up the share, half of it still lets torch start and fail with its own "out of memory".
    cuda.set_per_process_memory_fraction(max(share / 2, share - CONTEXT_BYTES / total))


@contextmanager
def limit_memory(megabytes: float) -> Iterator[None]:
    """Limit what this process may hold in all, in 2**20 bytes, so that an allocation beyond it fails, not the machine.

    It has no effect on the memory of a GPU, nor where the system has no such limit. A process that has run into the
    limit should end: libraries such as oneDNN remember that they failed.
    """
    if not math.isfinite(megabytes) or not STATUS.exists():
        yield
        return
    import resource  # not on Windows

    before = resource.getrlimit(resource.RLIMIT_DATA)
    # The limit is on addresses of private data, of which many were never touched: so the room is added to them.
    room = max(0, int(megabytes * 2**20) - _status_bytes("VmRSS"))
    resource.setrlimit(resource.RLIMIT_DATA, (_status_bytes("VmData") + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def as_out_of_memory(error: BaseException) -> str | None:
    """Return in a sentence what ran out of memory; None if the error is another one."""
    text = str(error)
    if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not MEMORY_WORDS.search(text):
        return None
    asked = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", text)
    wanted = _megabytes(asked[1]) if asked else None
    more = f" asked for {wanted:,.0f} MB more when it" if wanted else ""
    return f"out of memory: the training{more} held {peak_memory_mb():,.0f} MB; {of_total()}"


def of_total() -> str:
    """Return how much memory the GPU, or the machine, has."""
    if torch.cuda.is_initialized():
        return f"the GPU has {torch.cuda.mem_get_info()[1] / 2**20:,.0f} MB"
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return "free memory, or make the network or the batch smaller"
    total = next(int(line.split()[1]) for line in meminfo.read_text().splitlines() if line.startswith("MemTotal"))
    return f"the machine has {total / 2**10:,.0f} MB"


def reset_peak_memory() -> None:
    """Reset the peak memory of the GPU and, if Linux allows it, of the process."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): sets the peak to what is resident now
    except OSError:  # on another system, or if /proc is read-only, the peak stays that of the process's whole life
        return


def peak_memory_mb() -> float:
    """Return the most memory held since `reset_peak_memory`, in 2**20 bytes.

    It is what torch allocated on the GPU or, without a GPU, what the process held, with its data and libraries.
    """
    allocated = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
    return (allocated or process_peak_bytes()) / 2**20


def process_peak_bytes() -> int:
    """Return the most memory that this process has held, in bytes."""
    if STATUS.exists():  # on Linux, getrusage may return the peak of the process that started this one
        return _status_bytes("VmHWM")
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status_bytes(name: str) -> int:
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:")) * 1024


def _megabytes(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"GiB": 1024, "MiB": 1, "KiB": 1 / 1024}.get(unit, 1 / 2**20)
