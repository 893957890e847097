"""best/metrics.json: all that was measured of the promoted model."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data.atomic import write
from data.errors import UserError
from search.record.codec import JsonObject, check_version, from_json, to_json, without_nan
from search.record.scores import FoldPatientRecord, GroupRecord, PatientRecord, SummaryRecord
from search.record.trials import Sample

VERSION = 1
"""Of metrics.json. It was not written down at first: a file without one is of version 1."""


@dataclass(frozen=True, kw_only=True)
class ChoiceRecord:
    """Something that was tried on the validation patients (search/promotion/choices.py)."""

    name: str
    value: float | bool
    measure: str
    """What was compared, in words."""

    before: float
    after: float
    kept: bool


@dataclass(frozen=True, kw_only=True)
class CandidateRecord:
    """A checkpoint, or an ensemble of several, that could have won."""

    name: str
    trial: str = ""
    reported_dice: float
    """What its training said; nan for an ensemble."""

    rescored_dice: float
    num_parameters: int


@dataclass(frozen=True, kw_only=True)
class ParityRecord:
    """How near an exported model is to the network."""

    max_probability_difference: float
    dice_difference: float
    num_slices: int


@dataclass(frozen=True, kw_only=True)
class FrontRecord:
    """A trial of the Pareto front. On disk, its objectives lie beside the other keys."""

    trial: str
    objectives: Mapping[str, float]
    checkpoint: str | None = None

    @classmethod
    def from_json(cls, values: JsonObject, where: str) -> "FrontRecord":
        """Return the trial that a JSON object has.

        Raises:
            UserError: It names no trial, or an objective is not a number.
        """
        objectives = {name: value for name, value in values.items() if name not in ("trial", "checkpoint")}
        return from_json(_FlatFront, values | {"objectives": objectives}, where).record()

    def to_json(self) -> JsonObject:
        """Return the trial as a JSON object."""
        return {"trial": self.trial, **self.objectives, "checkpoint": self.checkpoint}


@dataclass(frozen=True, kw_only=True)
class _FlatFront:
    trial: str
    objectives: Mapping[str, float]
    checkpoint: str | None = None

    def record(self) -> FrontRecord:
        return FrontRecord(trial=self.trial, objectives=self.objectives, checkpoint=self.checkpoint)


@dataclass(frozen=True, kw_only=True)
class DiagnosisRecord:
    """How well slices with tumour are told from those without (model/scoring/diagnosis.py)."""

    sensitivity: float
    specificity: float
    auc: float
    num_tumour_slices: int | None = None
    num_other_slices: int | None = None


@dataclass(frozen=True, kw_only=True)
class BinRecord:
    """A bin of the reliability curve."""

    low: float
    high: float
    mean_probability: float
    tumour_share: float
    num_pixels: int


@dataclass(frozen=True, kw_only=True)
class CalibrationRecord:
    """Whether probabilities mean what they say."""

    ece: float
    """The expected calibration error; 0 is perfect."""

    nll: float = math.nan
    """The mean negative log-likelihood of a pixel."""

    bins: tuple[BinRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NotebookRecord:
    """A figure as public notebooks compute it."""

    name: str
    value: float
    description: str


@dataclass(frozen=True, kw_only=True)
class SpeedRecord:
    """How fast the test patients were predicted (model/scoring/assess.py)."""

    seconds_per_patient: float
    milliseconds_per_slice: float
    peak_memory_mb: float
    memory_of: str
    """`GPU` or `process`."""


@dataclass(frozen=True, kw_only=True)
class AssessmentRecord:
    """What else was measured on the test patients."""

    by_lesion_size: tuple[GroupRecord, ...] = ()
    by_group: tuple[GroupRecord, ...] = ()
    diagnosis: DiagnosisRecord | None = None
    calibration: CalibrationRecord | None = None
    as_notebooks: tuple[NotebookRecord, ...] = ()
    pixel_accuracy: float = math.nan
    speed: SpeedRecord | None = None


@dataclass(frozen=True, kw_only=True)
class CrossValidationRecord:
    """The scores of training and validation patients by networks that were trained without them."""

    num_folds: int
    failures: tuple[str, ...] = ()
    """Why a fold has no scores."""

    summary: SummaryRecord
    folds: tuple[SummaryRecord, ...]
    patients: tuple[FoldPatientRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelMetrics:
    """What best/metrics.json says."""

    trial: str
    """The winner's, or that of an ensemble's best member."""

    name: str
    """The winner's among the candidates: a trial, one of its seeds, or an ensemble."""

    sample: Sample
    epoch: int
    """After which the network was taken."""

    num_networks: int = 1
    architectures: tuple[str, ...] = ("unet",)
    """Of the networks; files that were written when there was one do not name it."""

    num_parameters: int
    """Of all networks together."""

    threshold: float
    largest_component: bool
    flips: bool
    """Whether a slice is predicted with its mirror image as well."""

    temperature: float
    choices: tuple[ChoiceRecord, ...] = ()
    test: SummaryRecord
    test_patients: tuple[PatientRecord, ...]
    assessment: AssessmentRecord = field(default_factory=AssessmentRecord)
    """Of the test patients."""

    num_test_scorings: int = 1
    """How often the test patients had been scored in this experiment by then."""

    validation: SummaryRecord
    validation_patients: tuple[PatientRecord, ...] = ()
    candidates: tuple[CandidateRecord, ...] = ()
    parity: ParityRecord
    """Of model.onnx."""

    program_parity: ParityRecord | None = None
    """Of model.pt2."""

    pareto_front: tuple[FrontRecord, ...] = ()
    """Empty where Dice was the only objective."""

    pictures: Mapping[str, str] = field(default_factory=dict)
    """Files of the experiment by caption."""

    cross_validation: CrossValidationRecord | None = None
    """None where it was not asked for."""


def read_metrics(path: Path) -> ModelMetrics | None:
    """Return what metrics.json says; None where there is none, because nothing was promoted.

    Raises:
        UserError: It is damaged, or a newer version of the program wrote it.
    """
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): python -m search.promote writes it anew") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged (it is not a JSON object): python -m search.promote writes it anew")
    check_version(values, VERSION, str(path))
    return from_json(ModelMetrics, values, str(path))


def write_metrics(path: Path, metrics: ModelMetrics) -> None:
    """Write metrics.json, whole or not at all."""
    values = {name: value for name, value in to_json(metrics).items() if not (name in OPTIONAL and value is None)}
    write(path, json.dumps(without_nan({"version": VERSION} | values), indent=2).encode())


OPTIONAL = ("cross_validation",)
"""Left out where there is none."""
