"""Errors of a disk that a person can mend: it is full or not writable, or its folder was removed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import MachineError

FULL = {errno.ENOSPC, errno.EDQUOT}

DISK_ERRORS = FULL | {errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO, errno.ESTALE}
"""Errors of a disk that is full, not writable or lost: the user can mend them, wherever they are raised."""

GONE = {errno.ENOENT, errno.ENOTDIR}


class DiskError(MachineError):
    """A file could not be written, or not opened; the message is what `explain_disk_error` says."""


@contextmanager
def naming(file: Path | str) -> Iterator[None]:
    """Add the file's name to an OSError that the block raises: the system leaves it out where a write fails."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # otherwise its text would become "[Errno None]"
            error.filename = error.filename or str(file)
        raise


def is_disk_error(error: OSError) -> bool:
    """Return whether a person can mend the cause: a full or read-only disk, or a folder that was removed."""
    file = _file_of(error)
    return error.errno in DISK_ERRORS or (error.errno in GONE and file is not None and not file.parent.is_dir())


def explain_disk_error(error: OSError) -> str:
    """Return which file could not be written or opened, and what to do first; without a full stop."""
    file = _file_of(error)
    name = f"{file}" if file else "a file"
    if error.errno in FULL:
        return f"{name} could not be written: {_lack_of_room(error, file or Path.cwd())}; make room there"
    remedy = "its folder is still there" if error.errno in GONE else "you may read and write there"
    return f"{name} could not be opened or written ({error.strerror}); check that {remedy}"


def _file_of(error: OSError) -> Path | None:
    return Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None


def _lack_of_room(error: OSError, file: Path) -> str:
    if error.errno == errno.EDQUOT:
        return "your quota on this disk is used up"
    folder = next((parent for parent in file.absolute().parents if parent.is_dir()), Path("/"))
    disk = os.statvfs(folder)
    if disk.f_files and not disk.f_favail:
        return "the disk can hold no more files (it has no free inodes)"
    free, total = (blocks * disk.f_frsize / 1e6 for blocks in (disk.f_bavail, disk.f_blocks))
    return f"the disk has no room for it ({free:.1f} MB of {total:.0f} MB are free)"
