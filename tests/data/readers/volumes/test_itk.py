"""MetaImage and NRRD are read as NIfTI is, and masks are written like their images."""

import sys

import numpy as np
import pytest

from data.errors import BadFiles, DataError
from data.readers.reader import LayoutOptions
from data.readers.tree import read_tree
from data.readers.volumes.formats.grid import to_grid
from data.readers.volumes.formats.itk import count_values, read_itk, write_itk
from data.readers.volumes.reader import scan
from tests.support.nifti import LABELS, ORIENTATIONS, SLICES, as_nifti

sitk = pytest.importorskip("SimpleITK")


def write(path, slices, codes="RAS", **options):
    """Write slices as another format by way of NIfTI, whose orientation ITK reads by itself."""
    as_nifti(slices, codes).to_filename(path.parent / "way.nii")
    sitk.WriteImage(sitk.ReadImage(str(path.parent / "way.nii")), str(path), **options)
    (path.parent / "way.nii").unlink()
    return path


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.mhd"])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_read_itk_gives_the_slices_and_the_grid_of_nifti(tmp_path, name, codes):
    path = write(tmp_path / name, SLICES, codes, useCompression=True)
    grid = to_grid(path, read_itk(path))
    np.testing.assert_array_equal(grid.values, SLICES)
    assert grid.spacing_mm == pytest.approx((3, 2, 1))
    np.testing.assert_allclose(grid.raw_affine, as_nifti(SLICES, codes).affine, atol=1e-5)
    assert count_values(path) == SLICES.size


@pytest.mark.parametrize("name", ["m.mha", "m.nrrd"])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_write_itk_inverts_read(tmp_path, name, codes):
    like = write(tmp_path / "like.mha", SLICES, codes)
    for labels in (LABELS, LABELS > 0):
        write_itk(tmp_path / name, labels, like)
        written = to_grid(like, read_itk(tmp_path / name))
        np.testing.assert_array_equal(written.values, labels)
        assert written.values.dtype == np.uint8
        np.testing.assert_allclose(written.raw_affine, read_itk(like).affine, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"like.mha", name})


def test_a_tree_may_mix_formats(tmp_path):
    folder = tmp_path / "A"
    folder.mkdir()
    write(folder / "A_t1.mha", SLICES, "LPS")
    write(folder / "A_flair.nrrd", SLICES + np.int16(1000), "RAS")
    as_nifti(LABELS, "ASL").to_filename(folder / "A_seg.nii.gz")
    volume = scan(read_tree(tmp_path), LayoutOptions()).patients[0].read()
    np.testing.assert_array_equal(volume.images, np.stack([SLICES + 1000, SLICES], axis=-1))
    np.testing.assert_array_equal(volume.masks, LABELS > 0)


def test_voxels_of_several_values_are_channels(tmp_path):
    image = sitk.GetImageFromArray(np.arange(4 * 5 * 6 * 2).reshape(4, 5, 6, 2).astype(np.int16), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    assert read_itk(tmp_path / "a.mha").values.shape == (6, 5, 4, 2)
    assert count_values(tmp_path / "a.mha") == 240


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"nothing", "its header is damaged"),
        (
            b"ObjectType = Image\nNDims = 3\nDimSize = 9 9 9\nElementType = MET_SHORT\nElementDataFile = LOCAL\n1",
            "cannot",
        ),
        (
            b"ObjectType = Image\nNDims = 3\nDimSize = 99999 9 9\nElementType = MET_SHORT\nElementDataFile = LOCAL\n",
            "is 99999 x 9 x 9, but must be 1 to 16384 a side",
        ),
        (
            b"ObjectType = Image\nNDims = 3\nDimSize = 9 9 9\nElementType = MET_UCHAR\nElementDataFile = /etc/passwd\n",
            "its header names a file elsewhere",
        ),
    ],
)
def test_read_itk_says_what_is_wrong(tmp_path, content, reason):
    (tmp_path / "a.mha").write_bytes(content)
    with pytest.raises(BadFiles, match=reason):
        read_itk(tmp_path / "a.mha")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("elementdatafile = LOCAL\nElementDataFile = /etc/passwd", "its header names a file elsewhere"),
        (" ElementDataFile = /etc/passwd", "its header names a file elsewhere"),
        ("ElementDataFile : /etc/passwd", "its header names a file elsewhere"),
        ("ElementDataFile = LIST\n/etc/passwd", "its header names a file elsewhere"),
        ("ElementDataFile = slice%d.raw 1 9 1", "its header names a file elsewhere"),
        ("ElementDataFile = ../a.raw", "its header names a file elsewhere"),
        ("Comment = " + "x" * 70000 + "\nElementDataFile = LOCAL", "its header is damaged, or longer than 65536 bytes"),
        ("", "its header is damaged"),
    ],
)
def test_headers_that_name_files_elsewhere_in_any_way_are_refused(tmp_path, lines, reason):
    header = "ObjectType = Image\nNDims = 3\nDimSize = 9 9 9\nElementType = MET_UCHAR\n"
    (tmp_path / "a.mhd").write_text(f"{header}{lines}\n")
    with pytest.raises(BadFiles, match=reason):
        read_itk(tmp_path / "a.mhd")


