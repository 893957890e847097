"""The full assessment of a model on patients that it has not seen.

Each patient is predicted once, and only one is in memory at a time.
"""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from data.patient import Patient
from model.inference.volume import Network, predict_volume, to_masks
from model.memory import process_peak_bytes
from model.scoring import metrics
from model.scoring.calibration import NO_PIXELS, ProbabilityCounts, count_by_region
from model.scoring.evaluate import evaluate_patient
from model.scoring.notebook_metrics import notebook_metrics, pixel_accuracy
from model.scoring.scores import AssessmentSummary, Calibration, NotebookMetric, PatientScore, SliceDetection, Speed
from model.scoring.slice_detection import SlicePredictions, predict_per_slice, score_detection
from model.scoring.summary import by_group, by_lesion_size
from model.settings import Settings


@dataclass(frozen=True, kw_only=True, eq=False)
class Assessment:
    """The results of one pass over patients with a model."""

    scores: list[PatientScore]
    detection: SliceDetection
    probabilities: list[dict[str, ProbabilityCounts]]
    """The histograms of each patient, by the name of the region."""

    as_notebooks: list[NotebookMetric]
    """The numbers that public notebooks report."""

    pixel_accuracy: float
    speed: Speed

    def summary(self) -> AssessmentSummary:
        """Return what a report shows of the assessment, beside the scores."""
        return AssessmentSummary(
            by_lesion_size=tuple(by_lesion_size(self.scores)),
            by_group=tuple(by_group(self.scores)),
            diagnosis=self.detection,
            calibration=sum((one for found in self.probabilities for one in found.values()), NO_PIXELS).calibration(),
            calibration_by_region=self._calibration_by_region(),
            as_notebooks=tuple(self.as_notebooks),
            pixel_accuracy=self.pixel_accuracy,
            speed=self.speed,
        )

    def _calibration_by_region(self) -> dict[str, Calibration]:
        names = list(self.probabilities[0]) if self.probabilities else []
        if len(names) < 2:
            return {}
        return {name: sum((one[name] for one in self.probabilities), NO_PIXELS).calibration() for name in names}


def assess(network: Network, patients: Sequence[Patient], *, settings: Settings, batch_size: int = 16) -> Assessment:
    """Return the assessment of a network; each patient is read and predicted once.

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
    probabilities: dict[str, ProbabilityCounts]
    counts: Int64[Tensor, "slices 4"]
    seconds: float


def _assess_patient(network: Network, patient: Patient, settings: Settings, batch_size: int) -> _PatientAssessment:
    volume = patient.read()
    started = time.perf_counter()
    probability = predict_volume(network, volume.images, settings.preprocessing, batch_size=batch_size)
    predicted = to_masks(probability, settings)
    seconds = time.perf_counter() - started
    whole = np.any(predicted, axis=0)
    return _PatientAssessment(
        score=evaluate_patient(
            patient.id,
            predicted,
            volume.masks,
            regions=settings.regions,
            group=patient.group,
            spacing_mm=volume.spacing_mm,
            distances=True,
        ),
        slices=predict_per_slice(probability.max(0), whole, volume.tumour),
        probabilities=count_by_region(probability, volume.masks, settings.regions),
        counts=metrics.count(torch.from_numpy(whole), torch.from_numpy(volume.tumour)),
        seconds=seconds,
    )


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
