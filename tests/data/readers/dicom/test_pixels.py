"""Pixels come out as they were stored, scaled as each file says, whatever they are compressed by."""

import sys

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from data.errors import BadFiles, DataError
from data.readers.dicom.series.pixels import read_series
from data.readers.dicom.series.series import find_series
from tests.support.dicom import header_of, write_enhanced, write_series
from tests.support.nifti import SLICES, as_nifti

sitk = pytest.importorskip("SimpleITK")


def series_of(*paths):
    (series,) = find_series(header_of(path) for path in paths)
    return series


def change(path, **values):
    content = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(content, name, value)
    content.save_as(path)


def stored():
    return np.asarray(as_nifti(SLICES, "LPS").dataobj)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8])
def test_unscaled_pixels_are_integers_as_stored(tmp_path, dtype):
    slices = (SLICES + 20).astype(dtype)
    values = read_series(series_of(*write_series(tmp_path, slices=slices))).values
    np.testing.assert_array_equal(values, np.asarray(as_nifti(slices, "LPS").dataobj))
    assert values.dtype == dtype


def test_each_file_is_scaled_as_it_says(tmp_path):
    paths = write_series(tmp_path)
    for k, path in enumerate(paths):
        change(path, RescaleSlope=1 + k / 2, RescaleIntercept=-k, RescaleType="US")
    values = read_series(series_of(*paths)).values
    k = np.arange(4)
    np.testing.assert_allclose(values, stored() * (1 + k / 2) - k)
    assert values.dtype == np.float32


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless])
def test_compressed_pixels_are_decoded(tmp_path, syntax):
    slices = np.tile((SLICES + 20).astype(np.uint16), (1, 8, 8))
    paths = write_series(tmp_path, slices=slices)
    for path in paths:
        content = pydicom.dcmread(path)
        if syntax in (RLELossless, JPEGLSLossless):
            content.compress(syntax)
        else:
            compress_by_gdcm(content, syntax, tmp_path)
        content.save_as(path)
    assert pydicom.dcmread(paths[0]).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_series(series_of(*paths)).values, np.asarray(as_nifti(slices, "LPS").dataobj))


def compress_by_gdcm(content, syntax, folder):
    """Compress pixels as pydicom cannot without further packages."""
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(folder / "compressed.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG2000" if syntax == JPEG2000Lossless else "JPEG")
    writer.Execute(sitk.GetImageFromArray(content.pixel_array[None]))
    compressed = pydicom.dcmread(folder / "compressed.dcm")
    content.PixelData, content["PixelData"].is_undefined_length = compressed.PixelData, True
    content.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID


@pytest.mark.parametrize("codes", ["LPS", "PIR"])
def test_the_frames_of_one_file_are_slices_in_the_order_of_their_places(tmp_path, codes):
    series = series_of(write_enhanced(tmp_path / "a.dcm", codes=codes, scaling=(2, -3)))
    raw = read_series(series)
    reference = read_series(series_of(*write_series(tmp_path / "x", codes=codes)))
    np.testing.assert_allclose(raw.values, reference.values * 2 - 3)
    np.testing.assert_allclose(raw.affine, reference.affine)


def test_frames_of_several_scalings_are_refused(tmp_path):
    series = series_of(write_enhanced(tmp_path / "a.dcm", scaling=(2, -3), last_scaling=(4, 0)))
    assert series.problem.startswith("scales the frames of one file differently")


@pytest.mark.parametrize("num_bytes", [1, 30, 59])
def test_truncated_files_are_all_named(tmp_path, num_bytes):
    paths = write_series(tmp_path)
    series = series_of(*paths)
    for path in paths[1:3]:
        path.write_bytes(path.read_bytes()[:-num_bytes])
    with pytest.raises(BadFiles, match="its pixels cannot be decoded by SimpleITK") as caught:
        read_series(series)
    assert sorted(problem.path for problem in caught.value.problems) == sorted(paths[1:3])


def test_a_file_that_changed_since_the_scan_is_refused(tmp_path):
    paths = write_series(tmp_path)
    series = series_of(*paths)
    write_series(tmp_path, slices=SLICES[:, :, :4])
    with pytest.raises(BadFiles, match=r"is 4 x 5 x 1 \(columns, rows, frames\), but its header said 6 x 5 x 1"):
        read_series(series)
    for path in paths:
        path.unlink()
    with pytest.raises(BadFiles, match="4 file"):
        read_series(series)


def test_reading_without_simpleitk_says_what_to_install(tmp_path, monkeypatch):
    series = series_of(*write_series(tmp_path))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(DataError, match=r"needs SimpleITK: pip install -e '\.\[volumes\]'"):
        read_series(series)


def test_length_beyond_the_file_is_refused_before_memory_is_taken_for_it(tmp_path):
    path = write_series(tmp_path, slices=SLICES.astype(np.int16))[0]
    content = bytearray(path.read_bytes())
    at = content.index(b"\x28\x00\x00\x01US")  # the number of bits of a pixel, whose length moves all that follows
    content[at + 6] = 66
    path.write_bytes(content)
    with pytest.raises(BadFiles, match=r"says that its element \(FFF7,FFF8\) has 4294\d+ bytes, more than the file"):
        read_series(series_of(path))
