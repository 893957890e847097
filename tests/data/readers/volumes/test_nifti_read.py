"""A NIfTI case is one volume however its axes lie; damaged files are named with a reason."""

import gzip
import pickle
import re
import shutil
import tracemalloc

import nibabel
import numpy as np
import pytest

from data.errors import BadFiles
from data.readers.volumes.formats.raw import MAX_SIDE, MAX_VALUES
from data.readers.volumes.patient import VolumePatient
from data.regions import parse_regions
from tests.support.nifti import (
    LABELS,
    ORIENTATIONS,
    SLICES,
    SPACING_MM,
    as_nifti,
    patient_of,
    problems_of,
    put,
    rewrite,
    write_case,
)

LEGAL_SIDES = f"1 to {MAX_SIDE} a side, and at most {MAX_VALUES} voxels; crop or resample it"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_read_returns_the_same_slices_for_every_orientation(tmp_path, codes, suffix):
    volume = patient_of(write_case(tmp_path, codes=codes, suffix=suffix), suffix=suffix).read()
    np.testing.assert_array_equal(volume.images, np.stack([SLICES, SLICES + 1000], axis=-1))
    np.testing.assert_array_equal(volume.masks, LABELS > 0)
    assert volume.images.dtype == np.int16
    assert volume.numbers == (1, 2, 3, 4)
    assert volume.spacing_mm == SPACING_MM
    assert volume.images.flags.c_contiguous
    assert volume.masks.flags.c_contiguous


def test_read_puts_the_patients_right_on_the_left_and_the_front_on_top(tmp_path):
    folder = write_case(tmp_path)
    values = np.zeros((3, 4, 5), np.int16)  # RAS with the origin in a corner: indices are millimetres
    values[2, 3, 0] = 7  # rightmost, foremost, lowest
    for path in folder.iterdir():
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(path)
    assert np.argwhere(patient_of(folder).read().masks).tolist() == [[0, 0, 0]]


def test_read_takes_an_oblique_volume_by_its_closest_axes(tmp_path):
    folder = write_case(tmp_path)
    tilt = np.radians(20)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    for path in folder.iterdir():
        image = nibabel.Nifti1Image.from_filename(path)
        assert image.affine is not None
        nibabel.Nifti1Image(np.asarray(image.dataobj), turn @ image.affine).to_filename(path)
    np.testing.assert_array_equal(patient_of(folder).read().images[..., 0], SLICES)


def test_read_takes_files_that_order_one_grid_differently(tmp_path):
    folder = write_case(tmp_path)
    as_nifti(LABELS, "LPS").to_filename(folder / "A_seg.nii.gz")
    np.testing.assert_array_equal(patient_of(folder).read().masks, LABELS > 0)


def test_read_takes_nifti_2_a_fourth_side_of_one_and_big_endian(tmp_path):
    folder = write_case(tmp_path)
    as_nifti(SLICES, image=nibabel.Nifti2Image).to_filename(folder / "A_t1.nii.gz")
    image = as_nifti(SLICES + np.int16(1000))
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.Nifti1Image(np.asarray(image.dataobj)[..., None], image.affine, header).to_filename(
        folder / "A_flair.nii.gz"
    )
    volume = patient_of(folder).read()
    np.testing.assert_array_equal(volume.images, np.stack([SLICES, SLICES + 1000], axis=-1))
    assert volume.images.dtype == np.dtype("=i2")


def test_read_applies_scaling_and_keeps_negatives(tmp_path):
    folder = write_case(tmp_path, suffix=".nii")

    def scale(content):
        put(content, 112, 0.5, "<f4")
        put(content, 116, -3, "<f4")

    rewrite(folder / "A_t1.nii", scale)
    volume = patient_of(folder, suffix=".nii").read()
    assert volume.images.dtype == np.float32
    np.testing.assert_array_equal(volume.images[..., 0], SLICES * 0.5 - 3)
    np.testing.assert_array_equal(volume.images[..., 1], SLICES + 1000)
    assert volume.images.min() == -13


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("uint8", "int16"), "int16"),
        (("uint16", "int16"), "int32"),
        (("uint64", "int64"), "float32"),
        (("float64", "int16"), "float32"),
    ],
)
def test_read_finds_a_common_type(tmp_path, dtypes, expected):
    folder = write_case(tmp_path)
    for name, dtype in zip(("t1", "flair"), dtypes, strict=True):
        as_nifti(abs(SLICES).astype(dtype)).to_filename(folder / f"A_{name}.nii.gz")
    volume = patient_of(folder).read()
    assert volume.images.dtype == np.dtype(expected)
    np.testing.assert_array_equal(volume.images[..., 1], abs(SLICES))


@pytest.mark.parametrize(("labels", "expected"), [((), (1, 2, 4)), ((4,), (4,)), ((1, 2), (1, 2)), ((3,), ())])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_read_takes_the_given_labels_as_tumour(tmp_path, labels, expected, dtype):
    folder = write_case(tmp_path, dtype=dtype)
    np.testing.assert_array_equal(
        patient_of(folder, regions=parse_regions((), labels)).read().masks, np.isin(LABELS, expected)
    )


