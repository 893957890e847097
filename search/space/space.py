"""A search space: its axes, what is constant in it, and where an axis has an effect.

Every axis is an Optuna distribution, so that the study file is enough to see what was searched.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)

from data.errors import UserError
from data.legal import Value
from search.record.codec import JsonObject
from search.record.trials import Sample

Condition: TypeAlias = Mapping[str, tuple[Value, ...]]
"""Values that other axes must have, by their names."""


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Where on an axis the best configurations are likely to be."""

    value: Value
    width: float | None = None
    """At this distance from the value, as a share of the axis, a configuration is clearly worse. None stands for the
    distance that the searcher expects of any axis."""


@dataclass(frozen=True)
class Space(Mapping[str, BaseDistribution]):
    """The axes of a search by name, in an order in which an axis follows those that its condition names."""

    axes: Mapping[str, BaseDistribution]
    constants: Mapping[str, Value] = field(default_factory=dict)
    """What all trials have in common, where it is not the default."""

    conditions: Mapping[str, Condition] = field(default_factory=dict)
    """Where an axis has an effect; an axis without a condition has one in every trial."""

    expected: Mapping[str, Expectation] = field(default_factory=dict)
    """What a person expects of an axis."""

    def __getitem__(self, name: str) -> BaseDistribution:
        return self.axes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.axes)

    def __len__(self) -> int:
        return len(self.axes)

    def is_active(self, name: str, sample: Sample) -> bool:
        """Return whether an axis has an effect beside the values of the axes before it."""
        condition = self.conditions.get(name, {})
        return all(parent in sample and sample[parent] in values for parent, values in condition.items())

    def active(self, sample: Sample) -> Sample:
        """Return a sample without the axes that have no effect in it, in the order of the axes."""
        found: Sample = {}
        for name in self.axes:
            if name in sample and self.is_active(name, found):
                found[name] = sample[name]
        return found

    def to_json(self) -> JsonObject:
        """Return the space as an experiment records it; `from_json` reads it."""
        return {
            "axes": {name: json.loads(distribution_to_json(axis)) for name, axis in self.axes.items()},
            "constants": dict(self.constants),
            "conditions": {
                name: {parent: list(values) for parent, values in condition.items()}
                for name, condition in self.conditions.items()
            },
            "expected": {name: asdict(one) for name, one in self.expected.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Space":
        """Return the space that `to_json` wrote. What is legal was checked when the search began.

        Raises:
            UserError: It is damaged.
        """
        try:
            return cls(
                {name: json_to_distribution(json.dumps(axis)) for name, axis in values["axes"].items()},
                constants=dict(values["constants"]),
                conditions={
                    name: {parent: tuple(one) for parent, one in condition.items()}
                    for name, condition in values["conditions"].items()
                },
                expected={name: Expectation(**one) for name, one in values["expected"].items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"the recorded space is damaged: {type(error).__name__}: {error}") from error


def describe(space: Space) -> dict[str, str]:
    """Return a description of each axis and constant for people, such as "0.0001 to 0.01, log"."""
    axes = {name: describe_axis(axis) + _describe_condition(space, name) for name, axis in space.items()}
    return axes | {name: f"{value} in every trial" for name, value in space.constants.items()}


def describe_axis(axis: BaseDistribution) -> str:
    """Return a description of an axis for people, such as "one of instance, batch"."""
    if isinstance(axis, CategoricalDistribution):
        return "one of " + ", ".join(str(choice) for choice in axis.choices)
    assert isinstance(axis, FloatDistribution | IntDistribution)
    text = f"{axis.low:g} to {axis.high:g}" + (", log" if axis.log else "")
    has_steps = axis.step is not None and not (isinstance(axis, IntDistribution) and axis.step == 1)
    return text + (f", in steps of {axis.step:g}" if has_steps else "")


def _describe_condition(space: Space, name: str) -> str:
    parts = [
        f"{parent} is {' or '.join(map(str, values))}" for parent, values in space.conditions.get(name, {}).items()
    ]
    return f"; where {' and '.join(parts)}" if parts else ""
