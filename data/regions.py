"""The regions of a tumour that a model segments: one, or several that overlap, such as those of BraTS.

A segmentation holds labels, and a region is a set of them. Masks hold bits: bit k of a voxel says whether it lies in
region k. So masks take a byte a voxel, however many regions there are, and a mask of one region is 0 and 1.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Shaped, UInt, UInt8

from data.errors import DataError

MAX_REGIONS = 8
MAX_LABEL = 65535


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of a tumour that has a mask of its own."""

    name: str
    labels: tuple[int, ...] = ()
    """The values of a segmentation that belong to it; if empty, every value above 0."""


WHOLE = (Region(name="tumour"),)
"""The only region of a model that was asked for none by name."""

NAMED = {
    "brats2013": ("WT=1,2,3,4", "TC=1,3,4", "ET=4"),  # BraTS 2012 to 2016, whose 3 is the core without enhancement
    "brats2021": ("WT=1,2,4", "TC=1,4", "ET=4"),  # BraTS 2017 to 2021, UCSF-PDGM, UPENN-GBM
    "brats2023": ("WT=1,2,3", "TC=1,3", "ET=3"),  # BraTS 2023; 2024 adds 4, the cavity, which is no tumour
    "msd": ("WT=1,2,3", "TC=2,3", "ET=3"),  # Task01_BrainTumour: 1 is edema, 2 the core without enhancement
}
"""Whole tumour, tumour core and enhancing tumour by the labels of public data sets."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


def parse_regions(texts: Sequence[str], labels: Sequence[int] = ()) -> tuple[Region, ...]:
    """Return the regions that `--regions` and `--labels` ask for.

    Args:
        texts: Such as `WT=1,2,4` and `ET=4`, or one name in NAMED. Empty: one region of all labels given.
        labels: The labels of the only region; if empty, every value above 0.

    Raises:
        DataError: A region is not legal, or both options are given.
    """
    if not texts:
        _check_labels(labels)
        return (Region(name=WHOLE[0].name, labels=tuple(labels)),)
    if labels:
        raise DataError("--regions and --labels exclude each other: leave one out")
    if len(texts) == 1 and texts[0].lower() in NAMED:
        return parse_regions(NAMED[texts[0].lower()])
    regions = tuple(map(_parse, texts))
    names = [region.name for region in regions]
    if len(regions) > 1 and WHOLE[0].name in map(str.lower, names):
        raise DataError(
            f"a region is called {WHOLE[0].name}, which stands for all regions together; choose another name"
        )
    if len({name.lower() for name in names}) < len(names) or len(names) > MAX_REGIONS:
        raise DataError(f"regions are {', '.join(names)}, but must have different names, and be at most {MAX_REGIONS}")
    return regions


def _parse(text: str) -> Region:
    name, _, values = text.partition("=")
    labels = [value.strip() for value in values.split(",")]
    if not _NAME.fullmatch(name) or not all(value.isascii() and value.isdigit() for value in labels):
        raise DataError(
            f"region is {text!r}, but must be a name and its labels, such as WT=1,2,4, or one of {', '.join(NAMED)}"
        )
    found = tuple(sorted(set(map(int, labels))))
    _check_labels(found)
    return Region(name=name, labels=found)


def _check_labels(labels: Sequence[int]) -> None:
    if not all(0 < label <= MAX_LABEL for label in labels):
        raise DataError(f"labels are {', '.join(map(str, labels))}, but must be 1 to {MAX_LABEL}; 0 is no tumour.")


def encode(labels: Shaped[np.ndarray, "..."], regions: Sequence[Region]) -> UInt8[np.ndarray, "..."]:
    """Return the masks of regions as bits."""
    bits = np.zeros(labels.shape, np.uint8)
    for number, region in enumerate(regions):
        inside = np.isin(labels, region.labels) if region.labels else labels > 0
        bits |= inside.astype(np.uint8) << number
    return bits


def count_labels(labels: Shaped[np.ndarray, "..."]) -> dict[int, int]:
    """Return the number of voxels of each label above 0."""
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}


def decode(bits: UInt8[np.ndarray, "..."], num_regions: int) -> Bool[np.ndarray, "regions ..."]:
    """Return the mask of each region."""
    return np.stack([bits >> number & 1 for number in range(num_regions)]).astype(bool)


def nest(masks: Bool[np.ndarray, "regions ..."], regions: Sequence[Region]) -> Bool[np.ndarray, "regions ..."]:
    """Return masks in which a region whose labels all belong to another one lies inside of that one."""
    nested = masks.copy()
    for number, outer in ((k, other) for k, region in enumerate(regions) for other in _around(region, regions)):
        nested[number] &= masks[outer]
    return nested


def to_labels(
    masks: Bool[np.ndarray, "regions ..."], regions: Sequence[Region]
) -> UInt[np.ndarray, "..."] | Bool[np.ndarray, "..."]:
    """Return a segmentation in the labels of the regions; for one region, its mask.

    A voxel gets the label that belongs to just the regions that it lies in. If there is none, it is one that puts the
    voxel into the fewest regions that it does not lie in, then into the most that it does; the lowest of several.
    """
    if len(regions) == 1:
        return masks[0]
    labels = sorted({label for region in regions for label in region.labels})
    table = np.zeros(2 ** len(regions), np.uint8 if labels[-1] < 256 else np.uint16)
    for combination in range(1, len(table)):
        inside = {number for number in range(len(regions)) if combination >> number & 1}

        def misfit(label: int, inside: set[int] = inside) -> tuple[int, int]:
            own = {number for number, region in enumerate(regions) if label in region.labels}
            return len(own - inside), len(inside - own)

        table[combination] = min(labels, key=misfit)
    bits = sum(mask.astype(np.uint8) << number for number, mask in enumerate(masks))
    return table[bits]


def _around(region: Region, regions: Sequence[Region]) -> list[int]:
    """Return the indices of the regions that have all labels of a region, and more."""
    return [number for number, other in enumerate(regions) if set(region.labels) < set(other.labels)]