def test_nrrd_that_names_another_file_is_refused(tmp_path):
    header = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 9 9 9\nencoding: raw\ndata file: /etc/passwd\n\n"
    (tmp_path / "a.nrrd").write_text(header)
    with pytest.raises(BadFiles, match="its header names a file elsewhere"):
        count_values(tmp_path / "a.nrrd")


def test_truncated_files_are_refused(tmp_path):
    for name in ("a.mha", "a.nrrd"):
        path = write(tmp_path / name, SLICES)
        path.write_bytes(path.read_bytes()[:-50])
        with pytest.raises(BadFiles, match="cannot be read by SimpleITK"):
            read_itk(path)


def test_reading_without_simpleitk_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mha", SLICES)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(DataError, match=r"needs SimpleITK: pip install -e '\.\[volumes\]'"):
        read_itk(path)


META = "NDims = 3\nDimSize = 3 4 5\nElementType = MET_SHORT\n{line}ElementDataFile = LOCAL\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", None),
        ("Comment = a: b\nElementSpacing = 1 1 2.5e-1\n", None),
        ("ndims = -1\n", "has a line that is damaged, or there twice"),
        ("nonsense\n", "has a line that is damaged, or there twice"),
        ("x" * 300 + " = 1\n", "has a line that is damaged, or there twice"),
        ("Offset = 0 0\n", "says Offset = 0 0, but must say 3"),
        ("Offset = 0 0 nan\n", "says Offset = 0 0 nan, but must say 3"),
        ("TransformMatrix = 1 0 0\n", "says TransformMatrix = 1 0 0, but must say 9"),
        ("ElementNumberOfChannels = 2 2\n", "says ElementNumberOfChannels = 2 2, but must say 1"),
        ("elementdatafile = /etc/passwd\n", "names a file elsewhere"),
    ],
)
def test_only_meta_headers_of_the_usual_form_are_read(tmp_path, line, reason):
    path = tmp_path / "a.mha"
    path.write_bytes(META.format(line=line).encode() + bytes(2 * 60))
    if reason is None:
        assert read_itk(path).values.shape == (3, 4, 5)
        return
    with pytest.raises(BadFiles, match=reason):
        read_itk(path)


@pytest.mark.parametrize("number", ["-1", "1e30", "99999999999", "0", ""])
def test_number_of_dimensions_that_would_end_the_process_is_refused(tmp_path, number):
    path = tmp_path / "a.mha"
    path.write_bytes(META.format(line="").replace("NDims = 3", f"NDims = {number}").encode() + bytes(120))
    for read in (read_itk, count_values):
        with pytest.raises(BadFiles, match=r"its header says NDims = .*, but must say 3"):
            read(path)


@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
def test_compressed_voxels_that_the_header_does_not_describe_are_refused(tmp_path, name):
    path = write(
        tmp_path / name, np.random.default_rng(0).integers(0, 999, (9, 10, 11)).astype(np.int16), useCompression=True
    )
    sound = path.read_bytes()
    at, _, rest = sound.partition(b"CompressedDataSize = ")
    for size in (b"100", b"1"):  # SimpleITK would return the rest of its memory
        path.write_bytes(at + b"CompressedDataSize = " + size + rest[rest.index(b"\n") :])
        with pytest.raises(BadFiles, match=r"its compressed voxels are damaged, or its header does not describe them"):
            read_itk(path)
    path.write_bytes(sound)
    assert read_itk(path).values.shape == (11, 10, 9)
