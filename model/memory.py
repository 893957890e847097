"""How much memory a process, or its GPU, has held at most; and may hold."""

import sys
from pathlib import Path
from typing import Any

import torch

STATUS = Path("/proc/self/status")

CONTEXT_BYTES = 700_000_000
"""What CUDA itself takes of a GPU for every process, beside torch's tensors: its context and the libraries' kernels."""


def keep_to_share(share: float, *, cuda: Any = torch.cuda) -> None:
    """Let this process take no more of its GPU's memory than a share, so that what wants more fails alone.

    Without it, the neighbour that asks next is the one who finds the memory full. A whole GPU, or none, has no limit.
    """
    if not 0 < share < 1 or not cuda.is_available():
        return
    _, total = cuda.mem_get_info()
    # Half of a share that CUDA itself would use up is more than nothing, and says "out of memory" as torch does.
    cuda.set_per_process_memory_fraction(max(share / 2, share - CONTEXT_BYTES / total))


def forget_peak() -> None:
    """Begin to look for the peak anew: on the GPU, and of the process where Linux lets it."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set to what is resident now
    except OSError:  # another system, or /proc cannot be written: the peak stays that of the process's whole life
        return


def peak_mb() -> float:
    """Return the most that was held since `forget_peak`, in 2**20 bytes: what torch allocated on the GPU, or, without
    one, what the process held, data and libraries included."""
    allocated = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
    return (allocated or peak_bytes_of_process()) / 2**20


def peak_bytes_of_process() -> int:
    """Return the most memory that this process has held."""
    if STATUS.exists():  # on Linux getrusage may tell the peak of the process that started this one
        return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
