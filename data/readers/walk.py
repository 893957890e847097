"""Walk through the folders of a data source; all readers use it."""

import os
from collections.abc import Iterator
from pathlib import Path

from data.errors import Problem


def walk(top: Path, problems: list[Problem]) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield top and the folders below it, each with the sorted names of its folders and of its files.

    Hidden folders and files are left out. The caller keeps the walk out of a folder by removing its name from the list.
    A folder that cannot be listed is added to problems.
    """
    # Large data sets are often linked into place, so links are followed; `seen` ends a cycle of links.
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
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and name != "__MACOSX")
        # Links last: a folder that a link leads to, too, of the same folder, is found where it really lies.
        subfolders.sort(key=lambda name: os.path.islink(os.path.join(folder, name)))
        # Office programs leave "~$NAME" beside an open file.
        yield Path(folder), subfolders, sorted(name for name in names if not name.startswith((".", "~$")))
