"""Which folders of slices are visits or series of one person, in a folder of the person."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from data.readers.slices.copies import is_somebody
from data.splitting.persons import is_visit

_SERIES = re.compile(
    r"(ax|axial|cor|coronal|sag|sagittal|tra|transversal|transverse)|"
    r"((ax|cor|sag|tra)[_\- ]?)?"
    r"(t1|t2|t1w|t2w|t1n|t1c|t1ce|t1gd|t1post|t2f|flair|pd|dwi|adc|swi)([_\- ]?(ax|cor|sag|tra))?",
    re.IGNORECASE,
)
"""Names of folders that say how a person was scanned, and not who it is."""


def persons_above(folders: Iterable[PurePosixPath]) -> dict[PurePosixPath, PurePosixPath]:
    """Return the folder of the person by each folder of slices that is a part of it, such as P1 by P1/T1.

    A folder in one that may be a person's is such a part by a word for visits or for series, or if it has no digit and
    folders of other persons have the same name: P1/a and P2/a, but not site1/P1 and site2/P1.
    """
    inside = {folder: folder.parent for folder in folders if is_somebody(folder.parent)}
    above = defaultdict(set)
    for folder, parent in inside.items():
        above[folder.name].add(parent)
    return {
        folder: parent
        for folder, parent in inside.items()
        if is_visit(folder.name)
        or _SERIES.fullmatch(folder.name)
        or (len(above[folder.name]) > 1 and not any(map(str.isdigit, folder.name)))
    }
