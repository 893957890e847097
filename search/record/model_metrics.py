"""best/metrics.json: all measurements of the promoted model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, SerializerFunctionWrapHandler, WrapSerializer, model_serializer, model_validator

from data.atomic import write
from data.errors import UserError
from model.export.parity import Parity
from model.scoring.scores import AssessmentSummary, PatientScore, ScoreSummary
from search.record.codec import JsonObject, check_version, from_json, to_json, without_nan
from search.record.final_training import FinalTraining
from search.record.gain import GainRecord
from search.record.trials import Sample

VERSION = 1
"""Version of metrics.json. A file without a version has version 1."""


@dataclass(frozen=True, kw_only=True)
class InferenceChoice:
    """A setting of the prediction that was tried on the validation patients (search/promotion/inference_choices.py)."""

    name: str
    value: float | bool
    measure: str
    """What was compared: `mean Dice`, where more is better, or `negative log-likelihood`, where less is."""

    before: float
    after: float
    kept: bool


@dataclass(frozen=True, kw_only=True)
class CandidateRecord:
    """A checkpoint, or an ensemble of several, that could have won."""

    name: str
    trial: str = ""
    reported_dice: float
    """The validation Dice that training reported; nan for an ensemble."""

    rescored_dice: float
    num_parameters: int


@dataclass(frozen=True, kw_only=True)
class FrontRecord:
    """A trial of the Pareto front. On disk, its objectives are on the same level as the other keys."""

    trial: str
    objectives: Mapping[str, float]
    checkpoint: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _nest(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        objectives = {name: value for name, value in values.items() if name not in ("trial", "checkpoint")}
        return values | {"objectives": objectives}

    @model_serializer
    def _flatten(self) -> JsonObject:
        return {"trial": self.trial, **self.objectives, "checkpoint": self.checkpoint}


def _nest_metrics(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    flat = {name: value for name, value in values.items() if isinstance(value, dict) and name != "by_region"}
    regions = values.get("by_region")
    for metrics in (flat, *(regions.values() if isinstance(regions, dict) else ())):
        if isinstance(metrics, dict) and "dice" not in metrics:
            raise ValueError("dice is missing")
    return values | {"by_metric": flat}


def _flatten_metrics(summary: ScoreSummary, to_json: SerializerFunctionWrapHandler) -> JsonObject:
    unit = {"distance_unit": summary.distance_unit} if summary.distance_unit else {}
    values = to_json(summary)
    regions = {"by_region": values["by_region"]} if summary.by_region else {}
    return {"num_patients": summary.num_patients, **values["by_metric"], **unit, **regions}


StoredSummary: TypeAlias = Annotated[ScoreSummary, BeforeValidator(_nest_metrics), WrapSerializer(_flatten_metrics)]
"""The scores of several patients. On disk, each metric is a key on the same level as the others."""


@dataclass(frozen=True, kw_only=True)
class FoldPatientScore(PatientScore):
    """The scores of one patient by the network of the fold that did not train on this patient."""

    fold: int
    """Number of the fold, from 1 on."""


@dataclass(frozen=True, kw_only=True)
class RacedRecord:
    """A candidate in the race over the folds."""

    name: str
    num_patients: int
    """Patients of the folds until it left the race; all of them if it did not."""

    dice: float
    p_value: float
    """Of the last Wilcoxon test against the leader; nan if the first training failed."""


@dataclass(frozen=True, kw_only=True)
class CrossValidationRecord:
    """The scores of training and validation patients by networks of the winning configuration that were trained without
    them."""

    num_folds: int
    failures: tuple[str, ...] = ()
    """For each fold without scores, the reason."""

    summary: StoredSummary
    folds: tuple[StoredSummary, ...]
    patients: tuple[FoldPatientScore, ...] = ()
    raced: tuple[RacedRecord, ...] = ()
    """The candidates that were trained in folds, the winner first; empty in files from before there was a race."""


@dataclass(frozen=True, kw_only=True)
class ModelMetrics:
    """The content of best/metrics.json."""

    trial: str
    """Id of the winner's trial; of an ensemble, that of its best member."""

    name: str
    """Name of the winner among the candidates: a trial or an ensemble."""

    sample: Sample
    epoch: int
    """The epoch after which the winner's network was saved."""

    final: FinalTraining | None = None
    """The trainings after the search, whose networks are the model; None without `--final-seeds`."""

    num_networks: int = 1
    architectures: tuple[str, ...] = ("unet",)
    """Architectures of the networks. Files from the time when there was only one do not name it."""

    num_parameters: int
    """Parameters of all networks together."""

    threshold: float
    region_thresholds: Mapping[str, float] = field(default_factory=dict)
    """The threshold of each of several regions by its name; empty if there is one."""

    component_share: float
    """Components smaller than this share of a patient's largest one are removed. Files from before 2026-12 have
    `largest_component` instead, where true stands for 1."""

    flips: bool
    """Whether a slice is predicted with its mirror image as well."""

    temperature: float
    choices: tuple[InferenceChoice, ...] = ()
    test: StoredSummary
    test_patients: tuple[PatientScore, ...]
    assessment: AssessmentSummary = field(default_factory=AssessmentSummary)
    """Further measurements on the test patients."""

    num_test_scorings: int = 1
    """How often the test patients of this experiment had been scored, including this time."""

    validation: StoredSummary
    """The winner's scores on the validation patients; with final trainings, the model was trained on these patients
    later."""

    validation_patients: tuple[PatientScore, ...] = ()
    candidates: tuple[CandidateRecord, ...] = ()
    gain: GainRecord | None = None
    """The gain over the default configuration; None if the search did not begin with it, or it left no checkpoint."""

    parity: Parity
    """Parity of model.onnx."""

    program_parity: Parity | None = None
    """Parity of model.pt2; None where it was not exported."""

    pareto_front: tuple[FrontRecord, ...] = ()
    """The trials of the Pareto front; empty where Dice was the only objective."""

    pictures: Mapping[str, str] = field(default_factory=dict)
    """Image files of the experiment, by caption."""

    cross_validation: CrossValidationRecord | None = None
    """None without `--folds`."""

    @property
    def gain_sentence(self) -> str | None:
        """The gain over the default configuration in words; None if it is not known."""
        return self.gain and self.gain.sentence(self.trial, by_dice_alone=not self.pareto_front)

    @model_validator(mode="before")
    @classmethod
    def _rename_largest_component(cls, values: Any) -> Any:
        if not isinstance(values, dict) or type(values.get("largest_component")) is not bool:
            return values
        return {"component_share": float(values["largest_component"])} | values


def read_metrics(path: Path) -> ModelMetrics | None:
    """Return the content of a metrics.json; None if there is no file, because nothing was promoted.

    Raises:
        UserError: The file is damaged, or a newer version of the program wrote it.
    """
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); check it and the disk") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): python -m search.promote writes it anew") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged (it is not a JSON object): python -m search.promote writes it anew")
    check_version(values, VERSION, str(path))
    return from_json(ModelMetrics, values, str(path))


def write_metrics(path: Path, metrics: ModelMetrics) -> None:
    """Write metrics.json, whole or not at all."""
    values = {name: value for name, value in to_json(metrics).items() if not (name in OPTIONAL and value is None)}
    write(path, json.dumps(without_nan({"version": VERSION} | values), indent=2).encode())


OPTIONAL = ("cross_validation", "final")
"""Keys that are left out of the file if their value is None."""
