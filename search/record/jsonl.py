"""Read and write files with a JSON object on each line, which stay readable if the writer is killed at any moment."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from data.errors import UserError
from data.machine.disk_errors import naming
from search.record.codec import JsonObject

T = TypeVar("T")


def append_line(path: Path, value: JsonObject, *, durable: bool = False) -> None:
    """Append a line; a last line that a crash cut off is removed first.

    Args:
        durable: Whether to wait until the disk has it. Otherwise the line survives a kill of this process, but not a
            crash of the machine.

    Raises:
        OSError: The disk is full, or the folder is gone. What was written of the line is no line yet.
    """
    with naming(path), path.open("ab+") as file:
        _cut_torn_line(file)
        file.write((json.dumps(value) + "\n").encode())
        if durable:
            file.flush()
            os.fsync(file.fileno())


def read_lines(path: Path) -> list[JsonObject]:
    """Return the values, first to last; [] if there is no file. A last line that was cut off is left out.

    Raises:
        UserError: Another line is not a JSON object; the message names it.
    """
    return [value for value, _ in _lines(path)]


def read_records(path: Path, read: Callable[[JsonObject, str], T]) -> list[T]:
    """Return a record for each line, first to last; [] if there is no file. A last line that was cut off is left out.

    Args:
        read: Makes a record from a line's values, and from the line's name in errors ("FILE, line 3").

    Raises:
        UserError: A line is not a JSON object, or `read` refuses it.
    """
    return [read(value, where) for value, where in _lines(path)]


def _lines(path: Path) -> Iterator[tuple[JsonObject, str]]:
    """Yield each line's values, and the line's name in errors."""
    if not path.exists():
        return
    try:
        *lines, _ = path.read_text().split("\n")  # a text after the last line break is a line that was cut off
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text: {error}") from error
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}, is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise UserError(f"{where}, is not a JSON object")
        yield value, where


def _cut_torn_line(file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read() == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
