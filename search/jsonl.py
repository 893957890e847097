"""Files of one JSON object a line, that survive the death of their writer at any moment."""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO


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
        ValueError: Another line is not JSON; the message names it.
    """
    if not path.exists():
        return []
    values = []
    lines = path.read_text().split("\n")
    for place, line in enumerate(lines):
        if not line:
            continue
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError as error:
            if place < len(lines) - 1:
                raise ValueError(f"{path}, line {place + 1}, is not JSON: {error}") from error
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