def test_read_takes_scaled_labels_within_rounding(tmp_path):
    folder = write_case(tmp_path, suffix=".nii")
    values = as_nifti(LABELS * np.uint8(10)).to_bytes()
    (folder / "A_seg.nii").write_bytes(values)
    rewrite(folder / "A_seg.nii", lambda content: put(content, 112, 0.1, "<f4") or put(content, 116, 0, "<f4"))
    masks = patient_of(folder, suffix=".nii", regions=parse_regions((), (4,))).read().masks
    np.testing.assert_array_equal(masks, LABELS == 4)


@pytest.mark.parametrize(
    ("offset", "value", "dtype", "expected"),
    [
        (123, 2, "u1", (3.0, 2.0, 1.0)),  # mm
        (123, 1, "u1", (3000.0, 2000.0, 1000.0)),  # metre
        (123, 3, "u1", (0.003, 0.002, 0.001)),  # micron
        (123, 255, "u1", (3.0, 2.0, 1.0)),
        (80, 0, "<f4", None),
        (84, np.nan, "<f4", None),
        (84, -2, "<f4", None),
    ],
)
def test_read_returns_the_spacing_in_the_header(tmp_path, offset, value, dtype, expected):
    folder = write_case(tmp_path, suffix=".nii")
    rewrite(folder / "A_t1.nii", lambda content: put(content, offset, value, dtype))
    spacing = patient_of(folder, suffix=".nii").read().spacing_mm
    assert spacing == (None if expected is None else pytest.approx(expected))


def nifti_of(values, affine=None, image=nibabel.Nifti1Image):
    return lambda path: image(values, np.eye(4) if affine is None else affine).to_filename(path)


def changed(offset, value, dtype):
    return lambda path: rewrite(path, lambda content: put(content, offset, value, dtype))


def with_voxels(*voxels):
    def change(path):
        values = SLICES.astype(np.float32)
        values.flat[: len(voxels)] = voxels
        as_nifti(values).to_filename(path)

    return change


NOT_NIFTI = "is not NIfTI in one file: its header has no n+1 or n+2; copy it again or convert it"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "is missing, or is a folder or a device; put the file there"),
        (lambda path: path.write_bytes(b""), "is empty (0 bytes); copy it again"),
        (lambda path: rewrite(path, lambda content: b"not NIfTI at all" * 99), NOT_NIFTI),
        (changed(344, b"ni1\0", "S4"), NOT_NIFTI),
        (
            lambda path: rewrite(path, lambda content: content[:-1]),
            "holds less than the 592 bytes that its header promises; copy it again",
        ),
        (
            lambda path: rewrite(path, lambda content: content + b"\0"),
            "holds more than the 592 bytes that its header promises; copy it again",
        ),
        (
            changed(108, 2.0**25, "<f4"),
            "holds less than the 33554672 bytes that its header promises; copy it again",
        ),
        (
            nifti_of(np.zeros((4, 5), np.int16)),
            "is 4 x 5, but must have 3 dimensions, or 4 of which the last are channels; save each volume as a file",
        ),
        (
            nifti_of(np.zeros((4, 5, 6, 2, 2), np.int16)),
            "is 4 x 5 x 6 x 2 x 2, but must have 3 dimensions, or 4 of which the last are channels; save each volume "
            "as a file",
        ),
        (
            nifti_of(np.zeros((6, 5, 4, 2), np.int16), as_nifti(SLICES).affine),
            "has 2 channels, but is one channel of several; save each channel as a file",
        ),
        (
            changed(42, [32767, 32767, 32767], "<i2"),
            f"is 32767 x 32767 x 32767, but must be {LEGAL_SIDES}",
        ),
        (
            changed(42, [1024, 1024, 513], "<i2"),
            f"is 1024 x 1024 x 513, but must be {LEGAL_SIDES}",
        ),
        (
            changed(42, [-4, 5, 6], "<i2"),
            f"is -4 x 5 x 6, but must be {LEGAL_SIDES}",
        ),
        (
            nifti_of(np.zeros((6, 5, 4), np.complex64)),
            "holds voxels of type complex64, but must hold real numbers",
        ),
        (
            nifti_of(np.zeros((6, 5, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])),
            "holds voxels of type RGB, but must hold real numbers",
        ),
        (
            with_voxels(np.nan, 1, np.inf, -np.inf),
            "holds 2 voxel(s) that are infinite, but all must be finite; replace them",
        ),
        (
            lambda path: as_nifti(SLICES.astype(np.float64) * 1e300).to_filename(path),
            "holds 119 voxel(s) that are infinite, but all must be finite; replace them",
        ),
        (
            lambda path: as_nifti(SLICES[:, :4]).to_filename(path),
            "is 4 x 4 x 6 (slices, rows, columns), but A_t1{suffix} is 4 x 5 x 6; resample them to one grid",
        ),
        (
            lambda path: as_nifti(SLICES, spacing=(3, 2, 1.5)).to_filename(path),
            "has as many voxels as A_t1{suffix}, but lies elsewhere, up to 2.5 voxels away: its axes run RAS, its "
            "origin is (32.5, 22, -20) mm, its voxels (1.5, 2, 3) mm; that file's axes run RAS, its origin is "
            "(35, 22, -20) mm, its voxels (1, 2, 3) mm. If only the affine is wrong and the voxels match, which a "
            "viewer shows, give --trust-voxels; otherwise resample it to that grid",
        ),
    ],
)
def test_read_says_what_is_wrong(tmp_path, suffix, damage, reason):
    folder = write_case(tmp_path, suffix=suffix)
    damage(folder / f"A_flair{suffix}")
    assert problems_of(patient_of(folder, suffix=suffix)) == {f"A_flair{suffix}": reason.format(suffix=suffix)}


