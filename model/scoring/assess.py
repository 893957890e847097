"""All that is said about a model on patients it has not seen: predicted once, one patient in memory at a time."""

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
from model.memory import peak_bytes_of_process
from model.scoring import metrics
from model.scoring.calibration import NO_PIXELS, ProbabilityCounts, count_probabilities
from model.scoring.diagnosis import Diagnosis, SliceCalls, call_slices, diagnose
from model.scoring.evaluate import PatientScore, evaluate_patient, summarise, summarise_values
from model.scoring.notebook_metrics import NotebookMetric, notebook_metrics, pixel_accuracy
from model.settings import Settings

# Lower bounds of the two larger classes. Fixed, not thirds of the patients at hand: those move with each split, and no
# two reports could be compared. 5 ml is a ball of 2 cm, 30 ml one of 4 cm.
SIZES_ML = (5.0, 30.0)

# The same without a spacing, in per cent of the scan's pixels: bounds that part 20 patients of the LGG set 7, 7, 6.
SIZES_PER_CENT = (0.5, 1.5)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast patients were predicted, from slices in memory to masks, and in how much memory."""

    seconds_per_patient: float
    """The median over patients, which the first one, slower, does not move."""

    milliseconds_per_slice: float
    """The median over patients of each one's mean."""

    peak_memory_mb: float
    """The most that was held at a time, in 2**20 bytes."""

    memory_of: Literal["GPU", "process"]
    """`GPU`: what torch allocated there since the assessment began. `process`: all that the process has held since it
    was started, data and libraries included; without a GPU nothing finer can be known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Assessment:
    """What is known of a model after one pass over patients."""

    scores: list[PatientScore]
    diagnosis: Diagnosis
    probabilities: list[ProbabilityCounts]
    """A patient each; of validation patients they tell the best threshold, and added up the temperature."""

    as_notebooks: list[NotebookMetric]
    pixel_accuracy: float
    speed: Speed

    def to_record(self) -> dict[str, Any]:
        """Return plain values for JSON, but for floats that may be nan."""
        return {
            "patients": [asdict(score) for score in self.scores],
            "summary": summarise(self.scores),
            "by_lesion_size": by_lesion_size(self.scores),
            "by_group": by_group(self.scores),
            "diagnosis": asdict(self.diagnosis),
            "calibration": _calibration(sum(self.probabilities, NO_PIXELS)),
            "as_notebooks": [asdict(one) for one in self.as_notebooks],
            "pixel_accuracy": self.pixel_accuracy,
            "speed": asdict(self.speed),
        }


def assess(network: Network, patients: Sequence[Patient], *, settings: Settings, batch_size: int = 16) -> Assessment:
    """Return the assessment of a network; each patient is read and predicted once, and forgotten.

    Raises:
        BadFiles: A patient cannot be read.
        ValueError: The network gives nan.
    """
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    found = [_assess_patient(network, patient, settings, batch_size) for patient in patients]
    counts = torch.cat([torch.zeros((0, 4), dtype=torch.int64), *(one.counts for one in found)])
    return Assessment(
        scores=[one.score for one in found],
        diagnosis=diagnose([one.calls for one in found]),
        probabilities=[one.probabilities for one in found],
        as_notebooks=notebook_metrics(counts),
        pixel_accuracy=pixel_accuracy(counts),
        speed=_speed([one.seconds for one in found], [one.score.num_slices for one in found]),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _PatientAssessment:
    """What is kept of a patient: kilobytes."""

    score: PatientScore
    calls: SliceCalls
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
        calls=call_slices(probability, predicted, volume.masks),
        probabilities=count_probabilities(probability, volume.masks),
        counts=metrics.count(torch.from_numpy(predicted), torch.from_numpy(volume.masks)),
        seconds=seconds,
    )


def by_lesion_size(scores: Sequence[PatientScore]) -> list[dict[str, Any]]:
    """Return name, num_patients and dice of each class of true tumour volume that has patients, the smallest first.

    In millilitres (SIZES_ML) where all spacings are known, else by the share of the scan's pixels (SIZES_PER_CENT),
    which depends on how much around the tumour was scanned. A patient without tumour is in a class of its own.
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
    """Return name, num_patients and dice of the patients of each institution, in the order of their names.

    The name is empty where a patient's institution is unknown.
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
        peak_memory_mb=(allocated or peak_bytes_of_process()) / 2**20,
        memory_of="GPU" if allocated else "process",
    )


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else math.nan
