"""How the slices of a series lie, from headers alone, and in which words a series is refused that is no volume."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from data.readers.dicom.series.series import find_series
from tests.support.dicom import header_of, uid, write_series
from tests.support.nifti import ORIENTATIONS, SLICES, as_nifti


def series_of(*paths):
    return find_series(header_of(path) for path in paths)


def change(path, **values):
    content = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(content, name, value)
    content.save_as(path)


def move(path, by_mm):
    change(path, ImagePositionPatient=(np.array(pydicom.dcmread(path).ImagePositionPatient, float) + by_mm).tolist())


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_the_affine_is_that_of_the_volume(tmp_path, codes):
    (series,) = series_of(*write_series(tmp_path, codes=codes))
    affine = as_nifti(SLICES, codes).affine
    if np.linalg.det(affine) > 0:  # the slices of a left-handed volume are sorted the other way round
        np.testing.assert_allclose(series.matrix, affine, atol=1e-5)
    np.testing.assert_allclose(abs(np.linalg.det(series.matrix)), abs(np.linalg.det(affine)), rtol=1e-5)
    assert series.problem == ""
    assert sorted(series.shape) == [4, 5, 6]


def test_slices_of_a_tilted_stack_are_an_even_one(tmp_path):
    paths = write_series(tmp_path)
    for k, path in enumerate(paths):
        move(path, [0, 0.5 * k, 0])
    (series,) = series_of(*paths)
    assert series.problem == ""
    np.testing.assert_allclose(series.matrix[:3, 2], [0, -0.5, 3])


def test_positions_that_are_rounded_are_an_even_stack(tmp_path):
    paths = write_series(tmp_path)
    for path, by_mm in zip(paths, (0.01, -0.02, 0.02, 0), strict=True):
        move(path, [0, 0, by_mm])
    assert series_of(*paths)[0].problem == ""


def test_a_single_slice_is_as_thick_as_it_says(tmp_path):
    paths = write_series(tmp_path, slices=SLICES[:1])
    np.testing.assert_allclose(series_of(*paths)[0].matrix[:3, 2], [0, 0, 3])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"ImagePositionPatient": None}, "does not say where its slices lie"),
        ({"PixelSpacing": None}, "does not say where its slices lie"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, 1]}, "has slices of several directions or spacings"),
        ({"PixelSpacing": [1, 1]}, "has slices of several directions or spacings"),
        ({"Rows": 7}, "has slices of several sizes (5 x 6, 7 x 6), but all must have one"),
        ({"PhotometricInterpretation": "RGB"}, "has pixels of kind RGB, but must be MONOCHROME2"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "has pixels of kind MONOCHROME1, but must be MONOCHROME2"),
        ({"Rows": 65535, "Columns": 65535}, "has slices of several sizes"),
    ],
)
def test_a_slice_that_differs_is_said(tmp_path, values, problem):
    paths = write_series(tmp_path)
    change(paths[2], **values)
    assert series_of(*paths)[0].problem.startswith(problem)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"Rows": 65535, "Columns": 65535}, "has 17179344900 voxels in slices of 65535 x 65535, but a side must be"),
        ({"Rows": 16384, "Columns": 16384}, "has 1073741824 voxels in slices of 16384 x 16384, but a side must be"),
        ({"PixelSpacing": [0, 1]}, "has an illegal position, orientation or spacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "has an illegal position, orientation or spacing"),
        ({"ImageOrientationPatient": [0] * 6}, "has an illegal position, orientation or spacing"),
        ({"NumberOfFrames": 4}, "has 12 slice(s) where another one lies"),
    ],
)
def test_a_series_that_is_no_volume_is_said(tmp_path, values, problem):
    paths = write_series(tmp_path)
    for path in paths:
        change(path, **values)
    assert series_of(*paths)[0].problem.startswith(problem)


def test_missing_uneven_and_repeated_slices_are_told_apart(tmp_path):
    paths = write_series(tmp_path)
    assert series_of(paths[0], *paths[2:])[0].problem == (
        "lacks slices: there are 6 mm between slices 1 and 2, and usually 3 mm; copy the series again"
    )
    move(paths[1], [0, 0, 0.9])
    assert series_of(*paths)[0].problem == (
        "has slices at uneven places (gaps of 2.1 to 3.9 mm; up to 0.9 mm off an even stack); resample it"
    )
    move(paths[1], [0, 0, -3.9])
    assert series_of(*paths)[0].problem.startswith("has 1 slice(s) where another one lies: several echoes, times")


def test_slugs_are_unique_and_roles_of_unknown_series_are_their_slugs(tmp_path):
    paths = [
        path
        for number, text in enumerate(("AX DWI", "AX T1", "AX T1", "AX DWI", ""), start=1)
        for path in write_series(tmp_path / str(number), text, number=number)
    ]
    found = series_of(*paths)
    assert [one.slug for one in found] == ["ax-dwi-1", "ax-t1-2", "ax-t1-3", "ax-dwi-4", "nameless"]
    assert [one.role for one in found] == ["ax-dwi-1", "t1", "t1", "ax-dwi-4", "nameless"]
    headers = [replace(header_of(path), series_number=0, series_uid=uid(path.parent)) for path in paths]
    assert len({one.slug for one in find_series(headers)}) == 5


def test_a_contrast_agent_in_any_header_makes_a_t1_one_with_contrast(tmp_path):
    paths = write_series(tmp_path, ContrastBolusAgent="Gadavist")
    assert series_of(*paths)[0].role == "t1c"
    for path in paths:
        change(path, ContrastBolusAgent="None")
    assert series_of(*paths)[0].role == "t1"
