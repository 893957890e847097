"""Read an image file, after checks that decoders do not make.

Decoders silently fill the missing part of a truncated file with black. So a TIFF is checked by its strips, a PNG by its
checksums, and a JPEG by its end marker. Sizes are read from the header before anything is decoded. The values are those
in the file, never scaled.
"""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Shaped

from data.errors import bad_file
from data.readers.first_bytes import NUM_BYTES, what_it_is
from data.readers.image_files import array, jpeg, png, tiff
from data.readers.image_files.page import Page
from data.readers.image_header import IllegalImage, file_format

FORMAT_OF_SUFFIX = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""Formats of images by suffix in lower case."""

SUFFIXES = (*FORMAT_OF_SUFFIX, ".npy")
"""Suffixes of the files that `read_pages` reads."""

_READ: dict[str, Callable[[BinaryIO], list[Page]]] = {
    "TIFF": tiff.read,
    "PNG": png.read,
    "JPEG": jpeg.read,
    "NumPy": array.read,
}


def read_pages(path: Path, *, may_be_stack: bool = False) -> list[Page]:
    """Return the slices in a TIFF, PNG, JPEG or NumPy file, as they are stored.

    The pages of a TIFF are its slices; so is the first axis of an array "slices height width" or "slices height width
    channels". All slices of a file have one size and type.

    Args:
        may_be_stack: Whether the file may hold several slices.

    Raises:
        BadFiles: With one problem: the file cannot be read, has the wrong suffix, is damaged or truncated, or holds
            too many pixels, another kind of pixels, or several slices where one is wanted.
    """
    kind = "an image"
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise IllegalImage("is a folder or a device, but must be an image file; rename or remove it")
        with path.open("rb") as file:
            kind = _format(path.suffix, file.read(NUM_BYTES))
            file.seek(0)
            pages = [page.plain() for page in _READ[kind](file)]
        if len(pages) > 1 and not may_be_stack:
            raise IllegalImage(
                f"holds {len(pages)} pages, but must hold one slice; split it into files, or let it be the patient's "
                "only image"
            )
        return pages
    except IllegalImage as error:
        reason = str(error)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error}); check that it exists and that you may read it"
    except Exception as error:  # decoders raise many kinds of errors for a damaged file
        reason = f"cannot be decoded as {kind} ({type(error).__name__}: {error}); copy it again or save it again"
    raise bad_file(path, reason)


def image_of(path: Path, page: Page) -> Shaped[np.ndarray, "height width *channels"]:
    """Return the pixels of a slice that was read from path: "height width", or "height width channels" in the file's
    order, without an alpha channel that hides nothing.

    The type is that of the file: an integer of 8, 16 or 32 bits, or float32. Bits become uint8 of 0 and 1, and float64
    becomes float32. A palette comes as the RGB colours that it shows, not as indices. EXIF orientation and a TIFF's
    white-is-zero are ignored: ImageJ and Python programs mean the stored values when they write masks.

    Raises:
        BadFiles: The alpha channel hides something.
    """
    if page.alpha is not None and not page.hides_nothing():
        reason = "its alpha channel is not opaque; remove it or, if it is an image, do not mark it as alpha"
        raise bad_file(path, reason)
    return page.pixels


def is_stack(path: Path) -> bool:
    """Return whether a file can be read and holds several slices."""
    try:
        with path.open("rb") as file:
            kind = _format(path.suffix, file.read(NUM_BYTES))
            file.seek(0)
            return {"TIFF": tiff.num_pages, "NumPy": array.num_pages}.get(kind, lambda file: 1)(file) > 1
    except Exception:  # reading will say what is wrong
        return False


def _format(suffix: str, first: bytes) -> str:
    kind = "NumPy" if first.startswith(array.FIRST) else file_format(first)
    if kind is None:
        reason = what_it_is(first) or (
            f"is not a TIFF, PNG or JPEG (it begins with {first[:8].hex(' ')}); copy it again or convert it"
        )
        raise IllegalImage(reason)
    promised = (FORMAT_OF_SUFFIX | {".npy": "NumPy"}).get(suffix.lower(), kind)
    if promised != kind:
        raise IllegalImage(f"wrong suffix: the content is {kind}, but {suffix} says {promised}; rename the file")
    return kind
