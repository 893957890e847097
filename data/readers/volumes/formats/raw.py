"""A volume as a file stores it, whatever the format; every format's module returns it."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from data.errors import bad_file
from data.patient import size_text

MAX_SIDE, MAX_VALUES = 16384, 2**29  # 1024 x 1024 x 512: beyond MR of a head, within the memory of a workstation


@dataclass(frozen=True, kw_only=True)
class RawVolume:
    """The values of a file in the order of its own axes."""

    values: Shaped[np.ndarray, "x y z *channels"]
    """Integers as stored, or float32 where the file scales them or stores fractions."""

    affine: Float[np.ndarray, "4 4"]
    """From indices to mm in the directions right, anterior, superior."""

    zooms_mm: tuple[float, float, float] | None = None
    """Distance between voxels along each axis; None if the file does not say."""


def check_sides(path: Path, sides: tuple[int, ...]) -> None:
    """Check the size of a volume, with its channels, before it is decoded.

    Raises:
        BadFiles: A side is below 1, or the volume is too large.
    """
    if min(sides) < 1 or max(sides) > MAX_SIDE or math.prod(sides) > MAX_VALUES:
        legal = f"1 to {MAX_SIDE} a side, and at most {MAX_VALUES} voxels"
        raise bad_file(path, f"is {size_text(sides)}, but must be {legal}; crop or resample it")


def without_values(shape: tuple[int, ...], affine: Float[np.ndarray, "4 4"]) -> RawVolume:
    """Return a volume of zeros that take no memory, to compare its grid with others before anything is decoded."""
    return RawVolume(values=np.broadcast_to(np.uint8(0), shape), affine=affine)
