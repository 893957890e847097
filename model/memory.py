"""How much memory a process, or its GPU, has held at most."""

import sys
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


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
