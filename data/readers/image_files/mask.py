"""What the values of a mask mean: which pixels are tumour, and whether that is plain.

People save masks as 0 and 1, as 0 and 255, as labels, as JPEG, in red, by a palette, as a transparent overlay. Whatever
can only mean one thing is read, with a note if it is not common; all else is refused with the values that were found.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from data.errors import bad_file
from data.readers.image_files.page import Page
from data.regions import WHOLE, Region, encode

MAX_LABELS = 16
"""Most different values that labels of tissue have; more are noise or grey levels."""

THRESHOLD = 128
"""Value from which on a pixel is tumour in a mask of 0 and 255 whose values were changed."""

# A value of 0 or 255 that compression or resizing changed is nearer to it than these; edges may lie between them, but
# must not be more than half of the tumour.
_LOW, _HIGH = 64, 192
_MAX_BETWEEN_SHARE, _MAX_BETWEEN_PIXELS = 0.5, 8
_MAX_NOISE = 32

NOISE_NOTE = f"masks of 0 and 255 hold values between, as after JPEG or resizing: from {THRESHOLD} on is tumour"
OVERLAY_NOTE = "masks are transparent overlays: what is not transparent is tumour"
PALETTE_NOTE = "masks have a palette of colours: index 0 is background"


class Mask(NamedTuple):
    """The tumour in a slice."""

    bits: UInt8[np.ndarray, "height width"]
    """Bit k of a pixel says whether it lies in region k."""

    note: str
    """How values were read that are not 0 and 1, 0 and 255, or labels; else empty. The same words for all files."""


def as_mask(path: Path, page: Page, regions: Sequence[Region] = WHOLE) -> Mask:
    """Return the pixels of each region in a mask that was read from path.

    Without labels, every pixel above 0 is tumour, and there must be one value above 0, or two clear modes. With labels,
    every pixel with one of those of a region lies in it; the other values must be labels, too: whole numbers, and few.
    A mask has one channel, or several equal ones, or one colour on black.

    Raises:
        BadFiles: With one problem: the mask is coloured, or its values are illegal.
    """
    labels = sorted({label for region in regions for label in region.labels})
    values, note = _values(path, page, has_labels=bool(labels))
    distinct = np.unique(values)
    if labels:
        _check_labels(path, values, distinct, labels, is_lossy=page.is_lossy)
        return Mask(encode(values, regions), note)
    if distinct[0] < 0:
        raise _illegal(path, distinct)
    if not distinct[-1]:
        return Mask(np.zeros(values.shape, np.uint8), "")
    if _is_noise(values, distinct, is_lossy=page.is_lossy):
        return Mask((values >= THRESHOLD).astype(np.uint8), NOISE_NOTE)
    is_common = np.isin(distinct, (0, 1)).all() or np.isin(distinct, (0, 255)).all()
    if (page.is_lossy and distinct[-1] < _HIGH) or not (is_common or (len(distinct) == 2 and distinct[0] == 0)):
        raise _illegal(path, distinct)
    note = note if is_common else f"masks hold 0 and {distinct[1]:g}, which is tumour"
    return Mask((values != 0).astype(np.uint8), note)


def _illegal(path: Path, distinct: np.ndarray) -> Exception:
    return bad_file(
        path,
        f"mask values are {_shown(distinct)}, but must be 0 and one other value; save it unscaled and without lossy "
        "compression or, if the values are labels, say with --labels which of them are tumour",
    )


def _check_labels(
    path: Path, values: np.ndarray, distinct: np.ndarray, labels: Collection[int], *, is_lossy: bool
) -> None:
    if (distinct != np.rint(distinct)).any():
        raise bad_file(path, f"mask values are {_shown(distinct)}, but labels are whole numbers; save it unscaled")
    others = distinct[~np.isin(distinct, [0, *labels])]
    is_noise = is_lossy or len(distinct) > MAX_LABELS or _is_noise(values, distinct, is_lossy=is_lossy)
    if len(others) and is_noise:
        raise bad_file(
            path,
            f"mask values are {_shown(distinct)}, and --labels or --regions does not list {_shown(others)}: so many "
            "values are no labels but noise, as of JPEG, which would be dropped from the tumour; if it is a mask of 0 "
            "and 255, give no --labels or --regions, else save it without lossy compression",
        )


def _is_noise(values: np.ndarray, distinct: np.ndarray, *, is_lossy: bool) -> bool:
    """Return whether values are 0 and 255 that were changed a little, rather than labels."""
    if values.dtype != np.uint8 or len(distinct) < 2 or distinct[-1] < _HIGH or distinct[0] >= _LOW:
        return False
    if np.isin(distinct, (0, 255)).all():
        return False
    num_between = np.count_nonzero((values >= _LOW) & (values < _HIGH))
    if num_between > _MAX_BETWEEN_PIXELS + _MAX_BETWEEN_SHARE * np.count_nonzero(values >= _HIGH):
        return False
    near_black = (distinct > 0) & (distinct <= _MAX_NOISE)
    near_white = (distinct < 255) & (distinct >= 255 - _MAX_NOISE)
    is_near_both = near_black.any() and near_white.any() and distinct[-1] > 250
    return is_lossy or len(distinct) > MAX_LABELS or bool(is_near_both)


def _values(path: Path, page: Page, *, has_labels: bool) -> tuple[Shaped[np.ndarray, "height width"], str]:
    """Return one value a pixel, 0 for background, and a note on how it was found."""
    pixels, note = page.pixels, ""
    if page.indices is not None and page.palette is not None and _zero_is_background(page.indices, page.palette):
        used = page.palette[np.unique(page.indices)]
        return page.indices, PALETTE_NOTE if (used != used[:, :1]).any() else ""
    if page.alpha is not None and not page.is_opaque():
        pixels, note = _over_black(path, pixels, page.alpha), "" if page.hides_nothing() else OVERLAY_NOTE
    if pixels.ndim == 2:
        return pixels, note
    if (pixels == pixels[..., :1]).all():
        return pixels[..., 0], note
    colour = _only_colour(pixels, is_lossy=page.is_lossy)
    if colour is None or has_labels:
        found = np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)[:5]
        raise bad_file(
            path,
            "the mask is coloured, but must have one channel; save it as grey values, not colours (or as one colour on "
            "black, which takes neither --labels nor --regions); it shows "
            f"{', '.join(map(_colour_text, found[:4]))}{', ...' if len(found) > 4 else ''}",
        )
    if page.is_lossy:
        return pixels.max(axis=2), note
    return np.any(pixels, axis=2).astype(np.uint8), f"masks show tumour as colour {_colour_text(colour)} on black"


def _zero_is_background(indices: np.ndarray, palette: np.ndarray) -> bool:
    """Return whether index 0 is black, or no index that is used is."""
    used = [index for index in np.unique(indices) if index < len(palette)]
    return len(palette) > 0 and (not palette[0].any() or all(palette[index].any() for index in used))


def _over_black(path: Path, pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return the pixels of an overlay, black where it is transparent."""
    levels = np.unique(alpha)
    if len(levels) > 2 or levels[0] != 0:
        raise bad_file(path, "its alpha channel is not opaque; save the mask as grey values without transparency")
    shown = pixels * (alpha > 0).astype(pixels.dtype)[(..., *[None] * (pixels.ndim - 2))]
    if not shown.any() and len(levels) == 2:
        raise bad_file(path, "the mask is black on a transparent ground; save it as grey values without transparency")
    return shown


def _only_colour(
    pixels: Shaped[np.ndarray, "height width channels"], *, is_lossy: bool
) -> Shaped[np.ndarray, " channels"] | None:
    """Return the only colour of a mask but black; None if there are several, or no black."""
    flat = pixels.reshape(-1, pixels.shape[2])
    if is_lossy:  # the bright pixels must be alike
        bright = flat[flat.max(axis=1) >= _HIGH]
        is_one = 0 < len(bright) < len(flat) and (np.ptp(bright.astype(int), axis=0) < _LOW).all()
        return np.median(bright, axis=0) if is_one else None
    colours = np.unique(flat, axis=0)
    return colours[1] if len(colours) == 2 and not colours[0].any() else None


def _colour_text(colour: Shaped[np.ndarray, " channels"]) -> str:
    return f"({', '.join(f'{value:g}' for value in colour)})"


def _shown(distinct: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in distinct[:6]) + (", ..." if len(distinct) > 6 else "")
