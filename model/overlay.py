"""Draw outlines of tumours into slices, for a person to judge."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from data.patient import shown_channel
from data.preprocess import to_grey_levels

PREDICTED = (230, 159, 0)
TRUE = (86, 180, 233)
"""Orange and sky blue of Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), which colour-blind people can
tell apart."""

SMALL = 256
"""Pixels. A slice with shorter sides is drawn at twice its size, because an outline would hide too much of it."""

GAP = 4
"""Pixels between two slices of a panel."""


def overlay_levels(
    images: Shaped[np.ndarray, "slices height width channels"], channel_names: Sequence[str]
) -> UInt8[np.ndarray, "slices height width"]:
    """Return the grey levels of the channel that overlays show (see `shown_channel`)."""
    shown = shown_channel(images.shape[3], channel_names)
    return to_grey_levels(images[..., [shown]], "auto")[..., 0]


def draw_overlay(
    grey: UInt8[np.ndarray, "height width"],
    *,
    predicted: Bool[np.ndarray, "height width"],
    true: Bool[np.ndarray, "height width"] | None = None,
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return the slice as RGB with the prediction's outline in orange, and the true one in blue.

    The orange outline is just inside the prediction and the blue one just outside the true mask, so that both can be
    seen where the masks agree. A slice with sides under 256 pixels is drawn at twice its size.
    """
    scale = 2 if max(grey.shape) < SMALL else 1
    canvas = _enlarge(np.repeat(grey[..., None], 3, axis=2), scale)
    if true is not None:
        enlarged = _enlarge(true, scale)
        canvas[_grow(enlarged) & ~enlarged] = TRUE
    enlarged = _enlarge(predicted, scale)
    canvas[enlarged & _grow(~enlarged)] = PREDICTED
    return canvas


def draw_panel(
    slices: UInt8[np.ndarray, "slices height width"],
    predicted: Bool[np.ndarray, "slices height width"],
    true: Bool[np.ndarray, "slices height width"] | None = None,
    *,
    columns: int = 4,
    captions: Sequence[str] | None = None,
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return several overlays in a grid, row by row, each under its caption if there are captions.

    Raises:
        ValueError: There are no slices or no columns, or the number of captions is not that of the slices.
    """
    if not len(slices) or columns < 1:
        raise ValueError(
            f"a panel of {len(slices)} slices in {columns} columns cannot be drawn: both must be at least 1"
        )
    if captions is not None and len(captions) != len(slices):
        raise ValueError(f"there are {len(captions)} captions for {len(slices)} slices: give one for each, or none")
    cells = [
        draw_overlay(grey, predicted=predicted[index], true=None if true is None else true[index])
        for index, grey in enumerate(slices)
    ]
    if captions is not None:
        cells = [_with_caption(cell, caption) for cell, caption in zip(cells, captions, strict=True)]
    return _grid(cells, min(columns, len(cells)))


def _enlarge(array: np.ndarray, scale: int) -> np.ndarray:
    return array.repeat(scale, axis=0).repeat(scale, axis=1)


def _grow(mask: np.ndarray) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def _with_caption(cell: np.ndarray, caption: str) -> np.ndarray:
    scale = cell.shape[1] / SMALL
    band = np.zeros((round(16 * scale), cell.shape[1], 3), np.uint8)
    baseline = (round(4 * scale), round(12 * scale))
    cv2.putText(band, caption, baseline, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * scale, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([band, cell])


def _grid(cells: list[np.ndarray], columns: int) -> np.ndarray:
    height, width = cells[0].shape[:2]
    rows = -(-len(cells) // columns)
    panel = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), np.uint8)
    for index, cell in enumerate(cells):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        panel[top : top + height, left : left + width] = cell
    return panel
