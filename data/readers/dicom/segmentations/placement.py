"""Where the voxels of a segmentation lie in a series: from its own geometry, which need not list all slices."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from data.readers.dicom.series.header import Frame
from data.readers.dicom.series.series import LPS_TO_RAS, Series
from data.readers.volumes.formats.grid import MAX_DISTANCE


def voxels_of(
    points_mm: Float[np.ndarray, "points 3"], matrix: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "points 3"]:
    """Return where points of DICOM's space (left, posterior, superior) lie among the voxels of an affine."""
    homogeneous = np.concatenate([points_mm, np.ones((len(points_mm), 1))], axis=1)
    return (homogeneous @ (np.linalg.inv(matrix) @ LPS_TO_RAS).T)[:, :3]


def place_frames(
    frames: Sequence[Frame], size: tuple[int, int], series: Series
) -> tuple[Int[np.ndarray, "frames 3"], Int[np.ndarray, "2 3"]] | None:
    """Return the voxel of each frame's first pixel, and the steps to the next column and row; None if the pixels of the
    frames are no voxels of the series.

    Args:
        size: Columns and rows of a frame.
    """
    first = frames[0]
    if any(one.position is None or len(one.orientation) != 6 or one.spacing is None for one in frames):
        return None
    assert first.position is not None
    assert first.spacing is not None
    rows, columns = np.reshape(first.orientation, (2, 3))
    corners = np.array(
        [first.position, first.position + rows * first.spacing[1], first.position + columns * first.spacing[0]]
    )
    at = voxels_of(corners, series.matrix)
    steps = at[1:] - at[0]
    whole_steps = steps.round().astype(int)
    far = np.array(size) - 1
    if (np.abs(whole_steps).sum(axis=1) != 1).any() or (np.abs(steps - whole_steps).T * far).max() > MAX_DISTANCE:
        return None
    origins = voxels_of(np.array([one.position for one in frames]), series.matrix)
    whole = origins.round().astype(int)
    opposite = whole + far @ whole_steps
    inside = (np.minimum(whole, opposite) >= 0).all() and (np.maximum(whole, opposite) < series.shape).all()
    is_same_plane = all(one.orientation == first.orientation and one.spacing == first.spacing for one in frames)
    return (whole, whole_steps) if inside and is_same_plane and np.abs(origins - whole).max() <= MAX_DISTANCE else None
