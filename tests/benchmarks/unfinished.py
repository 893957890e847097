"""The file of a measurement that was stopped: its settings in the first line, then a line for each finished part."""

from pathlib import Path

from data.errors import UserError
from search.record.codec import JsonObject
from search.record.jsonl import append_line, read_lines


def read_finished(path: Path, settings: JsonObject) -> list[JsonObject]:
    """Return the finished parts in a file; start the file if there is none.

    Raises:
        UserError: The file is of a measurement with other settings.
    """
    lines = read_lines(path)
    if not lines:
        append_line(path, settings)
        return []
    before = lines[0]
    if changed := sorted(name for name in settings.keys() | before.keys() if settings.get(name) != before.get(name)):
        raise UserError(f"{path} was made with another {' and '.join(changed)}: choose another file")
    return lines[1:]
