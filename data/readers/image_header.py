"""Read the header of a TIFF, PNG or JPEG file before anything is decoded: a megabyte may decode to gigabytes.

Pillow 13.0 was tried instead of this module: it opens truncated files, does not report the bit depth of a PNG, and
refuses 14,000 x 14,000 pixels, which are legal here, unless a limit for the whole process is raised.
"""

import lzma
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import tifffile

from data.errors import BadFiles, bad_file

FIRST_BYTES = {
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),  # the last two are BigTIFF
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
}
JPEG_END = 0xD9
MAX_JPEG_SEGMENTS = 10_000
"""More than any camera or scanner writes; a file of nothing but markers would take minutes."""

_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette is decoded to the colours it shows
# Any marker but those that occur inside the coded pixels: a stuffed zero and the restart markers D0 to D7.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECOMPRESSORS: dict[int, Callable[[], Any]] = {
    8: zlib.decompressobj,
    32946: zlib.decompressobj,
    34925: lzma.LZMADecompressor,
}
"""By the number of a TIFF's compression: Deflate twice, LZMA."""
_TIFF_COMPRESSIONS = (1, 5, 8, 32946)  # none, LZW, Deflate: what they decode to can be checked, and others can read it


class IllegalImage(ValueError):
    """The reason why an image cannot be used; the caller that knows the path raises BadFiles from it."""


class PngHeader(NamedTuple):
    """The first chunk of a PNG."""

    width: int
    height: int
    depth: int
    colour: int

    @property
    def num_channels(self) -> int:
        """Channels that a decoder returns."""
        return _PNG_CHANNELS.get(self.colour, 4)


class JpegFrame(NamedTuple):
    """The header of a JPEG's first frame, which is the one that decoders use."""

    height: int
    width: int
    num_channels: int


def file_format(first_bytes: bytes) -> str | None:
    """Return the format of a file from its first 8 bytes: "TIFF", "PNG" or "JPEG"; None for any other."""
    return next((kind for kind, starts in FIRST_BYTES.items() if first_bytes.startswith(starts)), None)


def png_header(content: bytes) -> PngHeader:
    """Return the header of a PNG, given its first 26 bytes or more.

    Raises:
        struct.error: There are fewer than 26 bytes.
    """
    return PngHeader(*struct.unpack_from(">IIBB", content, 16))


def jpeg_frame(content: bytes) -> JpegFrame:
    """Return the header of a JPEG's first frame.

    Raises:
        IllegalImage: The file has no frame, or too many segments before it.
    """
    for marker, at in jpeg_segments(content):
        if marker in _JPEG_FRAMES and at + 8 <= len(content):
            return JpegFrame(*struct.unpack_from(">HHB", content, at + 3))
    raise IllegalImage("does not say its size where a JPEG does; copy it again or save it again")


def jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker of a JPEG and the index of the byte after it; the last is JPEG_END unless it is truncated.

    Raises:
        IllegalImage: There are more than MAX_JPEG_SEGMENTS.
    """
    marker, at, count = 0, 2, 0
    while marker != JPEG_END and (match := _JPEG_MARKER.search(content, at)):
        marker, at, count = match[1][0], match.end(), count + 1
        if count > MAX_JPEG_SEGMENTS:
            raise IllegalImage(f"has more than {MAX_JPEG_SEGMENTS} segments; save it again")
        yield marker, at
        if marker not in (0x01, 0xD8):  # all others are followed by their length
            at += int.from_bytes(content[at : at + 2])


def count_values(path: Path) -> int:
    """Return how many values (pixels times channels) an image file decodes to; 0 if its format is unknown.

    Raises:
        BadFiles: The header is damaged, a side is below 1, or the file decodes to more than it promises.
    """
    try:
        with path.open("rb") as file:
            head = file.read(32)
        kind = file_format(head)
        if kind == "PNG":
            header = png_header(head)
            return count_product(path, header.width, header.height, header.num_channels)
        if kind == "JPEG":
            return count_product(path, *jpeg_frame(path.read_bytes()))
        return _count_tiff_values(path) if kind == "TIFF" else 0
    except BadFiles:
        raise
    except IllegalImage as error:
        raise bad_file(path, str(error)) from None
    except Exception as error:  # tifffile raises a wide family of errors for damaged files
        reason = f"cannot be read ({type(error).__name__}: {error}); copy it again or save it again"
        raise bad_file(path, reason) from error


def count_product(path: Path, *sides: int) -> int:
    """Return how many values an array with these sides has.

    Raises:
        BadFiles: A side is below 1, as a damaged TIFF or NIfTI header may say.
    """
    if min(sides, default=1) < 1:
        shown = " x ".join(map(str, sides))
        raise bad_file(path, f"says that it is {shown}, but each side must be at least 1; save it again")
    return math.prod(sides)


def _count_tiff_values(path: Path) -> int:
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        if len(tiff.pages) > 1:
            raise IllegalImage(f"holds {len(tiff.pages)} pages, but must hold one slice; send each as a file")
        num_values = count_product(path, page.imagelength, page.imagewidth, page.samplesperpixel)
        if min(page.tilelength, page.tilewidth, page.rowsperstrip) < 0:
            raise IllegalImage("has tiles or strips of no size; save it again")
        chunk = _num_chunk_values(page)
        if page.compression not in _TIFF_COMPRESSIONS:
            name = getattr(page.compression, "name", page.compression)
            raise IllegalImage(f"is compressed by {name}; save it uncompressed, or by LZW or Deflate")
        if len(page.dataoffsets) > math.prod(page.chunked):
            raise IllegalImage("holds more strips than its size needs; save it again")
        with path.open("rb") as file:
            check_inflated(page, file)
        return max(num_values, chunk)


def check_inflated(page: tifffile.TiffPage, file: BinaryIO | tifffile.FileHandle) -> None:
    """Check that no tile or strip of a TIFF decodes to more than its header promises; decoders take what comes.

    Raises:
        IllegalImage: One does.
        zlib.error, lzma.LZMAError: One is damaged.
    """
    if (decompressor := _DECOMPRESSORS.get(int(page.compression))) is None:
        return
    most_bytes = _num_chunk_values(page) * max(1, page.dtype.itemsize if page.dtype else 1)
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(offset)
        if len(decompressor().decompress(file.read(count), most_bytes + 1)) > most_bytes:
            raise IllegalImage("decodes to more than its header promises; save it again")


def _num_chunk_values(page: tifffile.TiffPage) -> int:
    """Return the number of values of a tile or strip, which is decoded at once."""
    # A single strip may claim to have 2**32 - 1 rows.
    chunk = page.tilelength * page.tilewidth or min(page.rowsperstrip, page.imagelength) * page.imagewidth
    return chunk * page.samplesperpixel
