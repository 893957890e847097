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

REGION_COLOURS = (
    PREDICTED,
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    TRUE,
    (213, 94, 0),
    (0, 114, 178),
    (128, 128, 128),
)
"""The colours of the outlines of several regions, in order; the same palette."""

SMALL = 256
"""Pixels. A slice with shorter sides is drawn at twice its size, because an outline would hide too much of it."""

GAP = 4
"""Pixels between two slices of a panel."""


def as_hex(colour: tuple[int, int, int]) -> str:
    """Return a colour as HTML writes it, such as #e69f00."""
    return "#" + bytes(colour).hex()


def overlay_levels(
    images: Shaped[np.ndarray, "slices height width channels"], channel_names: Sequence[str]
) -> UInt8[np.ndarray, "slices height width"]:
    """Return the grey levels of the channel that overlays show (see `shown_channel`)."""
    shown = shown_channel(images.shape[3], channel_names)
    return to_grey_levels(images[..., [shown]], "auto")[..., 0]


def draw_overlay(
    grey: UInt8[np.ndarray, "height width"],
    *,
    predicted: Bool[np.ndarray, "*regions height width"],
    true: Bool[np.ndarray, "*regions height width"] | None = None,
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return the slice as RGB with the prediction's outline in orange, and the true one in blue.

    The orange outline is just inside the prediction and the blue one just outside the true mask, so that both can be
    seen where the masks agree. A slice with sides under 256 pixels is drawn at twice its size. Of several regions, each
    is outlined in a colour of its own (REGION_COLOURS); the true ones are then drawn into a copy of the slice to the
    right.
    """
    scale = 2 if max(grey.shape) < SMALL else 1
    canvas = _enlarge(np.repeat(grey[..., None], 3, axis=2), scale)
    if predicted.ndim == 2 or len(predicted) == 1:
        if true is not None:
            enlarged = _enlarge(true.reshape(grey.shape), scale)
            canvas[_grow(enlarged) & ~enlarged] = TRUE
        _outline(canvas, _enlarge(predicted.reshape(grey.shape), scale), PREDICTED)
        return canvas
    beside = canvas.copy()
    for drawn, masks in ((canvas, predicted), (beside, true)):
        for mask, colour in zip(masks if masks is not None else (), REGION_COLOURS, strict=False):
            _outline(drawn, _enlarge(mask, scale), colour)
    return canvas if true is None else np.concatenate([canvas, beside], axis=1)


def draw_panel(
    slices: UInt8[np.ndarray, "slices height width"],
    predicted: Bool[np.ndarray, "slices *regions height width"],
    true: Bool[np.ndarray, "slices *regions height width"] | None = None,
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


def _outline(canvas: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw the outline of a mask into a picture of its size, just inside of the mask."""
    canvas[mask & _grow(~mask)] = colour


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
