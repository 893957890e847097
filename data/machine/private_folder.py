"""Where one may write: any folder, or one of this user's own among the temporary ones.

A container often runs as a user without a home, or with one that is read-only.
"""

import os
import stat
import sys
import tempfile
from functools import cache
from pathlib import Path

from data.errors import UserError

NAME = "tumour-search"


def can_write(folder: Path) -> bool:
    """Return whether files can be written in a folder, or in the nearest one above it if it does not exist yet."""
    folder = folder.absolute()
    nearest = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError:
        return False
    return True


@cache
def private_folder(problem: str) -> Path:
    """Return a folder of this user's own among the temporary ones, and say once that it is used, and why.

    It stays, so that the next run finds what it holds.

    Raises:
        UserError: No temporary folder can be written.
    """
    try:
        folder = _own(Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}")
    except FileNotFoundError as error:
        raise UserError(f"{problem}, nor in any temporary folder ({error}); set TMPDIR to one") from error
    print(f"note: {problem}; files that would be there are kept in {folder}", file=sys.stderr)
    return folder


def _own(folder: Path) -> Path:
    """Return the folder, after making it; another, new one if that name is taken by somebody else."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
    except OSError:  # a file or a dangling link of that name
        pass
    return Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
