"""Probabilities become masks by a threshold and, if set, by the largest component."""

import numpy as np
import pytest

from data.preprocess import Preprocessing
from model.inference.volume import largest_component, to_masks
from model.settings import Settings


def settings(**changes) -> Settings:
    return Settings(preprocessing=Preprocessing(size=8), channel_names=("flair",), **changes)


def test_to_masks_includes_pixels_at_the_threshold():
    probability = np.array([[[0.1, 0.25, 0.3]]], np.float32)
    assert to_masks(probability, settings(threshold=0.25)).tolist() == [[[False, True, True]]]


def test_largest_component_spans_slices_and_connects_corners():
    masks = np.zeros((4, 6, 6), bool)
    masks[0, 0, :3] = True  # three pixels in one slice
    masks[1, 5, 5] = masks[2, 4, 4] = masks[3, 5, 3] = masks[3, 5, 2] = True  # four, from slice to slice by corners
    kept = largest_component(masks)
    assert kept.sum() == 4
    assert not kept[0].any()
    probability = masks.astype(np.float32)
    np.testing.assert_array_equal(to_masks(probability, settings(largest_component=True)), kept)


@pytest.mark.parametrize("num_pixels", [0, 1])
def test_largest_component_keeps_a_single_part(num_pixels):
    masks = np.zeros((2, 3, 3), bool)
    masks[0, 1, :num_pixels] = True
    np.testing.assert_array_equal(largest_component(masks), masks)


def test_first_of_equal_components_is_kept():
    masks = np.zeros((1, 1, 5), bool)
    masks[0, 0, [0, 4]] = True
    assert largest_component(masks).tolist() == [[[True, False, False, False, False]]]
