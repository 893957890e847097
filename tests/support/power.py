"""A power cut: all processes of a search end at once, and what was not synced to the disk is gone.

The search's processes note every sync (tests/support/power_cut/sitecustomize.py). Removed files stay removed, and
renamed ones renamed, because a file system keeps those in its journal. That is harder than most power cuts, after which
also much of what was not synced is there.
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.support.process_tree import descendants

WRITTEN_BACK_SECONDS = 30.0
"""Linux itself writes to the disk what is older."""


def environment(notes: Path) -> dict[str, str]:
    """Return the environment of a search whose power may be cut."""
    folder = Path(__file__).with_name("power_cut")
    paths = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": paths, "SYNC_NOTES": str(notes)}


def end_at_once(pid: int) -> None:
    """Kill a process and all its descendants; none of them sees another one end."""
    stopped: set[int] = set()
    while new := {pid, *descendants(pid)} - stopped:
        send(new, signal.SIGSTOP)
        stopped |= new
    send(stopped, signal.SIGKILL)


def send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it has ended in the meantime
            os.kill(pid, number)


def drop_unsynced(folder: Path, notes: Path) -> int:
    """Cut each file of a folder to what was synced of it, and return how many lost something."""
    synced: dict[tuple[int, str], int] = {}
    for line in notes.read_text().splitlines() if notes.exists() else ():
        inode, size, path = line.split("\t")
        synced[int(inode), path.removesuffix(".partial")] = int(size)
    num_cut = 0
    for file in (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        status = file.stat()
        durable = synced.get((status.st_ino, str(file)), 0)
        if durable < status.st_size and time.time() < status.st_mtime + WRITTEN_BACK_SECONDS:
            os.truncate(file, durable)
            num_cut += 1
    return num_cut
