"""Outlines become voxels: by hand, by set arithmetic, and as the tools that write them mean it."""

import cv2
import numpy as np
import pytest

from data.errors import BadFiles
from data.readers.dicom.segmentations.contours import fill, read_contours
from data.readers.dicom.series.series import find_series
from tests.support.dicom import box, header_of, write_rtstruct, write_series
from tests.support.nifti import ORIENTATIONS


def rectangle(left, top, right, bottom):
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)


@pytest.mark.parametrize(
    ("corners", "inside"),
    [
        ((0.6, 0.6, 2.4, 1.4), (slice(1, 3), slice(1, 2))),  # between the centres
        ((1, 1, 3, 2), (slice(1, 4), slice(1, 3))),  # through the centres
        ((-9, -9, 9, 9), (slice(0, 6), slice(0, 5))),  # larger than the slice
        ((2.2, 1, 2.8, 3), (slice(0, 0), slice(0, 0))),  # between two columns
    ],
)
def test_fill_takes_the_pixels_whose_centres_are_inside_or_on_the_outline(corners, inside):
    expected = np.zeros((6, 5), bool)
    expected[inside] = True
    np.testing.assert_array_equal(fill([rectangle(*corners)], (6, 5)), expected)
    np.testing.assert_array_equal(fill([rectangle(*corners)[::-1]], (6, 5)), expected)


def test_fill_leaves_out_holes_and_takes_islands_in_them():
    nested = [rectangle(k + 0.5, k + 0.5, 10.5 - k, 10.5 - k) for k in range(3)]
    found = fill(nested, (12, 12))
    expected = np.zeros((12, 12), bool)
    expected[1:11, 1:11], expected[2:10, 2:10], expected[3:9, 3:9] = True, False, True
    np.testing.assert_array_equal(found, expected)


def test_fill_counts_as_many_pixels_as_a_circle_has():
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = 50 + 31.45 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    x, y = np.mgrid[:101, :101]
    exact = (x - 50) ** 2 + (y - 50) ** 2 < 31.45**2
    np.testing.assert_array_equal(fill([circle], (101, 101)), exact)


@pytest.mark.parametrize("seed", range(5))
def test_fill_returns_the_mask_whose_outermost_pixels_were_traced(seed):
    noise = np.random.default_rng(seed).random((40, 30)).astype(np.float32)
    mask = cv2.GaussianBlur(noise, (9, 9), 0) > 0.5
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    polygons = [outline[:, 0, ::-1].astype(float) for outline in outlines]
    np.testing.assert_array_equal(fill(polygons, (40, 30)), mask)


def series_at(folder, **options):
    paths = write_series(folder, **options)
    return paths, find_series(map(header_of, paths))[0]


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_read_contours_lie_in_the_slices_and_later_rois_on_top(tmp_path, codes):
    paths, series = series_at(tmp_path / "x", codes=codes)
    rois = {
        "GTV": [box(paths[1], (1, 3), (1, 2))],
        "Brain": [box(paths[0], (0, 4), (0, 4))],
        "Edema": [box(paths[1], (2, 2.4), (1, 3))],
    }
    file = write_rtstruct(tmp_path / "rt.dcm", paths, rois)
    labels = read_contours(file, series, (1, 3))
    expected = np.zeros_like(labels)
    at = 1 if series.slices[1].path == paths[1] else len(paths) - 2
    expected[1:4, 1:3, at], expected[2, 1:4, at] = 1, 3
    np.testing.assert_array_equal(labels, expected)


def test_read_contours_refuses_outlines_between_slices_and_across_them(tmp_path):
    paths, series = series_at(tmp_path / "x")
    flat = box(paths[1], (1, 3), (1, 2))
    between, across, outside = np.zeros_like(flat), np.zeros_like(flat), np.zeros_like(flat)
    between[:, 2], across[2:, 2], outside[:, 2] = 1.5, 3, -300
    for wrong in (flat + between, flat + across, flat + outside):
        file = write_rtstruct(tmp_path / "rt.dcm", paths, {"GTV": [wrong]})
        with pytest.raises(BadFiles, match=r"has outlines that lie in no slice of ax-t1 \(series 1"):
            read_contours(file, series, (1,))
