"""Overlays: where the outlines lie, which one is on top, and the grid of a panel."""

import numpy as np
import pytest

from data.preprocess import to_grey_levels
from model.overlay import GAP, PREDICTED, TRUE, draw_overlay, draw_panel, overlay_levels


def square(low: int = 4, high: int = 9, size: int = 16) -> np.ndarray:
    """Return a mask with one square."""
    mask = np.zeros((size, size), bool)
    mask[low:high, low:high] = True
    return mask


def is_colour(canvas: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.logical_and.reduce(canvas == colour, axis=2)


def halve(canvas: np.ndarray) -> np.ndarray:
    return np.logical_or.reduce(canvas.reshape(canvas.shape[0] // 2, 2, canvas.shape[1] // 2, 2), axis=(1, 3))


@pytest.mark.parametrize("seed", range(5))
def test_overlay_without_a_prediction_is_the_slice_in_grey(seed):
    grey = np.random.default_rng(seed).integers(0, 256, (16, 12), dtype=np.uint8)
    canvas = draw_overlay(grey, predicted=np.zeros((16, 12), bool))
    assert canvas.shape == (32, 24, 3)
    for channel in range(3):
        assert (canvas[::2, ::2, channel] == grey).all()


def test_prediction_is_drawn_just_inside_and_truth_just_outside():
    mask = square()
    canvas = draw_overlay(np.zeros((16, 16), np.uint8), predicted=mask, true=mask)
    assert (halve(is_colour(canvas, PREDICTED)) == (mask & ~square(5, 8))).all()
    assert (halve(is_colour(canvas, TRUE)) == (square(3, 10) & ~mask)).all()


def test_overlay_shows_a_lesion_of_one_pixel():
    canvas = draw_overlay(np.zeros((16, 16), np.uint8), predicted=square(4, 5))
    assert is_colour(canvas, PREDICTED).sum() == 4


def test_outline_stays_open_at_the_edge_of_the_image():
    mask = np.ones((16, 16), bool)
    canvas = draw_overlay(np.zeros((16, 16), np.uint8), predicted=mask, true=mask)
    assert not is_colour(canvas, PREDICTED).any()  # the whole slice has no border inside


def test_overlay_keeps_the_size_of_a_large_slice():
    grey = np.full((256, 200), 9, np.uint8)
    assert draw_overlay(grey, predicted=np.ones((256, 200), bool)).shape == (256, 200, 3)
    assert (grey == 9).all()


def test_panel_places_slices_row_by_row():
    slices = np.stack([np.full((16, 16), 50 * (index + 1), np.uint8) for index in range(5)])
    panel = draw_panel(slices, np.zeros((5, 16, 16), bool), columns=3)
    assert panel.shape == (2 * 32 + GAP, 3 * 32 + 2 * GAP, 3)
    corners = panel[:: 32 + GAP, :: 32 + GAP, 0]
    assert corners.tolist() == [[50, 100, 150], [200, 250, 0]]


def test_panel_gives_captions_a_band_of_their_own():
    slices, masks = np.zeros((2, 128, 128), np.uint8), np.zeros((2, 128, 128), bool)
    plain = draw_panel(slices, masks, masks)
    titled = draw_panel(slices, masks, masks, captions=["slice 1", "slice 2"])
    assert titled.shape[0] == plain.shape[0] + 16
    assert titled[:16].any()
    assert (titled[16:] == plain).all()


def test_panel_refuses_what_it_cannot_draw():
    slices, masks = np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8), bool)
    with pytest.raises(ValueError, match="1 captions for 2 slices"):
        draw_panel(slices, masks, captions=["one"])
    with pytest.raises(ValueError, match="panel of 0 slices"):
        draw_panel(slices[:0], masks[:0])
    with pytest.raises(ValueError, match="2 slices in 0 columns"):
        draw_panel(slices, masks, columns=0)


@pytest.mark.parametrize(
    ("num_channels", "names", "shown"),
    [
        (2, ("t1", "flair"), 1),
        (2, ("flair", "pre"), 0),
        (3, ("a", "b", "flair"), 2),
        (2, ("t1", "t2"), 0),
        (1, (), 0),
        (2, (), 0),
        (3, (), 1),
        (4, (), 0),
    ],
)
def test_overlay_levels_are_of_the_channel_called_flair_or_where_lgg_has_it(num_channels, names, shown):
    images = np.random.default_rng(0).normal(0, 9, (2, 8, 8, num_channels)).astype(np.float32)
    assert (overlay_levels(images, names) == to_grey_levels(images, "auto")[..., shown]).all()
