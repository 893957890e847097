"""Fitting, its inverse, and normalisation by the patient's own volume."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import DTypeLike

from data.preprocess import (
    MIN_STD,
    Preprocessing,
    as_channels,
    fit_image,
    fit_mask,
    head_box,
    neighbours,
    normalise,
    prepare,
    to_grey_levels,
    unfit,
    volume_statistics,
)

SHAPES = [(32, 32), (32, 20), (17, 32), (5, 31), (1, 1)]


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_fit_then_unfit_returns_to_the_slice(height, width, size):
    mask = np.zeros((height, width), bool)
    mask[height // 4 : -(-3 * height // 4), width // 4 : -(-3 * width // 4)] = True
    fitted = fit_mask(mask, size)
    assert fitted.shape == (size, size)
    restored = unfit(fitted.astype(np.float32), height, width)
    assert restored.shape == (height, width)
    if max(height, width) <= size:
        np.testing.assert_array_equal(restored > 0.5, mask)
    else:  # a fitted pixel covers several: only those on the border may differ
        assert ((restored >= 0.5) != mask).sum() <= 2 * (height + width) * max(height, width) / size


def test_fit_is_the_identity_at_the_slices_own_size():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit_image(image, 16), image)
    np.testing.assert_array_equal(unfit(image[..., 0].astype(np.float32), 16, 16), image[..., 0])


def test_fit_pads_with_zeros_at_the_centre():
    image = np.full((2, 5, 1), 9, np.uint8)
    assert fit_image(image, 5)[..., 0].tolist() == [[0] * 5, [9] * 5, [9] * 5, [0] * 5, [0] * 5]


def test_fit_image_averages_areas_when_it_shrinks():
    image = np.array([[0, 100, 8, 8], [100, 200, 8, 8], [1, 1, 0, 0], [1, 1, 0, 0]], np.uint8)[..., None]
    assert fit_image(image, 2)[..., 0].tolist() == [[100, 8], [1, 0]]


def test_fit_mask_keeps_a_pixel_of_which_half_is_tumour():
    mask = np.array([[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]], bool)
    assert fit_mask(mask, 2).tolist() == [[True, False], [True, False]]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_fit_image_keeps_any_number_of_channels(channels):
    image = np.arange(channels, dtype=np.uint8) * np.ones((12, 9, 1), np.uint8)
    for size in (5, 6):  # by a whole factor and another one, which OpenCV computes in different ways
        assert fit_image(image, size).shape == (size, size, channels)
    assert fit_image(image, 24)[12, 12].tolist() == list(range(channels))


@pytest.mark.parametrize("seed", range(5))
def test_normalise_has_zero_mean_and_unit_deviation_in_the_head(seed):
    rng = np.random.default_rng(seed)
    images = np.zeros((4, 16, 16, 3), np.uint8)
    images[:, 4:12, 4:12] = rng.integers(60, 200, (4, 8, 8, 3))
    mean, std = volume_statistics(images)
    result = normalise(images, np.tile(mean, (4, 1)), np.tile(std, (4, 1)))
    head = result[:, :, 4:12, 4:12]
    np.testing.assert_allclose(head.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(head.std(axis=(0, 2, 3)), 1, atol=1e-5)


def test_normalise_puts_channels_first_but_last_in_memory():
    images = np.array([[[[10, 20], [30, 40]]], [[[1, 2], [3, 4]]]], np.uint8)
    result = normalise(images, np.array([[10, 20], [1, 2]], np.float32), np.array([[10, 20], [2, 1]], np.float32))
    assert result.tolist() == [[[[0, 2]], [[0, 1]]], [[[0, 1]], [[0, 2]]]]
    assert result.transpose(0, 2, 3, 1).flags.c_contiguous


def test_volume_statistics_leave_out_the_air():
    images = np.zeros((2, 10, 10, 1), np.uint8)
    images[:, :5] = 100
    images[:, 5:] = 10  # at most 0.1 of the 99th percentile: air
    assert volume_statistics(images)[0].tolist() == [100]


def test_volume_statistics_count_a_pixel_that_is_bright_in_any_channel():
    images = np.zeros((1, 2, 2, 2), np.uint8)
    images[0, 0, :, 0] = 50
    images[0, :, 0, 1] = 80
    mean, _ = volume_statistics(images)  # three of the four pixels
    np.testing.assert_allclose(mean, [100 / 3, 160 / 3], rtol=1e-6)


def test_volume_statistics_of_a_black_volume_are_zero_and_one():
    mean, std = volume_statistics(np.zeros((2, 4, 4, 3), np.uint8))
    assert mean.tolist() == [0, 0, 0]
    assert std.tolist() == [1, 1, 1]


def test_volume_statistics_of_a_constant_channel_keep_a_deviation():
    assert volume_statistics(np.full((1, 4, 4, 1), 7, np.uint8))[1].tolist() == [MIN_STD]


# --- grey levels ---


def levels_of(values, intensities, *, dtype: DTypeLike = np.float32):
    """Return the grey levels of a volume of one row, as a list."""
    images = np.array(values, dtype).reshape(1, 1, -1, 1)
    levels = to_grey_levels(images, intensities)
    assert levels.dtype == np.uint8
    assert levels.shape == images.shape
    return levels.ravel().tolist()


def test_grey_levels_of_8_bits_are_untouched_in_auto():
    images = np.random.default_rng(0).integers(20, 90, (2, 6, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_grey_levels(images, "auto"), images)
    assert (to_grey_levels(images, "full") != images).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_grey_levels_full_run_from_the_lowest_to_the_highest_value(dtype):
    values = [0, 0, 0, 10, 20, 30, 60, 110]
    assert levels_of(values, "full", dtype=dtype) == [0, 0, 0, 1, 26, 52, 128, 255]  # 1 + 2.54 (value - 10)


def test_grey_levels_without_a_background_begin_at_0():
    assert levels_of(np.arange(0, 52), "full") == list(range(0, 256, 5))


def test_grey_levels_percentile_cut_off_both_ends():
    # 0.5 % and 99.5 % of 0 to 2000 are 10 and 1990; between them a level is 1980 / 255 wide.
    levels = levels_of(np.arange(2001), "percentile")
    assert levels[:11] == [0] * 11
    assert levels[1990:] == [255] * 11
    assert levels[1000] == 128
    assert levels[10 + 198] == 26  # a tenth of the window is level 25.5, rounded to even
    assert levels_of(np.arange(2001), "auto") == levels


def test_grey_levels_percentile_ignores_an_outlier_and_full_does_not():
    values = [*range(1000), 10**6]
    assert levels_of(values, "percentile")[500] == 128
    assert levels_of(values, "full")[500] == 0


@pytest.mark.parametrize("background", [-1000, 0, 5, 300])
def test_grey_levels_are_0_in_the_background_and_at_least_1_elsewhere(background):
    values = [background] * 30 + [value for value in range(-50, 70) if value != background]
    levels = np.array(levels_of(values, "auto", dtype=np.int16))
    assert (levels[:30] == 0).all()
    assert levels[30:].min() == 1
    assert levels.max() == 255


def test_grey_levels_take_a_value_of_a_tenth_of_the_voxels_as_background():
    tenth = [7] * 11 + list(range(100, 189))
    assert levels_of(tenth, "full")[:12] == [0] * 11 + [1]
    less = [7] * 9 + list(range(100, 191))
    assert levels_of(less, "full")[9] == 130  # 7 is the lowest of all then, not background: 255 * 93 / 183


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("intensities", ["auto", "full", "percentile"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_grey_levels_keep_the_order_of_values(seed, intensities, dtype):
    rng = np.random.default_rng(seed)
    images = rng.normal(500 if dtype == np.uint16 else 0, 100, (3, 9, 8, 2)).astype(dtype)
    levels = to_grey_levels(images, intensities)
    for channel in range(2):
        order = np.argsort(images[..., channel], axis=None, kind="stable")
        assert (np.diff(levels[..., channel].ravel()[order].astype(int)) >= 0).all()
        assert len(np.unique(levels[..., channel])) > 100


@pytest.mark.parametrize("gain", [0.01, 3, 1000])
def test_grey_levels_do_not_depend_on_the_scanners_gain(gain):
    images = np.random.default_rng(0).normal(0, 1, (2, 16, 16, 1)).astype(np.float32)
    scaled = (images * np.float32(gain) + np.float32(7)).astype(np.float32)
    difference = to_grey_levels(images, "auto").astype(int) - to_grey_levels(scaled, "auto")
    assert np.abs(difference).max() <= 1  # of rounding in float32


@pytest.mark.parametrize("intensities", ["auto", "full", "percentile"])
@pytest.mark.parametrize("value", [-3, 0, 900])
def test_grey_levels_of_a_constant_channel_are_0(intensities, value):
    images = np.full((2, 3, 4, 2), value, np.int16)
    images[..., 1] = np.arange(24).reshape(2, 3, 4)
    levels = to_grey_levels(images, intensities)
    assert (levels[..., 0] == 0).all()
    assert levels[..., 1].max() == 255, "a channel is scaled by itself"


# --- the box around the head ---


def volume_with_head(*boxes, shape=(3, 12, 10), channels=2):
    """Return a volume that is black but for one box a slice and channel: (slice, channel, rows, columns)."""
    images = np.zeros((*shape, channels), np.uint8)
    for index, channel, rows, columns in boxes:
        images[index, slice(*rows), slice(*columns), channel] = 200
    return images


def test_head_box_holds_the_head_of_all_slices_and_channels():
    images = volume_with_head((0, 0, (4, 7), (5, 6)), (2, 1, (6, 10), (2, 4)))
    assert head_box(images) == (4, 2, 6, 4)  # rows 4 to 9, columns 2 to 5
    assert head_box(volume_with_head((1, 0, (0, 12), (9, 10)))) == (0, 9, 12, 1)


def test_head_box_of_a_black_volume_is_the_whole_slice():
    assert head_box(np.zeros((2, 7, 5, 3), np.uint8)) == (0, 0, 7, 5)


def test_prepare_cuts_to_the_head_and_fits_that():
    images = volume_with_head((0, 0, (4, 8), (3, 7)), (1, 1, (4, 8), (3, 7)))
    prepared = prepare(images, Preprocessing(size=4, crop="head"))
    assert (prepared.box, prepared.shape) == ((4, 3, 4, 4), (12, 10))
    np.testing.assert_array_equal(prepared.images, images[:, 4:8, 3:7])


def test_unfit_of_a_crop_restores_its_place_with_0_around_it():
    prepared = prepare(volume_with_head((0, 0, (4, 6), (3, 7))), Preprocessing(size=4, crop="head"))
    probability = np.arange(1, 17, dtype=np.float32).reshape(4, 4)
    expected = np.zeros((12, 10), np.float32)
    expected[4:6, 3:7] = probability[1:3]  # 2 x 4 were padded to 4 x 4
    np.testing.assert_array_equal(prepared.unfit(probability), expected)


def test_fit_mask_of_a_crop_shows_the_same_pixels_as_the_images():
    images = volume_with_head((1, 0, (2, 10), (1, 6)))
    mask = images[1, ..., 0] > 100
    mask[0, 0] = True  # outside of the head: cut off with it
    prepared = prepare(images, Preprocessing(size=8, crop="head"))
    np.testing.assert_array_equal(prepared.fit_mask(mask.astype(np.uint8)), prepared.images[1, ..., 0] > 100)
    assert prepared.fit_mask(mask.astype(np.uint8)).sum() == 8 * 5


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("crop", ["none", "head"])
def test_unfit_inverts_fit_for_random_heads(seed, crop):
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(6, 33, 2))
    top, left = int(rng.integers(height - 2)), int(rng.integers(width - 2))
    rows, columns = (top, int(rng.integers(top + 1, height + 1))), (left, int(rng.integers(left + 1, width + 1)))
    images = volume_with_head((1, 1, rows, columns), shape=(2, height, width))
    mask = np.zeros((height, width), bool)
    mask[slice(*rows), slice(*columns)] = rng.random((rows[1] - top, columns[1] - left)) < 0.5
    box = (top, left, rows[1] - top, columns[1] - left) if crop == "head" else (0, 0, height, width)
    prepared = prepare(images, Preprocessing(size=max(box[2:]), crop=crop))
    assert prepared.box == box
    np.testing.assert_array_equal(prepared.unfit(prepared.fit_mask(mask.astype(np.uint8)).astype(np.float32)), mask)


def test_prepare_normalises_by_the_head_or_by_255():
    images = np.random.default_rng(0).integers(50, 256, (2, 8, 8, 3), dtype=np.uint8)
    unit = prepare(images, Preprocessing(size=8, normalisation="unit"))
    assert (unit.mean.tolist(), unit.std.tolist()) == ([0, 0, 0], [255, 255, 255])
    assert unit.mean.dtype == unit.std.dtype == np.float32
    scaled = normalise(unit.images, unit.mean[None].repeat(2, axis=0), unit.std[None].repeat(2, axis=0))
    np.testing.assert_array_equal(scaled.transpose(0, 2, 3, 1), images / np.float32(255))
    zscore = prepare(images, Preprocessing(size=8))
    for found, expected in zip((zscore.mean, zscore.std), volume_statistics(images), strict=True):
        np.testing.assert_array_equal(found, expected)


# --- context ---


def test_neighbours_are_never_of_another_patient():
    patient_of_slice = np.array([0, 0, 0, 1, 2, 2])
    slices = np.array([0, 1, 2, 3, 4, 5])
    assert neighbours(slices, patient_of_slice, 1).tolist() == [
        [0, 0, 1],
        [0, 1, 2],
        [1, 2, 2],
        [3, 3, 3],
        [4, 4, 5],
        [4, 5, 5],
    ]
    assert neighbours(np.array([5, 1]), patient_of_slice, 2).tolist() == [[4, 4, 5, 5, 5], [0, 0, 1, 2, 2]]
    assert neighbours(slices, patient_of_slice, 0).tolist() == [[0], [1], [2], [3], [4], [5]]


def test_as_channels_puts_slice_after_slice_by_hand():
    images = np.arange(2 * 3 * 1 * 2 * 2, dtype=np.uint8).reshape(2, 3, 1, 2, 2)
    assert as_channels(images).tolist() == [
        [[[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]],
        [[[12, 13, 16, 17, 20, 21], [14, 15, 18, 19, 22, 23]]],
    ]


# --- the settings ---


ILLEGAL = {
    "size is 0, but must be a whole number from 1 to 1024": {"size": 0},
    "size is 1025, but must be a whole number from 1 to 1024": {"size": 1025},
    "size is 64.0, but must be a whole number from 1 to 1024": {"size": 64.0},
    "size is True, but must be a whole number from 1 to 1024": {"size": True},
    "size is '64', but must be a whole number from 1 to 1024": {"size": "64"},
    "context_slices is -1, but must be a whole number from 0 to 5": {"context_slices": -1},
    "context_slices is 6, but must be a whole number from 0 to 5": {"context_slices": 6},
    "crop is 'brain', but must be one of none, head": {"crop": "brain"},
    "intensities is None, but must be one of auto, full, percentile": {"intensities": None},
    "normalisation is 'ZSCORE', but must be one of zscore, unit": {"normalisation": "ZSCORE"},
}

REFUSALS = """
from data.errors import UserError
from data.preprocess import Preprocessing
for options in {!r}:
    try:
        Preprocessing(**options)
        print("legal")
    except UserError as error:
        print(error)
"""


def test_preprocessing_refuses_what_is_not_legal():
    code = REFUSALS.format(list(ILLEGAL.values()))  # elsewhere: here annotations are checked, and would refuse first
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.splitlines() == list(ILLEGAL)


@pytest.mark.parametrize(("context_slices", "expected"), [(0, 1), (1, 3), (5, 11)])
def test_preprocessing_counts_the_slices_that_the_network_sees(context_slices, expected):
    assert Preprocessing(context_slices=context_slices).num_slices_seen == expected
