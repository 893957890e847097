"""The metrics of an epoch, as they are stored in the table of trials, the log of events and the checkpoints."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pydantic import model_serializer, model_validator

from search.record.codec import JsonObject, from_json

METRIC = "val_dice"
"""The metric that a search maximises: the mean over validation patients of the volumetric Dice."""


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """The metrics of an epoch. One that was not measured is None, and is left out on disk."""

    epoch: int
    """Number of the epoch, from 1 on; 0 if training raised before the first one ended."""

    train_loss: float | None = None
    val_dice: float = math.nan
    """The mean over validation patients of the volumetric Dice; nan where it was not measured, or is undefined."""

    val_iou: float | None = None
    val_precision: float | None = None
    val_recall: float | None = None
    val_accuracy: float | None = None
    learning_rate: float | None = None
    seconds: float = 0.0
    """Wall clock of training and validation."""

    val_seconds: float | None = None
    """The part of `seconds` that validation took."""

    waiting_seconds: float | None = None
    """The part of `seconds` that was spent waiting for the next batch."""

    million_parameters: float | None = None
    latency_ms: float | None = None
    """Latency of a slice on the training device; measured only if it is an objective."""

    peak_memory_mb: float | None = None
    elapsed_seconds: float | None = None
    """When the epoch ended: seconds since the search began, without those between an interruption and its resume."""

    others: Mapping[str, float] = field(default_factory=dict)
    """Metrics with other names."""

    @classmethod
    def from_json(cls, values: JsonObject, where: str = "metrics") -> "EpochMetrics":
        """Return the metrics in a JSON object.

        Raises:
            UserError: There is no epoch, or a value is not a number.
        """
        return from_json(cls, values, where)

    @model_validator(mode="before")
    @classmethod
    def _nest_others(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for name, value in values.items():
            if value is None:
                raise ValueError(f"{name} is None, but must be a number")
        return values | {"others": {name: value for name, value in values.items() if name not in _NAMES}}

    @model_serializer
    def to_json(self) -> JsonObject:
        """Return the metrics that were measured, by name."""
        values = {name: getattr(self, name) for name in _NAMES}
        known = {name: value for name, value in values.items() if not _is_default(value, _NAMES[name])}
        return known | dict(self.others)

    @property
    def has_dice(self) -> bool:
        """Whether its validation Dice is finite."""
        return math.isfinite(self.val_dice)

    @property
    def dice_by_region(self) -> dict[str, float]:
        """The validation Dice of each of several regions by its name; empty if there is one."""
        prefix = f"{METRIC}_"
        return {name.removeprefix(prefix): value for name, value in self.others.items() if name.startswith(prefix)}

    def value(self, name: str) -> float | None:
        """Return the metric with this name; None if it was not measured."""
        return getattr(self, name) if name in _NAMES else self.others.get(name)

    def at(self, elapsed_seconds: float) -> "EpochMetrics":
        """Return the same metrics with the time in the search at which the epoch ended."""
        return replace(self, elapsed_seconds=elapsed_seconds)


_NAMES = {one.name: one.default for one in fields(EpochMetrics) if one.name != "others"}
"""The metrics that have a field, with their defaults, by name."""


def _is_default(value: object, default: object) -> bool:
    return value is default or value == default
