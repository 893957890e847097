"""Write files and folders atomically: they appear whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.machine.disk_errors import naming


def write(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write the bytes to the file so that a reader never sees half of them.

    Args:
        sync: Whether to wait until the bytes are on the disk, so that they survive a crash of the machine. False is
            faster, and enough for a file that can be made again.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with naming(path), partial.open("wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)  # left behind if the disk is full


def sync(path: Path) -> None:
    """Wait until the bytes of a file are on the disk, whoever has written them."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it becomes target at the end of the block, or vanishes if the block fails.

    If another process has created target meanwhile, its folder stays, so all processes must write the same content.
    """
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        partial.mkdir(parents=True)
        yield partial
        try:
            partial.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
