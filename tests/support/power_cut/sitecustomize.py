"""Notes which files are synced to the disk, and how many bytes of them (tests/support/power.py).

Python imports this before anything else in every process whose PYTHONPATH names this folder.
"""

import os
from typing import Any

NOTES = os.environ.get("SYNC_NOTES", "")
real_fsync = os.fsync


def noting_fsync(file: Any) -> None:
    """Sync a file as `os.fsync` does, and note it."""
    real_fsync(file)
    number = file if isinstance(file, int) else file.fileno()
    status, path = os.fstat(number), os.readlink(f"/proc/self/fd/{number}")
    with open(NOTES, "a") as lines:
        lines.write(f"{status.st_ino}\t{status.st_size}\t{path}\n")


if NOTES:
    os.fsync = noting_fsync
