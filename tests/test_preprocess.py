"""Fitting, its inverse, and normalisation by the patient's own volume."""

import numpy as np
import pytest

from data.preprocess import MIN_STD, fit_image, fit_mask, normalise, unfit, volume_statistics

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
    assert fit_image(image, 6).shape == (6, 6, channels)
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


def test_normalise_by_hand_puts_channels_first_and_keeps_them_last_in_memory():
    images = np.array([[[[10, 20], [30, 40]]], [[[1, 2], [3, 4]]]], np.uint8)
    result = normalise(images, np.float32([[10, 20], [1, 2]]), np.float32([[10, 20], [2, 1]]))
    assert result.tolist() == [[[[0, 2]], [[0, 1]]], [[[0, 1]], [[0, 2]]]]
    assert result.transpose(0, 2, 3, 1).flags.c_contiguous


def test_volume_statistics_leaves_out_the_air():
    images = np.zeros((2, 10, 10, 1), np.uint8)
    images[:, :5] = 100
    images[:, 5:] = 10  # at most 0.1 of the 99th percentile: air
    assert volume_statistics(images)[0].tolist() == [100]


def test_volume_statistics_counts_a_pixel_that_any_channel_shows():
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
