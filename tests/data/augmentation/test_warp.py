"""Moves and bends are those of albumentations, drawn from the same distributions."""

import albumentations as A
import cv2
import numpy as np
import pytest
from albumentations.augmentations.geometric import functional

from data.augmentation.warp import (
    BENT,
    DEGREES,
    MIRRORED,
    MOVED,
    SCALE,
    SHIFT,
    Warp,
    affine_matrix,
    bend,
    displacements,
    move,
)

SIDES = (24, 40)
RNG = np.random.default_rng(3)
MASK = (RNG.random(SIDES) > 0.5).astype(np.uint8)


def image_of(channels: int) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, 256, (*SIDES, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4, 6, 9])
def test_moved_slice_is_that_of_albumentations(channels):
    affine = A.Affine(rotate=(-12, 12), translate_percent=(-0.2, 0.2), scale=(0.9, 1.1), p=1)
    for seed in range(5):
        affine.set_random_seed(seed)
        expected = affine(image=image_of(channels), mask=MASK)
        found = move(image_of(channels), MASK, affine.get_applied_params()["matrix"][:2])
        np.testing.assert_array_equal(found[0], expected["image"])
        np.testing.assert_array_equal(found[1], expected["mask"])


def test_matrix_is_that_of_albumentations():
    matrix = affine_matrix(SIDES, degrees=7.5, shifts=(0.049, -0.13), scales=(0.93, 1.08))
    expected = functional.create_affine_transformation_matrix(
        translate={"x": int(0.049 * 40), "y": int(-0.13 * 24)},
        shear={"x": 0.0, "y": 0.0},
        scale={"x": 0.93, "y": 1.08},
        rotate=7.5,
        shift=functional.center(SIDES),
    )
    np.testing.assert_allclose(matrix, expected[:2], atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_bent_slice_is_that_of_albumentations(channels):
    elastic = A.ElasticTransform(alpha=100, sigma=8, mask_interpolation=cv2.INTER_NEAREST, p=1)
    elastic.set_random_seed(4)
    expected = elastic(image=image_of(channels), mask=MASK)
    maps = elastic.get_applied_params()
    field = np.stack([maps["map_x"], maps["map_y"]]) - np.stack(np.meshgrid(np.arange(40), np.arange(24)))
    found = bend(image_of(channels), MASK, field.astype(np.float32))
    np.testing.assert_array_equal(found[0], expected["image"])
    np.testing.assert_array_equal(found[1], expected["mask"])


def test_displacements_are_those_of_albumentations():
    generator = np.random.default_rng(5)
    across, down = functional.generate_displacement_fields(
        SIDES, 100, 8, same_dxdy=False, kernel_size=(0, 0), random_generator=generator, noise_distribution="uniform"
    )
    noise = np.random.default_rng(5).uniform(-1, 1, (2, *SIDES)).astype(np.float32)
    np.testing.assert_array_equal(displacements(noise, 100.0), np.stack([across, down]))


def matrices(monkeypatch) -> list[dict]:
    """Return what 2,000 warps drew for their moves."""
    drawn: list[dict] = []

    def record(sides: tuple[int, ...], **parameters) -> np.ndarray:
        drawn.append(parameters)
        return affine_matrix(sides, **parameters)

    monkeypatch.setattr("data.augmentation.warp.affine_matrix", record)
    for seed in range(2000):
        Warp(geometry=1.0, elastic=0.0)(image_of(1), MASK, np.random.default_rng(seed))
    return drawn


def test_moves_are_drawn_uniformly_as_often_as_they_should(monkeypatch):
    drawn = matrices(monkeypatch)
    assert len(drawn) / 2000 == pytest.approx(MOVED, abs=0.03)
    values = np.array([[one["degrees"], *one["shifts"], *one["scales"]] for one in drawn])
    ends = np.array([DEGREES, SHIFT, SHIFT, SCALE, SCALE])
    shares = (values - [0, 0, 0, 1, 1]) / ends
    assert np.abs(shares).max() <= 1
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        np.testing.assert_allclose(np.quantile(shares, quantile, axis=0), 2 * quantile - 1, atol=0.1)
    assert np.abs(np.corrcoef(shares.T) - np.eye(5)).max() < 0.1


def test_slices_are_mirrored_and_bent_as_often_as_they_should():
    image, mask = image_of(1), np.tile(np.arange(40, dtype=np.uint8), (24, 1))
    seen = [Warp(geometry=1e-9, elastic=1.0)(image, mask, np.random.default_rng(seed))[1] for seed in range(1000)]
    is_mirrored = [one[12, 5] > one[12, 35] for one in seen]
    is_bent = [not (np.array_equal(one, mask) or np.array_equal(one, mask[:, ::-1])) for one in seen]
    assert np.mean(is_mirrored) == pytest.approx(MIRRORED, abs=0.05)
    assert np.mean(is_bent) == pytest.approx(BENT, abs=0.04)
    assert abs(np.corrcoef(is_mirrored, is_bent)[0, 1]) < 0.1


def test_kind_that_is_left_out_changes_nothing_of_the_other():
    for seed in range(20):
        both, moved, bent = (
            Warp(geometry=geometry, elastic=elastic)(image_of(3), MASK, np.random.default_rng(seed))
            for geometry, elastic in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0))
        )
        is_bent = not np.array_equal(bent[1], MASK)
        assert np.array_equal(both[0], moved[0]) == (not is_bent)