def test_read_refuses_broken_labels(tmp_path):
    folder = write_case(tmp_path)
    as_nifti(LABELS * np.float32(0.3)).to_filename(folder / "A_seg.nii.gz")
    reason = (
        "holds 4 label(s) that are not whole numbers, among the values 0, 0.3, 0.6, 1.2; if it was resampled, do it by "
        "nearest neighbour; if it holds probabilities, save it as 0 and 1"
    )
    assert problems_of(patient_of(folder)) == {"A_seg.nii.gz": reason}


def test_read_names_all_files_at_once(tmp_path):
    folder = write_case(tmp_path)
    (folder / "A_t1.nii.gz").write_bytes(b"")
    (folder / "A_seg.nii.gz").write_bytes(b"no gzip")
    assert problems_of(patient_of(folder)) == {
        "A_t1.nii.gz": "is empty (0 bytes); copy it again",
        "A_seg.nii.gz": NOT_NIFTI,
    }


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_read_refuses_an_affine_without_directions(tmp_path, value):
    folder = write_case(tmp_path, suffix=".nii")
    rewrite(folder / "A_t1.nii", lambda content: put(content, 280, np.full(12, value), "<f4"))
    reason = "its affine gives no direction to some axis; repair qform and sform, or convert it again"
    assert problems_of(patient_of(folder, suffix=".nii")) == {"A_t1.nii": reason}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_read_refuses_every_truncation(tmp_path, suffix):
    folder = write_case(tmp_path, suffix=suffix)
    path = folder / f"A_t1{suffix}"
    content = path.read_bytes()
    for length in {*range(0, len(content), 13), 347, 348, 351, 352, len(content) - 8, len(content) - 1}:
        if length < len(content):
            path.write_bytes(content[:length])
            assert list(problems_of(patient_of(folder, suffix=suffix))) == [path.name]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", ["t1", "seg"])
def test_read_of_flipped_bytes_gives_a_volume_or_bad_files(tmp_path, suffix, name):
    folder = write_case(tmp_path, suffix=suffix)
    path = folder / f"A_{name}{suffix}"
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(80):
        flipped = bytearray(content)
        for at in rng.integers(0, min(len(content), 400), rng.integers(1, 4)):
            flipped[at] ^= rng.integers(1, 256)
        path.write_bytes(flipped)
        try:
            volume = patient_of(folder, suffix=suffix).read()
        except BadFiles:
            continue
        assert volume.images.shape == (4, 5, 6, 2)
        assert np.isfinite(volume.images).all()


def test_read_refuses_bytes_that_were_flipped_under_gzip(tmp_path):
    folder = write_case(tmp_path)
    path = folder / "A_t1.nii.gz"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # of the checksum, which lies behind the last voxel
    path.write_bytes(content)
    assert "CRC check failed" in problems_of(patient_of(folder))["A_t1.nii.gz"]


@pytest.mark.parametrize(
    "make",
    [
        lambda header: header + bytes(2**26),  # inflates to more than its header promises
        lambda header: put(header, 42, [1024, 1024, 512], "<i2") or header,  # promises more than it can inflate to
    ],
)
def test_read_refuses_a_bomb_without_inflating_it(tmp_path, make):
    folder = write_case(tmp_path, suffix=".nii")
    path = folder / "A_t1.nii"
    content = make(bytearray(path.read_bytes()))
    shutil.copy(folder / "A_seg.nii", folder / "A_flair.nii")
    bomb = folder / "A_t1.nii.gz"
    bomb.write_bytes(gzip.compress(content, compresslevel=1))
    patient = VolumePatient(id="A", images=(bomb,), segmentation=folder / "A_seg.nii")
    tracemalloc.start()
    reasons = problems_of(patient)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert re.fullmatch(r"holds (more|less) than the \d+ bytes that its header promises; .*", reasons["A_t1.nii.gz"])
    assert peak < 2**22


def test_patient_is_left_out_whole(tmp_path):
    patient = patient_of(write_case(tmp_path))
    assert patient.without([tmp_path / "other"]) is patient
    assert all(patient.without({path}) is None for path in patient.files)


def test_patient_can_be_pickled(tmp_path):
    patient = patient_of(write_case(tmp_path))
    assert pickle.loads(pickle.dumps(patient)) == patient
