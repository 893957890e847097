"""Read a NumPy file: a slice, or all slices of a patient."""

from typing import BinaryIO

import numpy as np

from data.patient import size_text
from data.readers.image_files.page import MAX_CHANNELS, Page, check_size
from data.readers.image_header import IllegalImage

FIRST = b"\x93NUMPY"
"""How a NumPy file begins."""

FEW = 4
"""Longest last axis of "height width channels" that is not taken for the width of "slices height width"."""


def num_pages(file: BinaryIO) -> int:
    """Return the number of slices in a NumPy file."""
    return _shape(file)[0]


def read(file: BinaryIO) -> list[Page]:
    """Return the slices of an array: "height width", "height width channels", "slices height width" or all four.

    Raises:
        IllegalImage: It has another shape, or values that are no numbers, or is too large.
        ValueError: It is damaged, or holds objects.
    """
    shape = _shape(file)
    file.seek(0)
    pixels = np.load(file, allow_pickle=False).reshape(shape)
    return [Page(pixels=one[..., 0] if shape[3] == 1 else one) for one in pixels]


def _shape(file: BinaryIO) -> tuple[int, int, int, int]:
    """Return the shape of an array as "slices height width channels", from its header."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise IllegalImage(f"holds values of {dtype}, but must hold integers or floating point numbers; convert it")
    if len(shape) == 2:
        full = (1, *shape, 1)
    elif len(shape) == 3:
        full = (1, *shape) if shape[2] <= FEW < min(shape[:2]) else (*shape, 1)
    elif len(shape) == 4:
        full = shape
    else:
        raise IllegalImage(f"is {size_text(shape)}, but must be slices x height x width, or with channels at the end")
    if full[3] > MAX_CHANNELS:
        raise IllegalImage(
            f"has {full[3]} values along its last axis, which holds the channels, at most {MAX_CHANNELS}; move the "
            "channels to the end"
        )
    if full[0] < 1:
        raise IllegalImage("holds no slice; save it again")
    check_size(full[1], full[2], num_bytes=dtype.itemsize * max(full[3], 1), num_pages=full[0])
    return full
