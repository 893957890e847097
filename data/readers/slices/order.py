"""The order of a patient's slices, by the numbers in their names."""

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import TypeVar

from data.readers.slices import names

P = TypeVar("P", bound=PurePath)


def numbered(paths: Sequence[P], nameless: Callable[[P], None], twice: Callable[[P, P, int], None]) -> dict[int, P]:
    """Return the images of one patient by number, ascending.

    The number is the last one in a name, of at most 9 digits. If no name has one, or all share one before other
    letters, the images are numbered from 1 in natural order.

    Args:
        nameless: Called with each image that has no number, if others have.
        twice: Called with each image whose number another one has, with that one and the number; it is left out.
    """
    numbers = [names.number_of(names.stem_of(path.name)) for path in paths]
    if not says_order(paths):
        paths = in_natural_order(paths)
        numbers = list(range(1, len(paths) + 1))
    found: dict[int, P] = {}
    for path, number in zip(paths, numbers, strict=True):
        if number is None:
            nameless(path)
        elif number in found:
            twice(path, found[number], number)
        else:
            found[number] = path
    return dict(sorted(found.items()))


def says_order(paths: Sequence[PurePath]) -> bool:
    """Return whether the names of images have numbers that differ, or that end the names and so count slices."""
    stems = [names.stem_of(path.name) for path in paths]
    numbers = {names.number_of(stem) for stem in stems}
    if numbers == {None}:
        return False
    return len(numbers) > 1 or len(paths) == 1 or any(stem[-1:].isdigit() for stem in stems)


def in_natural_order(paths: Sequence[P]) -> list[P]:
    """Return paths sorted with their numbers as numbers, however long."""
    return sorted(paths, key=lambda path: re.sub("[0-9]+", lambda run: run[0].zfill(255), path.as_posix()))
