"""Ways to damage a file of a source, and what the user must be told about it."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import tifffile
from numpy.typing import ArrayLike, DTypeLike

from tests.support.png import png_bytes, png_chunk
from tests.support.sources import (
    NUMBERS,
    SIDE,
    image_of,
    mask_of,
    write_tiff,
)

IMAGE, MASK = "P1/P1_2.tif", "P1/P1_2_mask.tif"
PNG_IMAGE, PNG_MASK = "images/P1/2.png", "masks/P1/2.png"
T1, SEG = "P1/P1_t1.nii.gz", "P1/P1_seg.nii.gz"


Damage = Callable[[Path], object]
"""Damage a source in place."""

Make = Callable[[bytes], bytes]
"""Return the new content of a file."""

Change = Callable[[bytearray], bytes | bytearray]
"""Return the new content of a compressed file; the old content is a copy that may be changed."""

Write = Callable[..., object]
"""Write pixels to a path."""


class Case(NamedTuple):
    """A kind of damage, and what must come of it."""

    name: str
    damage: Damage
    problems: dict[str, str]
    """A regular expression for the start of the reason, by path relative to the source."""

    lost: set[tuple[str, int]] | None
    """The slices that are missing with skip_bad_files; None if the source is refused even then."""


def wrote(write: Write, relative: str, pixels: np.ndarray, **options: Any) -> Damage:
    return lambda source: write(source / relative, pixels, **options)


def content(relative: str, make: Make) -> Damage:
    """Return a function that replaces the bytes of a file by make(bytes)."""
    return lambda source: (source / relative).write_bytes(make((source / relative).read_bytes()))


def gz_content(relative: str, make: Change) -> Damage:
    """Return a function that replaces what a compressed file holds by make(it)."""
    return content(relative, lambda old: gzip.compress(make(bytearray(gzip.decompress(old))), 1))


def removed(*relative: str) -> Damage:
    return lambda source: [(source / path).unlink() for path in relative]


def copied(old: str, new: str) -> Damage:
    return lambda source: shutil.copy(source / old, source / new)


def renamed(old: str, new: str) -> Damage:
    return lambda source: (source / old).rename(source / new)


def replaced(relative: str, make: Callable[[Path], object]) -> Damage:
    """Return a function that replaces a file by something else, such as a link or a folder."""

    def damage(source: Path) -> None:
        (source / relative).unlink()
        make(source / relative)

    return damage


def put(offset: int, value: ArrayLike, dtype: DTypeLike) -> Change:
    """Return a function that writes a value at an offset; nifti1.h says what the bytes there mean."""

    def change(old: bytearray) -> bytes:
        written = np.array(value, dtype).tobytes()
        old[offset : offset + len(written)] = written
        return bytes(old)

    return change


def tags(relative: str, **changes: object) -> Damage:
    """Return a function that overwrites tags of a TIFF."""

    def damage(source: Path) -> None:
        with tifffile.TiffFile(source / relative, mode="r+") as tiff:
            for name, value in changes.items():
                tiff.pages.first.tags[name].overwrite(value)

    return damage


def with_value(pixels: np.ndarray, value: float, dtype: DTypeLike) -> np.ndarray:
    """Return pixels of another type, one of which has this value."""
    pixels = pixels.astype(dtype)
    pixels[3, 4] = value
    return pixels


def png(pixels: np.ndarray, *, colour: int = 0, width: int = SIDE, palette: bytes = b"") -> bytes:
    """Return a PNG of 8-bit samples "height width" or "height width channels"; the width in its header may be wrong."""
    before = png_chunk(b"PLTE", palette) if palette else b""
    return png_bytes([row.tobytes() for row in pixels], width=width, colour=colour, before=before)


def jpeg(pixels: np.ndarray, *, channels: int | None = None) -> bytes:
    """Return a JPEG, which may have another number of channels in its header."""
    encoded = bytearray(cv2.imencode(".jpg", pixels)[1].tobytes())
    if channels is not None:
        encoded[encoded.index(b"\xff\xc0") + 9] = channels
    return bytes(encoded)


def image_and_mask(write: Write, image_path: str, mask_path: str, side: int) -> Damage:
    """Return a function that replaces a slice by its corner of side x side pixels."""

    def damage(source: Path) -> None:
        write(source / image_path, image_of("P1", 2)[:side, :side])
        write(source / mask_path, mask_of("P1", 2)[:side, :side])

    return damage


def grey_patient(source: Path) -> None:
    for number in NUMBERS:
        write_tiff(source / f"P1/P1_{number}.tif", image_of("P1", number)[..., 0])


def folder_instead(source: Path) -> None:
    (source / "P1/P1_2.tif").unlink()
    (source / "P1/P1_2.tif").mkdir()


def patient_twice(source: Path) -> None:
    shutil.copytree(source / "P1", source / "sub" / "P1")
    write_tiff(source / "sub" / "P1" / "P1_1_mask.tif", mask_of("P1", 3))


COLOURS = np.dstack([mask_of("P1", 2), mask_of("P1", 2) // 2, np.roll(mask_of("P1", 2), 3, axis=0)])
EMPTY = r"is empty \(0 bytes\); copy it again$"
