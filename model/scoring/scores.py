"""What scoring finds: the scores of each patient, their summaries, and further measurements.

These are also the dataclasses of the scores in `best/metrics.json` (search/record/model_metrics.py). A default stands
for what old files do not have. This module imports no torch, so that reading a file of scores is quick.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class RegionScore:
    """The metrics of one region of a patient; see `PatientScore`."""

    name: str
    dice: float
    iou: float
    precision: float
    recall: float
    accuracy: float
    predicted_pixels: int
    true_pixels: int
    predicted_ml: float = math.nan
    true_ml: float = math.nan
    hd95: float = math.nan
    assd: float = math.nan


@dataclass(frozen=True, kw_only=True)
class PatientScore:
    """The metrics of one patient, over all slices together; a metric is nan if its denominator is zero.

    With several regions, each metric and distance is the mean over those of them for which it is finite, and pixels and
    millilitres are those of all regions together. Millilitres are nan if the spacing is unknown. Distances are nan if
    they were not measured, or if the mask or the prediction is empty.
    """

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
    """Pixels of all slices together."""

    group: str = ""
    """The institution or folder that the patient belongs to; empty if unknown."""

    predicted_ml: float = math.nan
    true_ml: float = math.nan
    hd95: float = math.nan
    """95 % Hausdorff distance; see model.scoring.surfaces."""

    assd: float = math.nan
    """Average symmetric surface distance."""

    distance_unit: Literal["mm", "pixels"] | None = None
    """Unit of the distances; None if they were not measured. `pixels` if the spacing is unknown: then the next slice is
    one pixel away."""

    regions: tuple[RegionScore, ...] = ()
    """The scores of each of several regions; empty if there is one."""

    def value(self, metric: str) -> float:
        """Return the patient's score for a metric, such as "dice"."""
        return getattr(self, metric)


@dataclass(frozen=True, kw_only=True)
class MetricSummary:
    """One metric over the patients for whom it is finite; nan without any."""

    mean: float
    median: float = math.nan
    low: float = math.nan
    """Lower bound of the mean's 95 % confidence interval; nan with fewer than two patients."""

    high: float = math.nan
    num_patients: int | None = None
    """Patients for whom the metric is finite; None in files that do not record it yet."""

    @property
    def interval(self) -> str:
        """The interval as text, such as "0.6100 to 0.8500"; a dash if there are too few patients for one."""
        has_interval = math.isfinite(self.low) and math.isfinite(self.high)
        return f"{self.low:.4f} to {self.high:.4f}" if has_interval else "-"


@dataclass(frozen=True, kw_only=True)
class ScoreSummary:
    """All metrics over some patients."""

    num_patients: int
    by_metric: Mapping[str, MetricSummary]
    """Dice, iou, precision, recall and accuracy; also hd95 and assd if distances were measured."""

    distance_unit: Literal["mm", "pixels"] | None = None
    """Unit of hd95 and assd; None if distances were not measured."""

    by_region: Mapping[str, Mapping[str, MetricSummary]] = field(default_factory=dict)
    """The same metrics of each of several regions, by the region's name; empty if there is one."""

    @property
    def dice(self) -> MetricSummary:
        """The volumetric Dice."""
        return self.by_metric["dice"]


@dataclass(frozen=True, kw_only=True)
class GroupSummary:
    """The Dice summary of a group of patients."""

    name: str
    num_patients: int
    dice: MetricSummary


@dataclass(frozen=True, kw_only=True)
class SliceDetection:
    """How often slices are predicted correctly; a share is nan if there are no such slices."""

    sensitivity: float
    """Share of the slices with tumour in which tumour is predicted."""

    specificity: float
    """Share of the slices without tumour in which none is predicted."""

    auc: float
    """Area under the ROC curve: how often a slice with tumour scores higher than one without; a tie counts half."""

    num_tumour_slices: int | None = None
    num_other_slices: int | None = None


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The pixels whose probability is between `low` and `high`.

    `mean_probability` and `tumour_share` are nan if there are none.
    """

    low: float
    high: float
    mean_probability: float
    tumour_share: float
    num_pixels: int


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How well predicted probabilities agree with observed frequencies."""

    ece: float
    """The expected calibration error; 0 is perfect."""

    nll: float = math.nan
    """The mean negative log-likelihood of a pixel."""

    bins: tuple[ReliabilityBin, ...] = ()
    """The reliability curve."""


@dataclass(frozen=True, kw_only=True)
class NotebookMetric:
    """A number as notebooks report it; nan without slices."""

    name: str
    value: float
    description: str
    """A sentence on how the number is computed, and one on why it is flattering."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast patients were predicted, from slices in memory to masks, and how much memory that took."""

    seconds_per_patient: float
    """The median over patients; the first patient is slower, but does not move a median."""

    milliseconds_per_slice: float
    """The median over patients of the mean over a patient's slices."""

    peak_memory_mb: float
    """The peak memory, in 2**20 bytes."""

    memory_of: Literal["GPU", "process"]
    """`GPU`: the peak of torch's allocations there during the assessment. `process`: the peak of the whole process
    since its start, with its data and libraries, because nothing finer is known without a GPU."""


@dataclass(frozen=True, kw_only=True)
class AssessmentSummary:
    """What an assessment measures beside the scores of patients. None, nan or nothing: it was not measured."""

    by_lesion_size: tuple[GroupSummary, ...] = ()
    by_group: tuple[GroupSummary, ...] = ()
    diagnosis: SliceDetection | None = None
    calibration: Calibration | None = None
    """Of the pixels of all regions together."""

    calibration_by_region: Mapping[str, Calibration] = field(default_factory=dict)
    """Of each of several regions, by its name; empty if there is one."""

    as_notebooks: tuple[NotebookMetric, ...] = ()
    """The numbers that public notebooks report."""

    pixel_accuracy: float = math.nan
    speed: Speed | None = None
