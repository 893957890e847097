"""Configurations as points of the unit cube, where models measure how far apart they are."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from data.legal import Value
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
        ends = np.cumsum([0, *map(_num_dimensions, space.values())])
        self.num_dimensions = int(ends[-1])
        self._places = dict(zip(space, map(slice, ends[:-1], ends[1:]), strict=True))
        """The dimensions of each axis."""

    def encode(self, *samples: Sample) -> Points:
        """Return the samples' points."""
        if self._space.conditions:
            samples = tuple(self._otherwise | self._space.active(one) for one in samples)
        points = np.empty((len(samples), self.num_dimensions))
        for name, here in self._places.items():
            points[:, here] = _encode(self._space[name], [one[name] for one in samples])
        return points

    def decode(self, point: Float[np.ndarray, " dimensions"]) -> Sample:
        """Return the sample at a point, with the nearest number that an axis has, and the category that is highest."""
        return {name: _decode(self._space[name], point[here]) for name, here in self._places.items()}

    def along_axes(
        self, values: Mapping[str, float], otherwise: float | Float[np.ndarray, " dimensions"]
    ) -> Float[np.ndarray, " dimensions"]:
        """Return each axis' value, or else the other value, for all of its dimensions."""
        others = np.broadcast_to(np.asarray(otherwise, float), (self.num_dimensions,))
        names = [name for name, axis in self._space.items() for _ in range(_num_dimensions(axis))]
        return np.array([values.get(name, float(other)) for name, other in zip(names, others, strict=True)])

    def draw(self, rng: np.random.Generator, num_points: int) -> Points:
        """Return random points, uniform over the space."""
        return self.snap(rng.uniform(size=(num_points, self.num_dimensions)))

    def draw_near(
        self, rng: np.random.Generator, points: Points, deviation: float | Float[np.ndarray, " dimensions"]
    ) -> Points:
        """Return a random point near each of the points, with a standard deviation that is a share of each axis."""
        moved = (points + rng.normal(0.0, deviation, points.shape)).clip(0.0, 1.0)
        return self.snap(moved)

    def snap(self, points: Points) -> Points:
        """Return the points of the samples at these points: `encode(decode(point))` of each, for many at once."""
        snapped = np.empty_like(points)
        fallback = self.encode(self._otherwise)[0] if self._space.conditions else np.zeros(self.num_dimensions)
        chosen: dict[str, np.ndarray] = {}
        active: dict[str, np.ndarray] = {}
        for name, here in self._places.items():
            axis = self._space[name]
            chosen[name] = _choose(axis, points[:, here])
            active[name] = np.full(len(points), True)
            for parent, values in self._space.conditions.get(name, {}).items():
                active[name] &= active[parent] & _is_one_of(self._space[parent], chosen[parent], values)
            snapped[:, here] = np.where(active[name][:, None], _place(axis, chosen[name]), fallback[here])
        return snapped


def _num_dimensions(axis: BaseDistribution) -> int:
    return len(axis.choices) if isinstance(axis, CategoricalDistribution) else 1


def _encode(axis: BaseDistribution, values: Sequence[Any]) -> Points:
    if isinstance(axis, CategoricalDistribution):
        return _place(axis, np.array([axis.choices.index(value) for value in values], int))
    return _place(axis, np.array(values, float))


def _decode(axis: BaseDistribution, places: Float[np.ndarray, " dimensions"]) -> bool | int | float | str | None:
    chosen = _choose(axis, places[None])[0]
    if isinstance(axis, CategoricalDistribution):
        return axis.choices[int(chosen)]
    return int(chosen) if isinstance(axis, IntDistribution) else float(chosen)


def _choose(axis: BaseDistribution, places: Points) -> Shaped[np.ndarray, " points"]:
    """Return the number at each place of an axis, or the index of the choice there."""
    if isinstance(axis, CategoricalDistribution):
        return places.argmax(1)
    assert isinstance(axis, FloatDistribution | IntDistribution)
    low, high = _bounds(axis)
    values = low + places[:, 0] * (high - low)
    values = np.exp(values) if axis.log else values
    if axis.step is not None:
        values = axis.low + axis.step * np.round((values - axis.low) / axis.step)
    return values.clip(axis.low, axis.high)


def _place(axis: BaseDistribution, chosen: Shaped[np.ndarray, " points"]) -> Points:
    """Return the places of what `_choose` returns."""
    if isinstance(axis, CategoricalDistribution):
        return CATEGORY * np.eye(len(axis.choices))[chosen]
    assert isinstance(axis, FloatDistribution | IntDistribution)
    low, high = _bounds(axis)
    values = np.log(chosen) if axis.log else chosen
    return ((values - low) / (high - low))[:, None]


def _is_one_of(
    axis: BaseDistribution, chosen: Shaped[np.ndarray, " points"], values: Collection[Value]
) -> Bool[np.ndarray, " points"]:
    if isinstance(axis, CategoricalDistribution):
        return np.array([choice in values for choice in axis.choices])[chosen]
    return np.isin(chosen, np.array([*values], float))


def _bounds(axis: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """Return the ends of an axis on its scale; a whole number has half a step on either side, as in Optuna."""
    margin = 0.5 * axis.step if isinstance(axis, IntDistribution) else 0.0
    ends = axis.low - margin, axis.high + margin
    return (math.log(ends[0]), math.log(ends[1])) if axis.log else ends
