"""What the header of an image promises, without decoding it."""

import struct

import cv2
import numpy as np
import pytest
import tifffile

from data.errors import BadFiles
from data.readers.image_header import IllegalImage, count_values, file_format, jpeg_frame, png_header
from tests.support.png import png_bytes


def encoded(pixels: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


GREY, RGB = np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3), np.uint8)


@pytest.mark.parametrize(("pixels", "count"), [(GREY, 24), (RGB, 72)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_count_values_is_pixels_times_channels(tmp_path, pixels, count, suffix):
    (tmp_path / "a").write_bytes(encoded(pixels, suffix))
    assert count_values(tmp_path / "a") == count


@pytest.mark.parametrize(("colour", "count"), [(0, 24), (2, 72), (3, 72), (4, 48), (6, 96), (7, 96)])
def test_count_values_takes_the_channels_that_a_png_decodes_to(tmp_path, colour, count):
    (tmp_path / "a.png").write_bytes(png_bytes([], width=6, height=4, colour=colour))
    assert count_values(tmp_path / "a.png") == count
    assert png_header(png_bytes([], width=6, height=4, colour=colour)).colour == colour


def test_count_values_of_another_file_is_0(tmp_path):
    (tmp_path / "a.png").write_bytes(b"GIF89a" + bytes(50))
    assert count_values(tmp_path / "a.png") == 0
    assert file_format(b"GIF89a\0\0") is None


def test_jpeg_frame_is_the_first_one():
    one, other = encoded(GREY, ".jpg"), encoded(np.zeros((90, 60), np.uint8), ".jpg")
    assert jpeg_frame(one[:-2] + other[2:]) == (4, 6, 1)


def test_jpeg_frame_skips_bytes_that_fill_and_segments_that_hold_another_frame():
    content = encoded(GREY, ".jpg")
    thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + 11) + b"\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x00"
    assert jpeg_frame(content[:2] + b"\xff\xff\xff" + thumbnail[1:] + content[2:]) == (4, 6, 1)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xc0\x00\x0b\x08"])
def test_jpeg_frame_refuses_a_file_without_one(content):
    with pytest.raises(IllegalImage, match="does not say its size"):
        jpeg_frame(content)


def test_count_values_refuses_a_tiff_of_a_compression_whose_size_is_unknown(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        at = tiff.pages.first.tags["Compression"].valueoffset
    content[at : at + 2] = struct.pack("<H", 50000)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(BadFiles, match=r"a\.tif: is compressed by ZSTD; save it uncompressed, or by LZW or Deflate"):
        count_values(tmp_path / "a.tif")
