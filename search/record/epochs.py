"""The metrics of an epoch, as they are stored in the table of trials, the log of events and the checkpoints."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from data.errors import UserError
from search.record.codec import JsonObject

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
        if type(values.get("epoch")) is not int:
            raise UserError(f"{where}: epoch is {values.get('epoch')!r}, but must be a whole number")
        found: JsonObject = {}
        others: dict[str, float] = {}
        for name, value in values.items():
            if type(value) not in (float, int):
                raise UserError(f"{where}: {name} is {value!r}, but must be a number")
            # Every nan becomes the same object, so that metrics with a nan compare equal.
            (found if name in _NAMES else others)[name] = value if value == value else math.nan
        return cls(**found, others=others)

    def to_json(self) -> JsonObject:
        """Return the metrics that were measured, by name."""
        values = {name: getattr(self, name) for name in _NAMES}
        known = {name: value for name, value in values.items() if not _is_default(value, _NAMES[name])}
        return known | dict(self.others)

    @property
    def has_dice(self) -> bool:
        """Whether its validation Dice is finite."""
        return math.isfinite(self.val_dice)

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
