"""The axes of a search space, as the figures of the report lay them out."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search.record.trials import Trial
from search.report.style import plot_text


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A hyperparameter, with the range that a figure shows."""

    name: str
    is_log: bool
    choices: tuple[str, ...]
    """The values of a categorical hyperparameter in their order; empty for a number."""

    low: float
    """The lower end as a coordinate: log10 of the value on a logarithmic axis, an index on a categorical one."""

    high: float

    @property
    def varies(self) -> bool:
        """Whether the axis has more than one value."""
        return self.high > self.low

    def coordinates(self, values: Sequence[object]) -> np.ndarray:
        """Return where values lie on the axis, between `low` and `high`; nan for None, where it has no effect."""
        if self.choices:
            places = [math.nan if value is None else self.choices.index(str(value)) for value in values]
            return np.array(places, float)
        numbers = np.array(values, float)
        return np.log10(numbers) if self.is_log else numbers

    def fractions(self, values: Sequence[object]) -> np.ndarray:
        """Return where values lie on the axis, from 0 at its lower end to 1 at its upper one."""
        return (self.coordinates(values) - self.low) / ((self.high - self.low) or 1.0)

    def ticks(self) -> tuple[list[float], list[str]]:
        """Return the coordinates of the ticks, and their labels."""
        if self.choices:
            return list(map(float, range(len(self.choices)))), [plot_text(choice) for choice in self.choices]
        if self.is_log and (decades := range(math.ceil(self.low), math.floor(self.high) + 1)):
            return list(map(float, decades)), [f"{10.0**decade:g}" for decade in decades]
        if self.is_log:
            return [self.low, self.high], [f"{10**end:.2g}" for end in (self.low, self.high)]
        values = _round_values(self.low, self.high)
        return values, [f"{value:.4g}" for value in values]


def read_axes(space: Mapping[str, str], rows: Sequence[Trial]) -> list[Axis]:
    """Return the axes of a space, as config.json describes it, that have an effect in at least one of the trials."""
    values = {name: [row.sample[name] for row in rows if name in row.sample] for name in space}
    return [make_axis(name, description, values[name]) for name, description in space.items() if values[name]]


def make_axis(name: str, description: str, values: Sequence[object]) -> Axis:
    """Return an axis that covers what its description says, and all of the values.

    Args:
        name: The hyperparameter.
        description: Its line in config.json, such as `0.0001 to 0.01, log` or `one of batch, group`.
        values: What the trials have on it.
    """
    description = description.partition("; where ")[0]
    if description.startswith("one of ") or any(isinstance(value, str) for value in values):
        named = description.removeprefix("one of ").split(", ") if description.startswith("one of ") else []
        choices = tuple(dict.fromkeys([*named, *sorted(map(str, values))]))
        return Axis(name=name, is_log=False, choices=choices, low=0.0, high=float(len(choices) - 1))
    bounds = re.fullmatch(r"(\S+) to (\S+?)(, log)?(, in steps of \S+)?", description)
    ends = [float(bounds[1]), float(bounds[2])] if bounds else []
    numbers = [*ends, *np.array(values, float).tolist()]
    is_log = bool(bounds and bounds[3]) and min(numbers) > 0
    low, high = (math.log10(end) if is_log else end for end in (min(numbers), max(numbers)))
    return Axis(name=name, is_log=is_log, choices=(), low=low, high=high)


def _round_values(low: float, high: float, *, num: int = 5) -> list[float]:
    """Return about `num` evenly spaced values between two ends that have few digits."""
    if high <= low:
        return [low]
    rough = (high - low) / num
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= rough * 0.999)
    return [place * step for place in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
