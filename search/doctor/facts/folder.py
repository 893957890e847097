"""A folder, as a search would use it: whether it can be written, how much room it has, and where it is."""

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from search.doctor.facts.mounts import file_system_of


@dataclass(frozen=True, kw_only=True)
class Folder:
    """The state of a folder."""

    path: Path
    exists: bool
    problem: str
    """Why it cannot be written, or could not be made; "" if it can."""

    free: float
    total: float
    kind: str
    """Its file system."""


def look_at(path: Path) -> Folder:
    """Return what is known of a folder, after writing a file there, or in the nearest folder above if it is missing."""
    path = path.absolute()
    nearest, problem, free, total = path, "", 0, 0
    try:
        nearest = _nearest(path)
        try_to_write(nearest)
        space = shutil.disk_usage(nearest)
        free, total = space.free, space.total
    except OSError as error:
        problem = f"{nearest} cannot be written: {(error.strerror or str(error)).lower()}"
    if os.path.islink(path) and nearest != path:
        problem = f"{path} is a link that leads nowhere"
    kind = file_system_of(nearest)
    return Folder(path=path, exists=os.path.exists(path), problem=problem, free=free, total=total, kind=kind)


def try_to_write(folder: Path) -> None:
    """Write a byte to a folder, because some disks accept a file but nothing in it.

    Raises:
        OSError: It cannot be written.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"0")
        file.flush()


def _nearest(path: Path) -> Path:
    """Return a path if it exists, else the nearest folder above it that does.

    Raises:
        OSError: A folder above it is closed to this user.
    """
    for one in (path, *path.parents):
        with suppress(FileNotFoundError, NotADirectoryError):
            one.stat()
            return one
    return path
