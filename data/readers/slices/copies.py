"""Folders of slices that lie in a tree twice, as in an archive that holds itself once more."""

import filecmp
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from data.readers.slices import names
from data.readers.slices.pairs import Place


def without_copies(root: Path, found: Sequence[Place], *, by_folder: bool) -> tuple[list[list[Place]], str]:
    """Return the slices of each folder, but of folders that are copies of another one; and a warning about those.

    A copy has the same name, the names of its files are the same, and so are their bytes. The one that lies less deep
    is taken.

    Args:
        by_folder: Whether the last folder is the patient. Else all folders below the folder of images are, or, where
            there are none, the folder above, if it has a number.
    """
    clusters: dict[tuple[PurePosixPath, PurePosixPath], list[Place]] = defaultdict(list)
    for place in found:
        clusters[place.top, place.home].append(place)
    of_name: dict[str, list[list[Place]]] = defaultdict(list)
    for (top, home), places in sorted(clusters.items(), key=lambda one: (len(one[1][0].image.parts), one[1][0].image)):
        name = home.name if by_folder else str(home)
        of_name[name if home.parts or not is_somebody(top) else f"{top.name}/"].append(places)
    kept, copies = [], []
    for first, *others in of_name.values():
        kept.append(first)
        for other in others:
            if _are_same(root, first, other):
                copies.append((first[0].image.parent, other[0].image.parent))
            else:
                kept.append(other)
    if not copies:
        return kept, ""
    return kept, (
        f"{len(copies)} folder(s) of slices occur twice with the same files, such as {copies[0][0]} and "
        f"{copies[0][1]}; each is taken once"
    )


def is_somebody(folder: PurePosixPath) -> bool:
    """Return whether a folder of folders of images has the name of a patient: one with a digit, and not fold_1."""
    return re.search("[0-9]", folder.name) is not None and not names.is_nobody(folder.name)


def _are_same(root: Path, one: Sequence[Place], other: Sequence[Place]) -> bool:
    files, copies = (
        sorted(path for place in places for path in (place.image, place.mask) if path) for places in (one, other)
    )
    if [path.name for path in files] != [path.name for path in copies]:
        return False
    try:
        return all(
            filecmp.cmp(root / a, root / b, shallow=False) and (root / a).stat().st_size
            for a, b in zip(files, copies, strict=True)
        )
    except OSError:
        return False
