"""Scores as they are stored in metrics.json: those of each patient, and their summary over patients."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from search.record.codec import JsonObject


@dataclass(frozen=True, kw_only=True)
class MetricRecord:
    """A metric over the patients in whom it is defined; nan where there are too few of them."""

    mean: float
    median: float = math.nan
    low: float = math.nan
    """With `high`, the 95 % bootstrap interval of the mean."""

    high: float = math.nan
    num_patients: int | None = None
    """Patients in whom the metric is defined; None in files that do not record it yet."""

    @property
    def interval(self) -> str:
        """The interval as text, such as "0.6100 to 0.8500"; a dash if there are too few patients for one."""
        has_interval = math.isfinite(self.low) and math.isfinite(self.high)
        return f"{self.low:.4f} to {self.high:.4f}" if has_interval else "-"


@dataclass(frozen=True, kw_only=True)
class SummaryRecord:
    """The scores of several patients. On disk, each metric is a key on the same level as the others."""

    num_patients: int
    by_metric: Mapping[str, MetricRecord]
    """Scores by metric: dice, iou, precision, recall and accuracy; also hd95 and assd where distances were measured."""

    distance_unit: Literal["mm", "pixels"] | None = None
    """Unit of hd95 and assd."""

    @property
    def dice(self) -> MetricRecord:
        """The volumetric Dice."""
        return self.by_metric["dice"]

    @model_validator(mode="before")
    @classmethod
    def _nest(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if "dice" not in values:
            raise ValueError("dice is missing")
        return values | {"by_metric": {name: value for name, value in values.items() if isinstance(value, dict)}}

    @model_serializer(mode="wrap")
    def _flatten(self, handler: SerializerFunctionWrapHandler) -> JsonObject:
        values = handler(self)
        unit = {"distance_unit": self.distance_unit} if self.distance_unit else {}
        return {"num_patients": self.num_patients, **values["by_metric"], **unit}


@dataclass(frozen=True, kw_only=True)
class PatientRecord:
    """The scores of one patient (model/scoring/evaluate.py); nan where a score is undefined or unknown."""

    patient: str
    num_slices: int
    dice: float
    iou: float
    precision: float
    recall: float
    accuracy: float
    predicted_pixels: int
    true_pixels: int
    num_pixels: int = 0
    group: str = ""
    predicted_ml: float = math.nan
    true_ml: float = math.nan
    hd95: float = math.nan
    assd: float = math.nan
    distance_unit: Literal["mm", "pixels"] | None = None

    def value(self, metric: str) -> float:
        """Return the patient's score for a metric, such as "dice"."""
        return getattr(self, metric)


@dataclass(frozen=True, kw_only=True)
class FoldPatientRecord(PatientRecord):
    """The scores of one patient by the network of the fold that did not train on this patient."""

    fold: int
    """Number of the fold, from 1 on."""


@dataclass(frozen=True, kw_only=True)
class GroupRecord:
    """The Dice of a group of patients."""

    name: str
    num_patients: int
    dice: MetricRecord
