"""Configurations as points of the unit cube, where models measure how far apart they are."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.record.trials import Sample
from search.space.space import Space

Points = Float[np.ndarray, "points dimensions"]

CATEGORY = 0.25
"""Height of the dimension of the category that a point has; the dimensions of the others are 0."""


class UnitCube:
    """The cube of a space: a dimension for each number, and one for each choice of a categorical axis."""

    def __init__(self, space: Space, *, otherwise: Sample | None = None) -> None:
        """Begin.

        Args:
            otherwise: The values of axes that have no effect in a sample. So such axes do not tell samples apart.
        """
        self._space, self._otherwise = space, otherwise or {}
        self.num_dimensions = sum(map(_num_dimensions, space.values()))

    def encode(self, *samples: Sample) -> Points:
        """Return the samples' points."""
        if self._space.conditions:
            samples = tuple(self._otherwise | self._space.active(one) for one in samples)
        rows = [[place for name, axis in self._space.items() for place in _encode(axis, one[name])] for one in samples]
        return np.array(rows, float).reshape(len(samples), self.num_dimensions)

    def decode(self, point: Float[np.ndarray, " dimensions"]) -> Sample:
        """Return the sample at a point, with the nearest number that an axis has, and the category that is highest."""
        sample, start = {}, 0
        for name, axis in self._space.items():
            stop = start + _num_dimensions(axis)
            sample[name] = _decode(axis, point[start:stop])
            start = stop
        return sample

    def along_axes(
        self, values: Mapping[str, float], otherwise: float | Float[np.ndarray, " dimensions"]
    ) -> Float[np.ndarray, " dimensions"]:
        """Return each axis' value, or else the other value, for all of its dimensions."""
        others = np.broadcast_to(np.asarray(otherwise, float), (self.num_dimensions,))
        names = [name for name, axis in self._space.items() for _ in range(_num_dimensions(axis))]
        return np.array([values.get(name, float(other)) for name, other in zip(names, others, strict=True)])

    def draw(self, rng: np.random.Generator, num_points: int) -> Points:
        """Return random points, uniform over the space."""
        return self.encode(*(self.decode(one) for one in rng.uniform(size=(num_points, self.num_dimensions))))

    def draw_near(
        self, rng: np.random.Generator, points: Points, deviation: float | Float[np.ndarray, " dimensions"]
    ) -> Points:
        """Return a random point near each of the points, with a standard deviation that is a share of each axis."""
        moved = (points + rng.normal(0.0, deviation, points.shape)).clip(0.0, 1.0)
        return self.encode(*map(self.decode, moved))


def _num_dimensions(axis: BaseDistribution) -> int:
    return len(axis.choices) if isinstance(axis, CategoricalDistribution) else 1


def _encode(axis: BaseDistribution, value: object) -> list[float]:
    if isinstance(axis, CategoricalDistribution):
        return [CATEGORY * (choice == value) for choice in axis.choices]
    assert isinstance(axis, FloatDistribution | IntDistribution)
    assert isinstance(value, int | float)
    low, high = _bounds(axis)
    return [(_scaled(axis, value) - low) / (high - low)]


def _decode(axis: BaseDistribution, places: np.ndarray) -> bool | int | float | str | None:
    if isinstance(axis, CategoricalDistribution):
        return axis.choices[int(places.argmax())]
    assert isinstance(axis, FloatDistribution | IntDistribution)
    low, high = _bounds(axis)
    value = low + float(places[0]) * (high - low)
    value = math.exp(value) if axis.log else value
    if axis.step is not None:
        value = axis.low + axis.step * round((value - axis.low) / axis.step)
    value = min(max(value, axis.low), axis.high)
    return int(value) if isinstance(axis, IntDistribution) else value


def _bounds(axis: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """Return the ends of an axis on its scale; a whole number has half a step on either side, as in Optuna."""
    margin = 0.5 * axis.step if isinstance(axis, IntDistribution) else 0.0
    return _scaled(axis, axis.low - margin), _scaled(axis, axis.high + margin)


def _scaled(axis: FloatDistribution | IntDistribution, value: float) -> float:
    return math.log(value) if axis.log else value
