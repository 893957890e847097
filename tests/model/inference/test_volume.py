"""Probabilities become masks by a threshold and, if set, by the size of components."""

import numpy as np
import pytest

from data.preprocess import Preprocessing
from model.inference.volume import to_masks, without_small_components
from model.settings import Settings


def settings(**changes) -> Settings:
    return Settings(preprocessing=Preprocessing(size=8), channel_names=("flair",), **changes)


def test_to_masks_includes_pixels_at_the_threshold():
    probability = np.array([[[[0.1, 0.25, 0.3]]]], np.float32)
    assert to_masks(probability, settings(threshold=0.25)).tolist() == [[[[False, True, True]]]]


def test_components_span_slices_and_connect_at_corners():
    masks = np.zeros((4, 6, 6), bool)
    masks[0, 0, :3] = True  # three pixels in one slice
    masks[1, 5, 5] = masks[2, 4, 4] = masks[3, 5, 3] = masks[3, 5, 2] = True  # four, from slice to slice by corners
    kept = without_small_components(masks, 1.0)
    assert kept.sum() == 4
    assert not kept[0].any()
    probability = masks[None].astype(np.float32)
    np.testing.assert_array_equal(to_masks(probability, settings(component_share=1.0)), kept[None])


@pytest.mark.parametrize("num_pixels", [0, 1])
def test_single_component_is_kept(num_pixels):
    masks = np.zeros((2, 3, 3), bool)
    masks[0, 1, :num_pixels] = True
    np.testing.assert_array_equal(without_small_components(masks, 0.2), masks)


@pytest.mark.parametrize(("share", "kept"), [(0.2, [5, 1, 2]), (0.21, [5, 2]), (0.4, [5, 2]), (0.41, [5]), (1.0, [5])])
def test_components_smaller_than_a_share_of_the_largest_are_removed(share, kept):
    masks = np.array([[[1, 1, 1, 1, 1, 0, 1, 0, 1, 1]]], bool)
    found = "".join("x" if pixel else " " for pixel in without_small_components(masks, share)[0, 0])
    assert [len(part) for part in found.split()] == kept


def test_equal_components_are_all_kept():
    masks = np.array([[[1, 0, 1]]], bool)
    assert without_small_components(masks, 1.0).tolist() == masks.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_one_slice_keeps_the_components_that_it_keeps_beside_an_empty_slice(seed):
    mask = np.random.default_rng(seed).random((1, 24, 31)) < 0.3
    with_empty = np.concatenate([mask, np.zeros_like(mask)])
    kept = without_small_components(mask, 0.5)
    np.testing.assert_array_equal(kept[0], without_small_components(with_empty, 0.5)[0])
    assert 0 < kept.sum() < mask.sum()
