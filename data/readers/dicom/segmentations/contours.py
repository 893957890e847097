"""Read RTSTRUCT: the outlines of regions of interest as a volume of labels on the voxels of a series.

A voxel is inside if its centre is, or lies on the outline: tools that trace masks put the outline through the centres
of the outermost voxels, and then the mask comes back as it was. Outlines of a slice that lie in each other alternate
between tissue and hole. rt-utils does not serve here: it rounds outlines to whole voxels, which makes regions larger,
and it installs another build of OpenCV over the one that this program has.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt16

from data.errors import bad_file
from data.readers.dicom.segmentations.placement import voxels_of
from data.readers.dicom.series.dataset import parse
from data.readers.dicom.series.series import Series
from data.readers.volumes.formats.grid import MAX_DISTANCE

ON_OUTLINE = 0.01
"""How far from an outline a voxel's centre counts as on it, in voxels; coordinates are written with few decimals."""


def read_contours(path: Path, series: Series, numbers: Collection[int]) -> UInt16[np.ndarray, "x y z"]:
    """Return the place in the file, from 1, of the ROI that each voxel is in, and 0 outside; the highest where several
    are.

    Args:
        numbers: The ROIs to take, by their places.

    Raises:
        BadFiles: The file is damaged, or its outlines do not lie in slices of the series.
        DataError: pydicom is not installed.
    """
    outlines = parse(path, lambda dataset: list(_outlines(dataset, numbers)))
    if outlines is None:
        raise bad_file(path, "is no DICOM file any more; it was one when the folder was searched")
    flat: dict[tuple[int, int], list[np.ndarray]] = {}
    for number, points in outlines:
        at = voxels_of(points, series.matrix)
        z = round(float(at[0, 2])) if np.isfinite(at).all() else -1
        if not 0 <= z < series.shape[2] or np.abs(at[:, 2] - z).max() > MAX_DISTANCE:
            raise bad_file(path, f"has outlines that lie in no slice of {series}; draw them on that series")
        flat.setdefault((number, z), []).append(at[:, :2])
    labels = np.zeros(series.shape, np.uint16)
    for (number, z), polygons in sorted(flat.items(), key=lambda item: item[0]):
        inside = fill(polygons, series.size)
        labels[:, :, z][inside] = number
    return labels


def fill(polygons: list[Float[np.ndarray, "_ 2"]], size: tuple[int, int]) -> Bool[np.ndarray, "x y"]:
    """Return which pixels lie inside an odd number of polygons, or on the outline of one.

    Args:
        polygons: Corners in pixels; the centre of the first pixel is (0, 0), and a polygon closes itself.
    """
    crossings = np.zeros((size[0] + 1, size[1]), np.int32)
    on_outline = np.zeros(size, bool)
    for polygon in polygons:
        begin, end = polygon, np.roll(polygon, -1, axis=0)
        low = max(0, int(np.floor(polygon[:, 1].min())))
        rows = np.arange(low, min(size[1] - 1, int(np.ceil(polygon[:, 1].max()))) + 1)
        crosses = (begin[:, 1] <= rows[:, None]) != (end[:, 1] <= rows[:, None])
        row, edge = np.nonzero(crosses)
        y = rows[row]
        share = (y - begin[edge, 1]) / (end[edge, 1] - begin[edge, 1])
        x = begin[edge, 0] + share * (end[edge, 0] - begin[edge, 0])
        np.add.at(crossings, (np.clip(np.ceil(x), 0, size[0]).astype(int), y), 1)
        _mark(on_outline, np.stack([x, y], axis=1))
        _mark(on_outline, polygon)
        for one, other in zip(begin, end, strict=True):  # along a row, an outline crosses no row
            if abs(one[1] - other[1]) < ON_OUTLINE:
                first, last = sorted((one[0], other[0]))
                along = np.arange(max(0, np.ceil(first)), min(size[0] - 1, np.floor(last)) + 1)
                _mark(on_outline, np.stack([along, np.full(len(along), one[1])], axis=1))
    return (crossings.cumsum(axis=0)[: size[0]] % 2 == 1) | on_outline


def _mark(pixels: np.ndarray, points: np.ndarray) -> None:
    """Set the pixels whose centres are at points."""
    whole = points.round().astype(int)
    near = (np.abs(points - whole) < ON_OUTLINE).all(axis=1)
    inside = ((whole >= 0) & (whole < pixels.shape)).all(axis=1)
    pixels[tuple(whole[near & inside].T)] = True


def _outlines(dataset: Any, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each closed outline of the wanted ROIs, with the place of its ROI."""
    rois = dataset.get("StructureSetROISequence") or ()
    places = {int(roi.ROINumber): place for place, roi in enumerate(rois, start=1)}
    for item in dataset.get("ROIContourSequence") or ():
        place = places.get(int(item.ReferencedROINumber))
        if place not in numbers or place is None:
            continue
        for contour in item.get("ContourSequence") or ():
            points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
            if str(contour.ContourGeometricType).startswith("CLOSED") and len(points) > 2:
                yield place, points
