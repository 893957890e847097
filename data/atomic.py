"""A file that is there as a whole or not at all, even if the machine dies."""

import os
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Put the bytes into the file, whole or not at all: a reader never sees half of them."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)  # half of it, where the disk is full
