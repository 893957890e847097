"""Read an image file as an array, after checks that decoders do not make.

Decoders silently fill the missing part of a truncated file with black. So a TIFF is checked by its strips, a PNG by its
checksums, and a JPEG by its end marker. Sizes are read from the header before anything is decoded. The values are those
in the file, never scaled.
"""

import stat
import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import tifffile
from jaxtyping import Bool, Shaped

from data.errors import bad_file
from data.patient import size_text
from data.readers.image_header import (
    JPEG_END,
    IllegalImage,
    PngHeader,
    file_format,
    jpeg_frame,
    jpeg_segments,
    png_header,
)

# Larger than any MR slice (512 px is common, 1024 px rare) and small enough that one decoded slice fits in memory.
MAX_SIDE, MAX_CHANNELS, MAX_BYTES = 16384, 64, 2**30

FORMAT_OF_SUFFIX = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""Formats of the files that `read_pixels` reads, by suffix in lower case."""

_TIFF_TYPES = ("bool", "uint8", "uint16", "int16", "float32", "float64")


def read_pixels(path: Path) -> Shaped[np.ndarray, "height width *channels"]:
    """Return the pixels of a TIFF, PNG or JPEG file: "height width", or "height width channels" in the file's order.

    The type is that of the file: uint8, uint16, int16 or float32. Bits become uint8 of 0 and 1, and float64 becomes
    float32. A PNG with a palette comes as the RGB colours that it shows, not as indices. An alpha channel that is
    opaque everywhere is dropped. EXIF orientation and a TIFF's white-is-zero are ignored: ImageJ and Python programs
    mean the stored values when they write masks.

    Raises:
        BadFiles: With one problem: the file cannot be read, has the wrong suffix, is damaged or truncated, or holds
            several pages, more than MAX_SIDE pixels a side, values that are not finite, or another kind of pixels.
    """
    kind = "an image"
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise IllegalImage("is a folder or a device, but must be an image file; rename or remove it")
        with path.open("rb") as file:
            kind = _format(path.suffix, file.read(8))
            file.seek(0)
            return _of_plain_type({"TIFF": _read_tiff, "PNG": _read_png, "JPEG": _read_jpeg}[kind](file))
    except IllegalImage as error:
        reason = str(error)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error}); check that it exists and that you may read it"
    except Exception as error:  # decoders raise many kinds of errors for a damaged file
        reason = f"cannot be decoded as {kind} ({type(error).__name__}: {error}); copy it again or save it again"
    raise bad_file(path, reason)


def as_mask(
    path: Path, pixels: Shaped[np.ndarray, "height width *channels"], labels: Collection[int] = ()
) -> Bool[np.ndarray, "height width"]:
    """Return the tumour pixels of a mask that was read from path.

    Without labels, every pixel above 0 is tumour, and the values must be 0 and 1, or 0 and 255. With labels, every
    pixel with one of these values is tumour, and the values must be whole numbers. A mask has one channel, or several
    equal ones.

    Raises:
        BadFiles: With one problem: the mask is coloured, or its values are illegal.
    """
    if pixels.ndim == 3 and (pixels != pixels[..., :1]).any():
        raise bad_file(path, "the mask is coloured, but must have one channel; save it as grey values, not colours")
    pixels = pixels[..., 0] if pixels.ndim == 3 else pixels
    if labels:
        if (pixels != np.rint(pixels)).any():
            raise bad_file(path, f"mask values are {_shown(pixels)}, but labels are whole numbers; save it unscaled")
        return np.isin(pixels, list(labels))
    if not (np.isin(pixels, (0, 1)).all() or np.isin(pixels, (0, 255)).all()):
        raise bad_file(
            path,
            f"mask values are {_shown(pixels)}, but must be 0 and 1, or 0 and 255; save it unscaled and without lossy "
            "compression or, if the values are labels, say with --labels which of them are tumour",
        )
    return pixels != 0


def _format(suffix: str, first_bytes: bytes) -> str:
    if not first_bytes:
        raise IllegalImage("is empty (0 bytes); copy it again")
    kind = file_format(first_bytes)
    if kind is None:
        raise IllegalImage(
            f"is not a TIFF, PNG or JPEG (it begins with {first_bytes.hex(' ')}); copy it again or convert it"
        )
    promised = FORMAT_OF_SUFFIX.get(suffix.lower(), kind)
    if promised != kind:
        raise IllegalImage(f"wrong suffix: the content is {kind}, but {suffix} says {promised}; rename the file")
    return kind


def _read_tiff(file: BinaryIO) -> np.ndarray:
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        _check_page(page)
        if len(tiff.pages) > 1:
            raise IllegalImage(f"holds {len(tiff.pages)} pages, but must hold one slice; split it into files")
        if _is_truncated(page, tiff.filehandle.size):
            raise IllegalImage("is truncated (the file ends before its pixels do); copy it again")
        try:
            pixels = page.asarray(maxworkers=1)
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            file.seek(0)
            pixels = _decode_unusual(page, file.read())
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    return _without_alpha(pixels) if {1, 2} & set(map(int, page.extrasamples)) else pixels


def _check_page(page: tifffile.TiffPage) -> None:
    if page.axes not in ("YX", "YXS", "SYX"):
        size = size_text(page.shape)
        raise IllegalImage(
            f"is {size}, but must be height x width, or height x width x channels; save one slice a file"
        )
    _check_size(page.imagelength, page.imagewidth, num_bytes=page.samplesperpixel * page.bitspersample // 8)
    if page.samplesperpixel > MAX_CHANNELS:
        raise IllegalImage(f"has {page.samplesperpixel} channels, but at most {MAX_CHANNELS} are legal; save fewer")
    if page.photometric not in (0, 1, 2) or str(page.dtype) not in _TIFF_TYPES:  # white is zero, black is zero, RGB
        kind = f"{getattr(page.photometric, 'name', page.photometric)} of {page.dtype}"
        raise IllegalImage(f"its pixels are {kind}, but must be grey or RGB of {', '.join(_TIFF_TYPES)}; convert it")


def _is_truncated(page: tifffile.TiffPage, num_bytes: int) -> bool:
    # tifffile silently fills strips that are missing, or lie beyond the end of the file, with zeros.
    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) != len(counts) or len(offsets) < np.prod(page.chunked) or min(counts) == 0:
        return True
    num_bits = page.imagelength * page.imagewidth * page.samplesperpixel * page.bitspersample
    ends_at = max(offset + count for offset, count in zip(offsets, counts, strict=True))
    return ends_at > num_bytes or (page.compression == 1 and sum(counts) * 8 < num_bits)


def _decode_unusual(page: tifffile.TiffPage, content: bytes) -> np.ndarray:
    """Return the pixels as OpenCV decodes them; unlike tifffile, it needs no further package for LZW."""
    pixels = _decode(content)
    if pixels.shape != page.shape or pixels.dtype != page.dtype or page.photometric == 0:
        raise IllegalImage(f"its compression {page.compression!r} cannot be decoded; save it uncompressed")
    return pixels


def _read_png(file: BinaryIO) -> np.ndarray:
    content = file.read()
    header = _check_png(content)
    pixels = _decode(content)
    if pixels.shape[2:] == (4,):
        pixels = _without_alpha(pixels)
    if header.colour in (0, 4) and pixels.ndim == 3:
        pixels = pixels[..., 0]
    # OpenCV spreads grey values of 1, 2 and 4 bits over 0 to 255, which would change labels.
    return pixels // (255 // (2**header.depth - 1)) if header.colour == 0 and header.depth < 8 else pixels


def _check_png(content: bytes) -> PngHeader:
    """Return the header of a PNG whose chunks are all there and undamaged."""
    view, at, kind, header = memoryview(content), 8, b"", PngHeader(0, 0, 0, 0)
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, at) if at + 12 <= len(content) else (0, b"")
        end = at + 12 + length
        if not kind or end > len(content):
            raise IllegalImage("is truncated (there is no IEND chunk at its end); copy it again")
        if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", content, end - 4)[0]:
            raise IllegalImage(f"is damaged (the checksum of chunk {kind.decode('latin-1')!r} is wrong); copy it again")
        if at == 8:
            header = png_header(content)
            _check_size(header.height, header.width)
        if kind == b"acTL" and (num_frames := struct.unpack_from(">I", content, at + 8)[0]) > 1:
            raise IllegalImage(f"holds {num_frames} pages, but must hold one slice; split it into files")
        at = end
    return header


def _read_jpeg(file: BinaryIO) -> np.ndarray:
    content = file.read()
    if JPEG_END not in (marker for marker, _ in jpeg_segments(content)):
        raise IllegalImage("is truncated (there is no end marker); copy it again")
    height, width, num_channels = jpeg_frame(content)
    _check_size(height, width)
    if num_channels not in (1, 3):
        raise IllegalImage(f"has {num_channels} channels (4 are CMYK), but must be grey or RGB; convert it")
    # A coded block takes at least one bit; libjpeg fills missing blocks with grey.
    if (height // 8) * (width // 8) > 8 * len(content):
        raise IllegalImage(f"is damaged ({height} x {width} pixels do not fit {len(content)} bytes); copy it again")
    return _decode(content)


def _decode(content: bytes) -> np.ndarray:
    """Return the pixels that OpenCV decodes, with channels in the order of the file."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise IllegalImage("its pixels are damaged, or encoded in a rare way; copy it again or save it again")
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def _without_alpha(pixels: np.ndarray) -> np.ndarray:
    opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    if (pixels[..., -1] != opaque).any():
        raise IllegalImage("its alpha channel is not opaque; remove it or, if it is an image, do not mark it as alpha")
    return pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :-1]


def _of_plain_type(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            pixels = pixels.astype(np.float32)
        if num_illegal := np.count_nonzero(~np.isfinite(pixels)):
            raise IllegalImage(f"{num_illegal} values are NaN, infinite or above 3.4e38; replace them by finite values")
    return np.ascontiguousarray(pixels, np.uint8 if pixels.dtype == bool else pixels.dtype.newbyteorder("="))


def _check_size(height: int, width: int, *, num_bytes: int = 1) -> None:  # num_bytes of each pixel
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise IllegalImage(
            f"is {height} x {width}, but 1 to {MAX_SIDE} pixels a side are legal; resize or copy it again"
        )
    if height * width * num_bytes > MAX_BYTES:
        raise IllegalImage(
            f"takes {height * width * num_bytes / 2**30:.1f} GiB decoded, but at most 1 GiB is legal; resize it"
        )


def _shown(values: np.ndarray) -> str:
    distinct = np.unique(values)
    return ", ".join(f"{value:g}" for value in distinct[:6]) + (", ..." if len(distinct) > 6 else "")
