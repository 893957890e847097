"""The full assessment of a model on patients that it has not seen.

Each patient is predicted once, and only one is in memory at a time.
"""

import math
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from data.patient import Patient
from model.inference.volume import Network, predict_volume, to_masks
from model.memory import process_peak_bytes
from model.scoring import metrics
from model.scoring.calibration import NO_PIXELS, ProbabilityCounts, count_probabilities
from model.scoring.evaluate import PatientScore, evaluate_patient, summarise, summarise_values
from model.scoring.notebook_metrics import NotebookMetric, notebook_metrics, pixel_accuracy
from model.scoring.slice_detection import SliceDetection, SlicePredictions, predict_per_slice, score_detection
from model.settings import Settings

SIZES_ML = (5.0, 30.0)
"""Lower bounds of the two larger classes of lesions. They are fixed: thirds of the patients would differ from split to
split, and reports could not be compared. 5 ml is a ball 2 cm across, 30 ml one of 4 cm."""

SIZES_PER_CENT = (0.5, 1.5)
"""The same in per cent of the scan's pixels, for patients without a spacing. They divide 20 patients of the LGG set
into 7, 7 and 6."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast patients were predicted, from slices in memory to masks, and how much memory that took."""

    seconds_per_patient: float
    """The median over patients; the first patient is slower, but does not move a median."""

    milliseconds_per_slice: float
    """The median over patients of the mean over a patient's slices."""

    peak_memory_mb: float
    """The most memory held at a time, in 2**20 bytes."""

    memory_of: Literal["GPU", "process"]
    """`GPU`: what torch has allocated there since the assessment began. `process`: what the process has held since it
    was started, with its data and libraries, because nothing finer is known without a GPU."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Assessment:
    """What one pass over patients says about a model."""

    scores: list[PatientScore]
    detection: SliceDetection
    probabilities: list[ProbabilityCounts]
    """One per patient. Those of validation patients give the best threshold and, added up, the temperature."""

    as_notebooks: list[NotebookMetric]
    """The numbers that public notebooks report."""

    pixel_accuracy: float
    speed: Speed

    def to_record(self) -> dict[str, Any]:
        """Return plain values for metrics.json; floats may be nan."""
        return {
            "patients": [asdict(score) for score in self.scores],
            "summary": summarise(self.scores),
            "by_lesion_size": by_lesion_size(self.scores),
            "by_group": by_group(self.scores),
            "diagnosis": asdict(self.detection),
            "calibration": _calibration(sum(self.probabilities, NO_PIXELS)),
            "as_notebooks": [asdict(one) for one in self.as_notebooks],
            "pixel_accuracy": self.pixel_accuracy,
            "speed": asdict(self.speed),
        }


def assess(network: Network, patients: Sequence[Patient], *, settings: Settings, batch_size: int = 16) -> Assessment:
    """Return the assessment of a network; each patient is read and predicted once, and then dropped.

    Raises:
        BadFiles: A patient cannot be read.
        ValueError: The network returns nan.
    """
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    found = [_assess_patient(network, patient, settings, batch_size) for patient in patients]
    counts = torch.cat([torch.zeros((0, 4), dtype=torch.int64), *(one.counts for one in found)])
    return Assessment(
        scores=[one.score for one in found],
        detection=score_detection([one.slices for one in found]),
        probabilities=[one.probabilities for one in found],
        as_notebooks=notebook_metrics(counts),
        pixel_accuracy=pixel_accuracy(counts),
        speed=_speed([one.seconds for one in found], [one.score.num_slices for one in found]),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _PatientAssessment:
    """The few kilobytes that are kept of a patient."""

    score: PatientScore
    slices: SlicePredictions
    probabilities: ProbabilityCounts
    counts: Int64[Tensor, "slices 4"]
    seconds: float


def _assess_patient(network: Network, patient: Patient, settings: Settings, batch_size: int) -> _PatientAssessment:
    volume = patient.read()
    started = time.perf_counter()
    probability = predict_volume(network, volume.images, settings.preprocessing, batch_size=batch_size)
    predicted = to_masks(probability, settings)
    seconds = time.perf_counter() - started
    context = {"group": patient.group, "spacing_mm": volume.spacing_mm}
    return _PatientAssessment(
        score=evaluate_patient(patient.id, predicted, volume.masks, distances=True, **context),
        slices=predict_per_slice(probability, predicted, volume.masks),
        probabilities=count_probabilities(probability, volume.masks),
        counts=metrics.count(torch.from_numpy(predicted), torch.from_numpy(volume.masks)),
        seconds=seconds,
    )


def by_lesion_size(scores: Sequence[PatientScore]) -> list[dict[str, Any]]:
    """Return name, num_patients and dice of each class of true tumour volume that has patients, smallest first.

    The classes are in millilitres (SIZES_ML) if all spacings are known. Otherwise they are shares of the scan's pixels
    (SIZES_PER_CENT), which depend on how much was scanned around the tumour. Patients without tumour are a class of
    their own.
    """
    known = all(score.true_ml >= 0 for score in scores)  # nan is not
    (small, large), unit = (SIZES_ML, "ml") if known else (SIZES_PER_CENT, "% of the scan")
    names = (f"below {small:g} {unit}", f"{small:g} to {large:g} {unit}", f"from {large:g} {unit} on")
    members: dict[str, list[PatientScore]] = {name: [] for name in ("no tumour", *names)}
    for score in scores:
        size = score.true_ml if known else 100 * score.true_pixels / score.num_pixels
        members[names[(size >= small) + (size >= large)] if size else "no tumour"].append(score)
    return [_row(name, chosen) for name, chosen in members.items() if chosen]


def by_group(scores: Sequence[PatientScore]) -> list[dict[str, Any]]:
    """Return name, num_patients and dice of each group of patients (institution, or folder), sorted by name.

    The name of the group of patients without one is empty.
    """
    members = defaultdict(list)
    for score in scores:
        members[score.group].append(score)
    return [_row(name, members[name]) for name in sorted(members)]


def _row(name: str, scores: Sequence[PatientScore]) -> dict[str, Any]:
    return {
        "name": name,
        "num_patients": len(scores),
        "dice": summarise_values([score.dice for score in scores]),
    }


def _calibration(counts: ProbabilityCounts) -> dict[str, Any]:
    return {
        "ece": counts.expected_calibration_error(),
        "nll": counts.negative_log_likelihood(),
        "bins": [asdict(one) for one in counts.reliability()],
    }


def _speed(seconds: Sequence[float], num_slices: Sequence[int]) -> Speed:
    allocated = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
    per_slice = [one / number for one, number in zip(seconds, num_slices, strict=True)]
    return Speed(
        seconds_per_patient=_median(seconds),
        milliseconds_per_slice=1000 * _median(per_slice),
        peak_memory_mb=(allocated or process_peak_bytes()) / 2**20,
        memory_of="GPU" if allocated else "process",
    )


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else math.nan
