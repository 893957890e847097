"""Find out whether a process is writing to an experiment; it holds a lock on the folder and a lease in the bucket."""

import fcntl
import time
from pathlib import Path

from search.record.files import LOCK_FILE
from search.storage.lease import LEASE_FILE, is_live, read_holder


def is_being_written(folder: Path) -> bool:
    """Return whether a process is writing to an experiment, on this machine or (in a bucket) on another."""
    if is_locked(folder):
        return True
    try:
        silent_seconds = time.time() - (folder / LEASE_FILE).stat().st_mtime
        holder = read_holder(folder / LEASE_FILE)
    except OSError:
        return False
    return holder is not None and is_live(holder, silent_seconds)


def is_locked(folder: Path) -> bool:
    """Return whether a process on this machine is writing to an experiment's folder."""
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
