"""Ways to damage a file of a source, and what a user must then be told."""

import gzip
import shutil
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import tifffile

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


class Case(NamedTuple):
    name: str
    damage: Callable
    """Damage the source in place."""
    problems: dict[str, str]
    """Regular expression for the beginning of the reason, by path relative to the source."""
    lost: set | None
    """Slices that are missing with skip_bad_files; None if the case is always refused."""


def wrote(write, relative, pixels, **options):
    return lambda source: write(source / relative, pixels, **options)


def content(relative, make):
    """Return a function that replaces the bytes of a file by make(bytes)."""
    return lambda source: (source / relative).write_bytes(make((source / relative).read_bytes()))


def gz_content(relative, make):
    return content(relative, lambda old: gzip.compress(make(bytearray(gzip.decompress(old))), 1))


def removed(*relative):
    return lambda source: [(source / path).unlink() for path in relative]


def copied(old, new):
    return lambda source: shutil.copy(source / old, source / new)


def renamed(old, new):
    return lambda source: (source / old).rename(source / new)


def replaced(relative, make):
    """Return a function that replaces a file by something else, such as a link or a folder."""

    def damage(source):
        (source / relative).unlink()
        make(source / relative)

    return damage


def put(offset, value, dtype):
    """Return a function that writes a value at an offset; nifti1.h says what lies there."""

    def change(old):
        written = np.array(value, dtype).tobytes()
        old[offset : offset + len(written)] = written
        return bytes(old)

    return change


def tags(relative, **changes):
    def damage(source):
        with tifffile.TiffFile(source / relative, mode="r+") as tiff:
            for name, value in changes.items():
                tiff.pages.first.tags[name].overwrite(value)

    return damage


def with_value(pixels, value, dtype):
    pixels = pixels.astype(dtype)
    pixels[3, 4] = value
    return pixels


def png(pixels, *, colour=0, width=SIDE, palette=b""):
    """Return a PNG of 8-bit samples, "height width" or "height width channels", with a header of its own choosing."""
    before = png_chunk(b"PLTE", palette) if palette else b""
    return png_bytes([row.tobytes() for row in pixels], width=width, colour=colour, before=before)


def jpeg(pixels, *, channels=None):
    encoded = bytearray(cv2.imencode(".jpg", pixels)[1].tobytes())
    if channels is not None:
        encoded[encoded.index(b"\xff\xc0") + 9] = channels
    return bytes(encoded)


def image_and_mask(write, image_path, mask_path, side):
    def damage(source):
        write(source / image_path, image_of("P1", 2)[:side, :side])
        write(source / mask_path, mask_of("P1", 2)[:side, :side])

    return damage


def grey_patient(source):
    for number in NUMBERS:
        write_tiff(source / f"P1/P1_{number}.tif", image_of("P1", number)[..., 0])


def folder_instead(source):
    (source / "P1/P1_2.tif").unlink()
    (source / "P1/P1_2.tif").mkdir()


def patient_twice(source):
    shutil.copytree(source / "P1", source / "sub" / "P1")


COLOURS = np.dstack([mask_of("P1", 2), mask_of("P1", 2) // 2, mask_of("P1", 2)])
EMPTY = r"is empty \(0 bytes\); copy it again$"
