"""The unit cube: every configuration has a place in it, and every place is a configuration."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.space.configs import default_sample
from search.space.named import CORE, WIDE
from search.space.space import Space
from search.suggestion.unit_cube import CATEGORY, UnitCube
from tests.support.searching import in_space


def test_encode_by_hand():
    space = {
        "rate": FloatDistribution(1e-4, 1e-2, log=True),
        "depth": IntDistribution(2, 5),
        "norm": CategoricalDistribution(["instance", "batch"]),
    }
    points = UnitCube(Space(space)).encode(
        {"rate": 1e-3, "depth": 2, "norm": "batch"}, {"rate": 1e-2, "depth": 5, "norm": "instance"}
    )
    assert points == pytest.approx(np.array([[0.5, 0.125, 0.0, CATEGORY], [1.0, 0.875, CATEGORY, 0.0]]))


@pytest.mark.parametrize("space", [CORE, WIDE], ids=["core", "wide"])
def test_decode_is_the_inverse_of_encode(space):
    cube, rng = UnitCube(space), np.random.default_rng(0)
    points = cube.draw(rng, 200)
    samples = [cube.decode(point) for point in points]
    assert all(in_space(sample, space) for sample in samples)
    assert cube.encode(*samples) == pytest.approx(points)
    default = default_sample(space)
    assert cube.decode(cube.encode(default)[0]) == pytest.approx(default)


def test_draw_gives_every_whole_number_and_category_its_share():
    space = Space({"depth": IntDistribution(2, 5), "norm": CategoricalDistribution(["instance", "batch"])})
    cube = UnitCube(space)
    samples = [cube.decode(point) for point in cube.draw(np.random.default_rng(0), 4000)]
    for depth in range(2, 6):
        assert sum(sample["depth"] == depth for sample in samples) == pytest.approx(1000, abs=100)
    assert sum(sample["norm"] == "batch" for sample in samples) == pytest.approx(2000, abs=150)


def test_draw_near_stays_near_and_inside():
    cube = UnitCube(Space({"dropout": FloatDistribution(0.0, 0.5), "rate": FloatDistribution(1e-4, 1e-2, log=True)}))
    start = np.array([[0.5, 0.98]] * 1000)
    found = cube.draw_near(np.random.default_rng(0), start, 0.05)
    assert np.std(found[:, 0]) == pytest.approx(0.05, abs=0.01)
    assert found.min() >= 0
    assert found.max() <= 1


def test_encode_of_no_sample_is_an_empty_array():
    assert UnitCube(CORE).encode().shape == (0, 4)


def test_snap_is_what_decode_and_encode_give_one_by_one():
    conditions = {"width": {"norm": ("batch", "group")}, "rate": {"width": (2, 3)}}
    axes = {
        "norm": CategoricalDistribution(["instance", "batch", "group"]),
        "width": IntDistribution(1, 5),
        "rate": FloatDistribution(1e-4, 1e-2, log=True),
        "dropout": FloatDistribution(0.0, 0.5, step=0.1),
    }
    cube = UnitCube(
        Space(axes, conditions=conditions), otherwise={"norm": "group", "width": 4, "rate": 1e-3, "dropout": 0.2}
    )
    points = np.random.default_rng(0).uniform(size=(500, cube.num_dimensions))
    assert cube.snap(points) == pytest.approx(np.concatenate([cube.encode(cube.decode(point)) for point in points]))
