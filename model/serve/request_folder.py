"""The private folder where the files of requests lie until they are answered.

It is removed when the service ends. A service that is killed cannot do that, so the next one on the same machine does:
each service holds a lock on its folder, and a folder of the same user that nobody has locked is of no more use.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "tumour-search-serve-"

ATTEMPTS = 100
"""A folder that is still there is removed so many times. Two are enough, unless it cannot be removed at all."""


@contextmanager
def request_folder() -> Iterator[Path]:
    """Yield a new folder that only this user can read, after removing those that killed services left."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_if_left(left)
    folder = Path(tempfile.mkdtemp(prefix="tumour-search-"))
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Only now may it have the name by which other services find it.
        folder = folder.rename(folder.with_name(PREFIX + folder.name.rpartition("-")[2]))
        yield folder
    finally:
        with suppress(OSError):  # under its old name, requests that still run would go on to write files
            folder = folder.rename(folder.with_name(folder.name + "-ended"))
        _remove(folder)
        os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a renamed folder. A request that had found it before may still be adding a file or removing its own."""
    for _ in range(ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.01)


def _remove_if_left(folder: Path) -> None:
    """Remove a folder of this user that no service has locked."""
    with suppress(OSError):  # it has gone, belongs to another user, is a link, or is in use
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_uid == os.getuid():
                shutil.rmtree(folder)
        finally:
            os.close(lock)
