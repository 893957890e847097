"""The walk that every reader makes through a data source, and the check of where it begins."""

import os
from collections.abc import Iterator
from pathlib import Path

from data.errors import DataError, Problem


def require_folder(source: Path, layout: str) -> None:
    """Returns nothing; layout ends the message, and says what the folder should hold.

    Raises:
        DataError: source is a file, or missing.
    """
    if not source.is_dir():
        what = "is a file" if source.exists() else "does not exist"
        raise DataError(f"data source {source} {what}, but must be a folder; {layout}.")


def walk(top: Path, problems: list[Problem]) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yields top and the folders below it, each with the names of its folders and of its files, sorted.

    Hidden folders and files are passed over. Folders whose names are removed from the list are not entered. One that
    cannot be listed becomes a problem.
    """
    # Links are followed because large data sets are often linked into place; `seen` ends a cycle of links.
    seen = set()

    def cannot_list(error: OSError) -> None:
        reason = f"cannot be listed ({error.strerror}); check that you may read it"
        problems.append(Problem(path=Path(error.filename), reason=reason))

    for folder, subfolders, names in os.walk(top, followlinks=True, onerror=cannot_list):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        # An office program leaves "~$NAME" beside a file that it has open.
        yield Path(folder), subfolders, sorted(name for name in names if not name.startswith((".", "~$")))
