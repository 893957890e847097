"""Read DICOM SEG: the segments of a segmentation as a volume of labels on the voxels of a series."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from data.errors import bad_file
from data.readers.dicom.segmentations.placement import place_frames
from data.readers.dicom.series.dataset import parse
from data.readers.dicom.series.header import Frame, frames_of
from data.readers.dicom.series.series import Series
from data.readers.volumes.formats.raw import MAX_VALUES


def read_segments(path: Path, series: Series, numbers: Collection[int]) -> UInt16[np.ndarray, "x y z"]:
    """Return the number of the segment that each voxel of a series is in, and 0 outside; the highest where several are.

    A fractional segmentation counts where it is at least half of its maximum.

    Args:
        numbers: The segments to take.

    Raises:
        BadFiles: The file is damaged, too large, or does not lie on the voxels of the series.
        DataError: pydicom is not installed.
    """
    labels = parse(path, lambda dataset: _labels(path, dataset, series, numbers), pixels=True)
    if labels is None:
        raise bad_file(path, "is no DICOM file any more; it was one when the folder was searched")
    return labels


def _labels(path: Path, dataset: Any, series: Series, numbers: Collection[int]) -> np.ndarray:
    frames = frames_of(dataset)
    count = int(dataset.Rows) * int(dataset.Columns) * len(frames)
    if count > MAX_VALUES:
        raise bad_file(path, f"has {count} pixels in its frames, but may have at most {MAX_VALUES}")
    placed = place_frames(frames, (int(dataset.Columns), int(dataset.Rows)), series)
    if placed is None:
        raise bad_file(path, f"does not lie on the voxels of {series}; resample it to that series")
    planes = _planes(path, dataset, frames)
    labels = np.zeros(series.shape, np.uint16)
    for plane, number, start in zip(planes, _numbers(dataset, len(frames)), placed[0], strict=True):
        if number is not None and number not in numbers:
            continue
        rows, columns = np.nonzero(plane)
        at = tuple((start + np.stack([columns, rows], axis=1) @ placed[1]).T)
        found = plane[rows, columns] if number is None else np.uint16(number)
        found = np.where(np.isin(found, list(numbers)), found, 0).astype(np.uint16)
        labels[at] = np.maximum(labels[at], found)
    return labels


def _planes(path: Path, dataset: Any, frames: tuple[Frame, ...]) -> np.ndarray:
    """Return the pixels of all frames: booleans, or the numbers of segments in a label map."""
    try:
        pixels = dataset.pixel_array.reshape(len(frames), int(dataset.Rows), int(dataset.Columns))
    except Exception as error:  # whatever pydicom and its decoders raise for damaged or unknown pixels
        reason = " ".join(str(error).split())[:200]
        raise bad_file(
            path, f"its pixels cannot be decoded ({reason}); copy it again or save it uncompressed"
        ) from error
    kind = str(dataset.get("SegmentationType", "BINARY")).upper()
    if kind == "FRACTIONAL":
        return pixels >= int(dataset.get("MaximumFractionalValue", 255)) / 2
    return pixels if kind == "LABELMAP" else pixels > 0


def _numbers(dataset: Any, num_frames: int) -> list[int | None]:
    """Return the number of the segment that each frame shows; None for frames of a label map."""
    if str(dataset.get("SegmentationType", "")).upper() == "LABELMAP":
        return [None] * num_frames
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or ())[:1]
    each = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    groups = [[own, *shared] for own in each]
    return [
        next(
            int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            for item in items
            if item.get("SegmentIdentificationSequence")
        )
        for items in groups
    ]
