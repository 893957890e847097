"""Distances between surfaces, compared with all pairs of voxels, worked by hand, and without a surface."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from model.scoring.surfaces import surface_distances


def surface_voxels(masks: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Return the coordinates of the surface's voxels, which are examined one by one."""
    padded = np.pad(masks, 1)
    found = [
        place
        for place in np.argwhere(padded)
        if not all(padded[tuple(place + step)] for step in [*np.eye(3, dtype=int), *-np.eye(3, dtype=int)])
    ]
    return np.array(found) * spacing


def blob(seed: int, shape: tuple[int, int, int] = (6, 9, 10)) -> np.ndarray:
    """Return a ball with ragged edges somewhere in a volume, at times cut by its border."""
    rng = np.random.default_rng(seed)
    away = np.linalg.norm(np.argwhere(np.ones(shape)) - rng.uniform(0, shape), axis=1).reshape(shape)
    return away + rng.normal(0, 0.5, shape) < rng.uniform(2, 4)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.9, 1.1)])
def test_distances_are_those_of_all_pairs(seed, spacing):
    rng = np.random.default_rng(seed)
    noise = rng.random((5, 7, 6)) < rng.uniform(0.05, 0.6), rng.random((5, 7, 6)) < rng.uniform(0.05, 0.6)
    for predicted, masks in (noise, (blob(seed), blob(seed + 100))):
        pairs = cdist(surface_voxels(predicted, spacing), surface_voxels(masks, spacing))
        directed = pairs.min(1), pairs.min(0)
        found = surface_distances(predicted, masks, spacing)
        assert found.hd95 == pytest.approx(max(np.percentile(one, 95) for one in directed), abs=1e-6)
        assert found.assd == pytest.approx(np.concatenate(directed).mean(), abs=1e-6)


def test_distances_have_the_values_worked_by_hand():
    predicted, masks = np.zeros((2, 3, 8, 8), bool)
    predicted[0, 2, 2] = True
    masks[0, 2, 5] = masks[2, 2, 2] = True
    found = surface_distances(predicted, masks, (4.0, 1.0, 1.0))
    # There: 3 columns. Back: 3 columns, and 2 slices of 4 mm; 95 % of the way from 3 to 8 is 7.75.
    assert found.hd95 == pytest.approx(7.75)
    assert found.assd == pytest.approx((3 + 3 + 8) / 3)


def test_distances_are_from_the_surface_not_from_within():
    cube, core = np.zeros((2, 7, 7, 7), bool)
    cube[1:6, 1:6, 1:6] = True
    core[3, 3, 3] = True
    found = surface_distances(cube, core, (1.0, 1.0, 1.0))
    places = np.argwhere(np.ones((5, 5, 5))) - 2
    shell = np.linalg.norm(places[np.abs(places).max(1) == 2], axis=1)  # of a cube of 5, as seen from its middle
    assert found.hd95 == pytest.approx(np.percentile(shell, 95))
    assert found.assd == pytest.approx((shell.sum() + 2) / (len(shell) + 1))


def test_a_surface_is_where_the_volume_ends():
    whole, layer = np.ones((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
    layer[0] = True
    found = surface_distances(whole, layer, (1.0, 1.0, 1.0))
    assert found.hd95 == 4  # from the layer on the other side, a surface because nothing follows


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_symmetric_and_zero_to_oneself(seed):
    one, other = blob(seed), blob(seed + 50)
    there, back = surface_distances(one, other, (3.0, 1.0, 1.0)), surface_distances(other, one, (3.0, 1.0, 1.0))
    assert (there.hd95, there.assd) == pytest.approx((back.hd95, back.assd))
    same = surface_distances(one, one, (3.0, 1.0, 1.0))
    assert (same.hd95, same.assd) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_distances_do_not_depend_on_what_is_around(seed):
    one, other = blob(seed), blob(seed + 50)
    found = surface_distances(one, other, (2.0, 1.0, 1.0))
    inside = surface_distances(np.pad(one, 3), np.pad(other, 3), (2.0, 1.0, 1.0))
    assert (found.hd95, found.assd) == (inside.hd95, inside.assd)
    twice = surface_distances(one, other, (4.0, 2.0, 2.0))
    assert (twice.hd95, twice.assd) == pytest.approx((2 * found.hd95, 2 * found.assd))


def test_distances_to_an_empty_mask_are_nan():
    empty, masks = np.zeros((2, 4, 4), bool), np.ones((2, 4, 4), bool)
    for pair in ((empty, masks), (masks, empty), (empty, empty)):
        found = surface_distances(*pair, (1.0, 1.0, 1.0))
        assert math.isnan(found.hd95)
        assert math.isnan(found.assd)


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (1.0, math.nan, 1.0)])
def test_distances_need_a_spacing(spacing):
    masks = np.ones((1, 2, 2), bool)
    with pytest.raises(ValueError, match=r"spacing is \(.*\), but must be three positive numbers"):
        surface_distances(masks, masks, spacing)
