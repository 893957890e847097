"""Files that decode to far more than they are: the service refuses them, soon and without the memory for it."""

import gzip
import io
import os
import struct
import time
import zlib
from collections.abc import Iterator

import nibabel
import numpy as np
import pytest
import tifffile

from data.readers.volumes.formats.itk import import_itk
from tests.support.load import forget_peak, memory_mb
from tests.support.png import png_bytes, png_chunk
from tests.support.service import encoded, image, post, serving, write_service_model

ZEROS = zlib.compress(bytes(100_000_000), 9)
PNG = encoded(image(), ".png")
JPEG = encoded(image(), ".jpg")
MAX_SECONDS, MAX_GROWTH_MB = 5, 60


def tiff(compression: str, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image(channels=3), photometric="rgb", compression=compression, **options)
    return buffer.getvalue()


def tiff_of_pages(num: int) -> bytes:
    """Return a TIFF of pages that have no tag, each six bytes."""
    pages = b"".join(struct.pack("<HI", 0, 8 + 6 * (k + 1)) for k in range(num))
    return b"II*\0" + struct.pack("<I", 8) + pages[:-4] + bytes(4)


def recoded(code: int) -> bytes:
    """Return a TIFF that says it is compressed in another way."""
    content = bytearray(tiff("zlib"))
    with tifffile.TiffFile(io.BytesIO(content)) as found:
        struct.pack_into("<H", content, found.pages.first.tags["Compression"].valueoffset, code)
    return bytes(content)


IMAGES = {
    "PNG of more pixels": png_bytes([bytes(3 * 3000)] * 3000, width=3000, colour=2),
    "PNG of one row": png_bytes([bytes(3 * 16384)], width=16384, colour=2),
    "PNG that holds more": PNG[:33] + png_chunk(b"IDAT", ZEROS) + PNG[33:],
    "PNG with a comment": PNG[:33] + png_chunk(b"zTXt", b"Comment\0\0" + ZEROS) + PNG[33:],
    "PNG with a profile": PNG[:33] + png_chunk(b"iCCP", b"a\0\0" + ZEROS) + PNG[33:],
    "PNG of empty chunks": PNG[:33] + png_chunk(b"tEXt", b"") * 150_000 + PNG[33:],
    "JPEG of markers": JPEG[:2] + b"\xff\x01" * 900_000 + JPEG[2:],
    "TIFF of pages": tiff_of_pages(300_000),
    "TIFF in LZMA": recoded(34925),
    "TIFF in Zstandard": recoded(50000),
    "TIFF in JPEG 2000": recoded(34712),
}


def header(*sides: int) -> bytes:
    """Return the header of a NIfTI file of 16-bit integers."""
    found = nibabel.Nifti1Header()
    found.set_data_shape(sides)
    found.set_data_dtype(np.int16)
    found.set_sform(np.diag([-1.0, -1.0, 1.0, 1.0]), code=1)
    found["magic"], found["vox_offset"] = b"n+1", 352
    return found.binaryblock + bytes(4)


META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = True\n"
    "CompressedDataSize = {size}\nDimSize = {side} {side} {side}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: {side} {side} {side}\nendian: little\nencoding: gzip\n\n"

VOLUMES = {
    "NIfTI that holds more": (".nii.gz", gzip.compress(header(8, 8, 8) + bytes(10**8), 1)),
    "NIfTI that holds less": (".nii.gz", gzip.compress(header(400, 400, 400), 1)),
    "NIfTI of thousands of slices": (".nii.gz", gzip.compress(header(1, 1, 16384) + bytes(2 * 16384), 1)),
    "NIfTI of thousands of columns": (".nii.gz", gzip.compress(header(16384, 1, 1) + bytes(2 * 16384), 1)),
    "NIfTI of many members": (".nii.gz", gzip.compress(b"") * 5000 + gzip.compress(header(8, 8, 8))),
    "NIfTI with a long comment": (".nii.gz", b"\x1f\x8b\x08\x10" + bytes(6) + b"a" * 10**6),
    "MetaImage that holds more": (".mha", META.format(size=len(ZEROS), side=8).encode() + ZEROS),
    "MetaImage that holds less": (".mha", META.format(size=100, side=100).encode() + ZEROS[:100]),
    "MetaImage of a lying size": (".mha", META.format(size=2**62, side=8).encode() + ZEROS[:100]),
    "NRRD that holds more": (".nrrd", NRRD.format(side=8).encode() + gzip.compress(bytes(10**8), 1)),
    "NRRD that holds less": (".nrrd", NRRD.format(side=100).encode() + gzip.compress(bytes(100), 1)),
}


MAY_BE_READ = ("PNG that", "PNG with", "PNG of empty", "JPEG", "MetaImage that holds more", "NRRD that holds more")
"""Where what is too much may be left out: libpng skips comments and profiles that it does not like, and all readers
skip what follows the last row."""


@pytest.fixture(scope="module")
def flair_port(folder, tmp_path_factory) -> Iterator[int]:
    import_itk()  # which takes memory of its own
    model = write_service_model(tmp_path_factory.mktemp("model") / "model.onnx", ("flair",))
    with serving(model, folder, "--max-megabytes", "4") as port:
        yield port


@pytest.mark.parametrize(("name", "content"), IMAGES.items(), ids=IMAGES.keys())
def test_image_that_is_a_bomb_takes_no_memory(port, name, content):
    suffix = {"JPEG": ".jpg", "TIFF": ".tif"}.get(name[:4], ".png")
    assert_harmless(port, name, f"a{suffix}", content)


@pytest.mark.parametrize(
    ("name", "suffix", "content"), [(name, *one) for name, one in VOLUMES.items()], ids=list(VOLUMES)
)
def test_volume_that_is_a_bomb_takes_no_memory(flair_port, name, suffix, content):
    assert_harmless(flair_port, name, f"a{suffix}", content)


def assert_harmless(port: int, name: str, file: str, content: bytes) -> None:
    pid, began = os.getpid(), time.monotonic()
    forget_peak(pid)
    before = memory_mb(pid)
    reply = post(port, file, content)
    assert memory_mb(pid, "VmHWM") - before < MAX_GROWTH_MB
    assert time.monotonic() - began < MAX_SECONDS
    assert reply.status in (400, 413) or (reply.status == 200 and name.startswith(MAY_BE_READ)), reply
    assert reply.status == 200 or reply.error
