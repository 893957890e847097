"""The peak memory of a process or its GPU, and a limit on the memory of a shared GPU."""

import sys
from pathlib import Path
from typing import Any

import torch

STATUS = Path("/proc/self/status")

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
        return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
