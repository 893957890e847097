"""Whether a process writes to an experiment now: its lock on this machine, its lease on the bucket."""

import fcntl
import time
from pathlib import Path

from search.record.files import LOCK_FILE
from search.storage.lease import LEASE_FILE, is_live, read_holder


def is_being_written(folder: Path) -> bool:
    """Whether a process writes to an experiment now: to its folder, or to its bucket from another machine."""
    if is_locked(folder):
        return True
    try:
        silent_seconds = time.time() - (folder / LEASE_FILE).stat().st_mtime
        holder = read_holder(folder / LEASE_FILE)
    except OSError:
        return False
    return holder is not None and is_live(holder, silent_seconds)


def is_locked(folder: Path) -> bool:
    """Whether a process of this machine writes to an experiment's folder now."""
    try:
        file = (folder / LOCK_FILE).open()
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
