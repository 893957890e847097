"""Files of one JSON object a line, that survive the death of their writer at any moment."""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from data.errors import UserError


def append_line(path: Path, value: dict[str, Any], *, durable: bool = False) -> None:
    """Add a line; one that a crash cut off makes room.

    Args:
        durable: Wait until the disk has it. Without that the line survives the death of this process, not of the host.
    """
    with path.open("ab+") as file:
        _cut_torn_line(file)
        file.write((json.dumps(value) + "\n").encode())
        if durable:
            file.flush()
            os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the values, first to last; none where there is no file. A last line that was cut off is left out.

    Raises:
        ValueError: Another line is not a JSON object; the message names it.
    """
    if not path.exists():
        return []
    values = []
    *lines, _ = path.read_text().split("\n")  # what follows the last line's end was cut off
    for place, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {place}, is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise UserError(f"{path}, line {place}, is not a JSON object")
        values.append(value)
    return values


def _cut_torn_line(file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read() == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
