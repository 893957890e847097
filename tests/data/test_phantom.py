"""Phantoms: always the same patients, written whole or not at all, and not too easy to learn."""

import functools

import numpy as np
import pytest

from data.errors import DataError
from data.readers.images import ReadPair
from data.readers.phantom_drawing import NUM_SLICES, draw_patient, write_phantom
from tests.support.scans import scan_lgg as scan

draw = functools.cache(draw_patient)  # 60 ms a patient


def test_phantom_patient_depends_on_seed_and_number_only(tmp_path):
    few, more = (scan(write_phantom(tmp_path, num_patients=count)) for count in (1, 3))
    assert few.problems == more.problems == ()
    assert [patient.id for patient in more.patients] == ["PHANTOM_0001", "PHANTOM_0002", "PHANTOM_0003"]
    for one, other in zip(few.patients[0].slices, more.patients[0].slices, strict=True):
        assert one.image.read_bytes() == other.image.read_bytes()
        assert one.mask is not None
        assert other.mask is not None
        assert one.mask.read_bytes() == other.mask.read_bytes()
    assert (draw(0, 1)[0] != draw(0, 2)[0]).any()
    assert (draw(0, 1)[0] != draw(1, 1)[0]).any()


def test_phantom_is_read_back_as_drawn(tmp_path):
    patient = scan(write_phantom(tmp_path, num_patients=1)).patients[0]
    images, masks = draw(0, 1)
    assert len(patient.slices) == NUM_SLICES
    for files, image, mask in zip(patient.slices, images, masks, strict=True):
        read_image, read_mask = ReadPair()(files)
        np.testing.assert_array_equal(read_image, image)
        np.testing.assert_array_equal(read_mask, mask)


def test_phantom_is_written_once(tmp_path):
    folder = write_phantom(tmp_path, num_patients=1)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_phantom(tmp_path, num_patients=1) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert list(tmp_path.iterdir()) == [folder], "nothing temporary is left"


def test_faint_phantom_differs_in_its_lesions_alone(tmp_path):
    images, masks = draw(0, 1)
    faint, same_masks = draw(0, 1, 0.4)
    np.testing.assert_array_equal(masks, same_masks)
    flair, faint_flair = images[..., 1].astype(int), faint[..., 1].astype(int)
    assert faint_flair[masks].mean() < flair[masks].mean() - 5
    assert np.abs(faint_flair - flair)[~masks].mean() < 0.5
    folders = {write_phantom(tmp_path, num_patients=1, contrast=contrast) for contrast in (1.0, 0.4)}
    assert {len(scan(folder).patients) for folder in folders} == {1}
    assert len(folders) == 2


def test_phantom_that_lost_a_file_is_refused(tmp_path):
    folder = write_phantom(tmp_path, num_patients=1)
    next(folder.rglob("*_mask.tif")).unlink()
    with pytest.raises(DataError, match=r"holds 23 slice files .* holds 24 .*delete this folder"):
        write_phantom(tmp_path, num_patients=1)


@pytest.mark.parametrize("k", range(1, 7))
def test_phantom_lesion_is_brighter_on_flair_than_the_rest_of_its_slice(k):
    images, masks = draw(0, k)
    with_tumour = masks.any(axis=(1, 2))
    assert 1 <= with_tumour.sum() < NUM_SLICES
    flair = images[with_tumour][..., 1].astype(float)
    # The inner part of the slice: brain without scalp.
    inner = np.zeros(flair.shape[1:], bool)
    inner[40:88, 40:88] = True
    brain = flair[~masks[with_tumour] & inner]
    assert flair[masks[with_tumour]].mean() > brain.mean() + 0.5 * brain.std()


def test_phantom_lesion_lies_on_one_side():
    for k in range(1, 7):
        columns = np.nonzero(draw(0, k)[1])[2]
        on_the_left = (columns < 64).mean()
        assert max(on_the_left, 1 - on_the_left) > 0.9, k


def test_phantom_slices_are_about_half_without_tumour():
    assert 0.3 < np.mean([draw(0, k)[1].any(axis=(1, 2)).mean() for k in range(1, 7)]) < 0.7
