"""Read a TIFF: its pages are slices."""

import contextlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

import cv2
import numpy as np
import tifffile

from data.patient import size_text
from data.readers.image_files.page import MAX_CHANNELS, Page, check_size, with_alpha
from data.readers.image_header import IllegalImage, check_inflated

MAX_PAGES = 4096
"""More pages than any scan has slices; each costs time before anything is decoded."""

_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
_GREY_OR_RGB = (0, 1, 2)  # white is zero, black is zero, RGB
_PALETTE, _YCBCR = 3, 6
_LOSSY = (6, 7, 33003, 33004, 33005, 34712)  # JPEG and JPEG 2000
_ALPHA = {1, 2}
_OPENCV = (2, 3, 4, 5, 7, 8, 32773, 32946)  # fax, LZW, JPEG, Deflate, PackBits; it prints a complaint for others


def num_pages(file: BinaryIO) -> int:
    """Return the number of slices of a TIFF."""
    with tifffile.TiffFile(file) as tiff:
        return len(tiff.pages) // _num_channel_pages(tiff)


def read(file: BinaryIO) -> list[Page]:
    """Return the slices of a TIFF.

    Raises:
        IllegalImage: It is truncated, too large, compressed in a way that cannot be decoded, or its pages differ.
        Exception: It is damaged; the decoder raises any kind of error.
    """
    with tifffile.TiffFile(file) as tiff:
        if len(tiff.pages) > MAX_PAGES:
            raise IllegalImage(f"holds {len(tiff.pages)} pages, but at most {MAX_PAGES} are legal; split it")
        pages = list(_pages(tiff))
        found = [_decode(page, file, number) for number, page in enumerate(pages)]
        num_channels = _num_channel_pages(tiff)
    if num_channels == 1:
        return found
    groups = (found[at : at + num_channels] for at in range(0, len(found), num_channels))
    return [Page(pixels=np.stack([page.pixels for page in group], axis=-1)) for group in groups]


def _pages(tiff: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    """Yield the pages, each checked before anything is decoded."""
    first = tiff.pages.first
    for page in tiff.pages:
        if not isinstance(page, tifffile.TiffPage):
            raise IllegalImage("has pages without headers of their own; save it again")
        _check(page, len(tiff.pages))
        if (page.shape, page.dtype) != (first.shape, first.dtype):
            sizes = f"{size_text(first.shape)} of {first.dtype}, {size_text(page.shape)} of {page.dtype}"
            raise IllegalImage(f"holds pages of several sizes or types ({sizes}); save each slice as a file")
        if _is_truncated(page, tiff.filehandle.size):
            raise IllegalImage("is truncated (the file ends before its pixels do); copy it again")
        check_inflated(page, tiff.filehandle)
        yield page


def _check(page: tifffile.TiffPage, num_pages: int) -> None:
    if page.axes not in ("YX", "YXS", "SYX"):
        size = size_text(page.shape)
        raise IllegalImage(
            f"is {size}, but must be height x width, or height x width x channels; save one slice a file"
        )
    num_bytes = page.samplesperpixel * max(page.bitspersample // 8, 1)
    check_size(page.imagelength, page.imagewidth, num_bytes=num_bytes, num_pages=num_pages)
    if page.samplesperpixel > MAX_CHANNELS:
        raise IllegalImage(f"has {page.samplesperpixel} channels, but at most {MAX_CHANNELS} are legal; save fewer")
    is_legal = page.photometric in (*_GREY_OR_RGB, _PALETTE) or (
        page.photometric == _YCBCR and page.compression in _LOSSY
    )
    if not is_legal or str(page.dtype) not in ("bool", *_TYPES):
        kind = f"{getattr(page.photometric, 'name', page.photometric)} of {page.dtype}"
        raise IllegalImage(f"its pixels are {kind}, but must be grey or RGB of bool, {', '.join(_TYPES)}; convert it")


def _is_truncated(page: tifffile.TiffPage, num_bytes: int) -> bool:
    # tifffile silently fills strips that are missing, or lie beyond the end of the file, with zeros.
    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) != len(counts) or len(offsets) < np.prod(page.chunked) or min(counts) == 0:
        return True
    num_bits = page.imagelength * page.imagewidth * page.samplesperpixel * page.bitspersample
    ends_at = max(offset + count for offset, count in zip(offsets, counts, strict=True))
    return ends_at > num_bytes or (page.compression == 1 and sum(counts) * 8 < num_bits)


def _num_channel_pages(tiff: tifffile.TiffFile) -> int:
    """Return how many pages in a row are channels of one slice, as ImageJ stores a hyperstack; 1 if none are."""
    count = (tiff.imagej_metadata or {}).get("channels", 1) if tiff.is_imagej else 1
    is_grey = tiff.pages.first.axes == "YX"
    return count if is_grey and 1 < count <= MAX_CHANNELS and len(tiff.pages) % count == 0 else 1


def _decode(page: tifffile.TiffPage, file: BinaryIO, number: int) -> Page:
    is_lossy = page.compression in _LOSSY
    try:
        pixels = page.asarray(maxworkers=1)
    except (ValueError, ImportError) as error:
        if isinstance(error, ValueError) and "imagecodecs" not in str(error):
            raise
        file.seek(0)
        pixels = _decode_by_others(page, file.read(), number)
    if page.axes == "SYX" and pixels.shape == page.shape:
        pixels = np.moveaxis(pixels, 0, -1)
    if page.photometric == _PALETTE and pixels.ndim == 2 and page.colormap is not None:
        palette = (page.colormap.T >> 8).astype(np.uint8)
        return Page(pixels=palette[pixels], indices=pixels, palette=palette)
    if pixels.ndim == 3 and _ALPHA & set(map(int, page.extrasamples)):
        return with_alpha(pixels, is_lossy=is_lossy)
    return Page(pixels=pixels, is_lossy=is_lossy)


def _decode_by_others(page: tifffile.TiffPage, content: bytes, number: int) -> np.ndarray:
    """Return the pixels as OpenCV or Pillow decodes them; unlike tifffile, these need no further package for LZW."""
    shape = page.shape if page.axes != "SYX" else (*page.shape[1:], page.shape[0])
    if page.photometric in (1, 2, _YCBCR) and page.compression in _OPENCV:
        for pixels in _by_opencv(content, number):
            if (pixels.shape, pixels.dtype) == (shape, page.dtype):
                return pixels
    with contextlib.suppress(ImportError, OSError, EOFError, SyntaxError, ValueError):
        from PIL import Image  # not installed with the light base

        with Image.open(BytesIO(content)) as image:
            image.seek(number)
            pixels = np.asarray(image)
        if (pixels.shape, pixels.dtype) == (shape, page.dtype):
            return pixels
    name = getattr(page.compression, "name", page.compression)
    raise IllegalImage(
        f"its compression {name} cannot be decoded here: pip install imagecodecs, or save it uncompressed or by Deflate"
    )


def _by_opencv(content: bytes, number: int) -> Iterator[np.ndarray]:
    buffer = np.frombuffer(content, np.uint8)
    if number == 0:
        decoded = [cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)]
    else:
        decoded = cv2.imdecodemulti(buffer, cv2.IMREAD_UNCHANGED)[1][number : number + 1]
    for pixels in decoded:
        if pixels is not None:
            yield pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
