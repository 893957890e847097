"""/dev/shm, in which Ray keeps what processes of this machine share, where there is little of it or none.

A container of Docker has 64 MB of it by default.
"""

import shutil
import sys
import tempfile
from math import ceil
from pathlib import Path
from typing import Any

from data.machine.private_folder import can_write

SHARED_MEMORY = Path("/dev/shm")

STORE_BYTES = 2**31
"""Size of Ray's store of objects if it cannot derive one; what does not fit goes to other files."""


def store_options(shared: Path = SHARED_MEMORY) -> dict[str, Any]:
    """Return the options of `ray.init` without which Ray does not start; none if shared memory can be written."""
    if sys.platform != "linux" or can_write(shared):
        return {}
    return {"_plasma_directory": tempfile.gettempdir(), "object_store_memory": STORE_BYTES}


def free_bytes(shared: Path = SHARED_MEMORY) -> int:
    """Return how much can be written to shared memory."""
    return shutil.disk_usage(shared).free if can_write(shared) else 0


def describe_shortage(free: int, store: float) -> str | None:
    """Return what a person should know if shared memory is smaller than Ray's store of objects; None if it is not.

    Args:
        free: `free_bytes` before Ray started, which then writes files elsewhere if less is free than the store's size.
        store: The store's size in bytes.
    """
    if sys.platform != "linux" or free >= store:
        return None
    return (
        f"{SHARED_MEMORY} has {free / 1e6:.0f} MB, so what processes share is in ordinary files, which may be slower; "
        f"in a container, `docker run --shm-size={gigabytes_for(store)}gb` gives it more"
    )


def gigabytes_for(store: float) -> int:
    """Return how many gigabytes (2**30 bytes) of shared memory a store of so many bytes needs, with some to spare."""
    return ceil(store * 1.1 / 2**30)
