"""Augmentation: mask follows image, a seed decides everything, and transforms are drawn independently."""

import numpy as np
import pytest

from data.augmentation.augment import Augment, AugmentConfig, build_augment
from data.errors import UserError


@pytest.fixture(autouse=True, scope="module")
def import_albumentations():
    """Import albumentations, which takes longer than a test, before the first test."""
    augment_of(1.0)


def augment_of(strength: float) -> Augment:
    augment = build_augment(AugmentConfig(strength=strength))
    assert augment is not None
    return augment


def slice_of(seed):
    """Return an image whose middle channel is its mask, at grey levels that survive every change of grey levels."""
    mask = np.zeros((32, 32), np.uint8)
    mask[8:18, 10:24] = True
    image = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    image[..., 1] = 40 + 160 * mask
    return image, mask


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_augment_moves_the_mask_with_the_image(strength):
    augment = augment_of(strength)
    shares = []
    for seed in range(40):
        image, mask = augment(*slice_of(seed), seed)
        assert image.dtype == np.uint8
        assert mask.dtype == np.uint8
        middle = image[..., 1].astype(float)
        levels = np.median(middle[mask > 0]), np.median(middle[mask == 0])
        shares.append(((middle > np.mean(levels)) == mask).mean())
    assert np.mean(shares) > 0.96  # the rest is the border, where the image is interpolated


@pytest.mark.parametrize("seed", range(10))
def test_augment_with_the_same_seed_is_identical(seed):
    first, second = augment_of(1.0), augment_of(1.0)
    expected = first(*slice_of(0), seed)
    for other in range(3):  # earlier calls and the global generator must not matter
        second(*slice_of(other), other + 100)
    np.random.seed(seed)
    for _ in range(2):
        result = second(*slice_of(0), seed)
        np.testing.assert_array_equal(result[0], expected[0])
        np.testing.assert_array_equal(result[1], expected[1])


def test_augment_leaves_the_global_generator_alone():
    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)
    augment_of(1.0)(*slice_of(0), 3)
    assert np.random.random() == expected


def test_augment_differs_between_seeds():
    augment = augment_of(1.0)
    assert len({augment(*slice_of(0), seed)[0].tobytes() for seed in range(20)}) >= 19


def test_augment_never_writes_to_its_inputs():
    augment = augment_of(2.0)
    image, mask = slice_of(0)
    image.setflags(write=False)
    mask.setflags(write=False)
    for seed in range(40):
        augment(image, mask, seed)
    np.testing.assert_array_equal(image, slice_of(0)[0])


def test_augment_draws_each_transform_independently():
    # With one seed for all transforms, a slice would be flipped exactly when its grey levels change.
    augment = augment_of(0.01)  # hardly any movement: the flip shows in the mask
    image, mask = np.full((16, 16, 1), 200, np.uint8), np.zeros((16, 16), np.uint8)
    mask[4:12, :4] = True
    seen = set()
    for seed in range(60):
        result, moved = augment(image, mask, seed)
        seen.add((bool(moved[8, 15]), bool((result != 200).any())))
    assert len(seen) == 4


def test_augment_of_an_empty_mask_stays_empty():
    augment = augment_of(2.0)
    assert not any(augment(slice_of(0)[0], np.zeros((32, 32), np.uint8), seed)[1].any() for seed in range(20))


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_augment_keeps_any_number_of_channels(channels):
    augment = augment_of(2.0)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, channels), dtype=np.uint8)
    assert {augment(image, np.zeros((16, 16), np.uint8), seed)[0].shape for seed in range(20)} == {(16, 16, channels)}


def test_build_augment_is_none_at_strength_zero():
    assert build_augment(AugmentConfig(strength=0.0)) is None


KINDS = ("geometry", "elastic", "intensity", "noise")


def only(kind: str, strength: float = 2.0) -> Augment:
    """Return an augmentation of one kind."""
    augment = build_augment(AugmentConfig(**{one: strength if one == kind else 0.0 for one in KINDS}))
    assert augment is not None
    return augment


@pytest.mark.parametrize(
    ("kind", "moves_the_mask"), [("geometry", True), ("elastic", True), ("intensity", False), ("noise", False)]
)
def test_augment_of_one_kind_changes_what_that_kind_changes(kind, moves_the_mask):
    augment = only(kind)
    image, mask = slice_of(0)
    results = [augment(image, mask, seed) for seed in range(20)]
    assert any((changed != image).any() for changed, _ in results)
    assert any((moved != mask).any() for _, moved in results) == moves_the_mask


def test_augment_without_one_kind_draws_the_others_as_beside_it():
    # Intensity and noise leave the mask alone, so the mask shows what geometry and elastic deformation drew.
    without = build_augment(AugmentConfig(intensity=0.0, noise=0.0))
    assert without is not None
    for seed in range(20):
        np.testing.assert_array_equal(without(*slice_of(0), seed)[1], augment_of(1.0)(*slice_of(0), seed)[1])


def test_augment_multiplies_the_strength_of_a_kind_with_the_whole():
    one = build_augment(AugmentConfig(strength=0.5, geometry=2.0, elastic=2.0, intensity=2.0, noise=2.0))
    assert one is not None
    for seed in range(10):
        np.testing.assert_array_equal(one(*slice_of(0), seed)[0], augment_of(1.0)(*slice_of(0), seed)[0])


def test_augment_at_the_largest_strength_of_every_kind_keeps_its_types():
    augment = build_augment(AugmentConfig(strength=2.0, geometry=2.0, elastic=2.0, intensity=2.0, noise=2.0))
    assert augment is not None
    assert {augment(*slice_of(seed), seed)[0].dtype for seed in range(20)} == {np.dtype(np.uint8)}


def test_build_augment_is_none_without_any_kind():
    assert build_augment(AugmentConfig(geometry=0.0, elastic=0.0, intensity=0.0, noise=0.0)) is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strength": -0.1}, "strength is -0.1, but must be from 0 to 2"),
        ({"strength": 2.1}, "strength is 2.1, but must be from 0 to 2"),
        ({"strength": float("nan")}, "strength is nan, but must be a number from 0 to 2"),
        ({"noise": 3.0}, "noise is 3.0, but must be from 0 to 2"),
    ],
)
def test_augment_config_refuses_an_illegal_strength(wrong, message):
    with pytest.raises(UserError, match=message):
        AugmentConfig(**wrong)
