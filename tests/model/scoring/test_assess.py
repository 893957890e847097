"""The assessment: one pass over patients that agrees with each of its parts, and holds plain values."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.patient import Patient, Volume
from data.preprocess import Preprocessing
from model.scoring.assess import Assessment, assess
from model.scoring.calibration import NO_PIXELS
from model.scoring.evaluate import evaluate
from model.scoring.surfaces import surface_distances
from model.settings import Settings

SETTINGS = Settings(preprocessing=Preprocessing(size=16), channel_names=("pre", "flair", "post"))


@dataclass(frozen=True, kw_only=True)
class MadePatient(Patient):
    """A patient without files; bright pixels are tumour, most of them."""

    id: str
    group: str = ""
    num_slices: int = 3
    spacing_mm: tuple[float, float, float] | None = None
    seed: int = 0

    @property
    def files(self) -> tuple[Path, ...]:
        return ()

    def read(self) -> Volume:
        rng = np.random.default_rng(self.seed)
        masks = np.zeros((self.num_slices, 16, 16), bool)
        masks[1:, 4:9, 5:11] = True
        seen = masks ^ (rng.random(masks.shape) < 0.05)
        images = np.repeat(np.where(seen, 200, 60).astype(np.uint8)[..., None], 3, axis=3)
        numbers = tuple(range(self.num_slices))
        return Volume(images=images, masks=masks.astype(np.uint8), numbers=numbers, spacing_mm=self.spacing_mm)

    def without(self, paths):
        return self


def bright_is_tumour(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return np.where(slices[:, [1]] > mean[1], 0.9, 0.2).astype(np.float32)


def three_patients(spacing_mm: tuple[float, float, float] | None = None) -> list[MadePatient]:
    groups = ("north", "south", "north")
    return [
        MadePatient(id=f"P{i}", group=group, num_slices=2 + i, seed=i, spacing_mm=spacing_mm)
        for i, group in enumerate(groups)
    ]


def found(spacing_mm: tuple[float, float, float] | None = None) -> Assessment:
    return assess(bright_is_tumour, three_patients(spacing_mm), settings=SETTINGS, batch_size=2)


def kinds_of(value: Any) -> set[type]:
    """Return the types of a value and of all that it holds."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return {type(value)}.union(*map(kinds_of, inside))


@pytest.mark.parametrize("spacing_mm", [None, (3.0, 1.0, 1.0)])
def test_assessment_has_the_scores_of_evaluate(spacing_mm):
    assessment = found(spacing_mm)
    nothing = {"hd95": math.nan, "assd": math.nan, "distance_unit": None}
    scores = evaluate(bright_is_tumour, three_patients(spacing_mm), settings=SETTINGS)
    assert [replace(one, **nothing) for one in assessment.scores] == scores


@pytest.mark.parametrize("spacing_mm", [None, (3.0, 1.0, 1.0)])
def test_assessment_measures_distances(spacing_mm):
    for one, patient in zip(found(spacing_mm).scores, three_patients(spacing_mm), strict=True):
        volume = patient.read()
        expected = surface_distances(volume.images[..., 1] > 100, volume.tumour, spacing_mm or (1.0, 1.0, 1.0))
        assert (one.hd95, one.assd) == (expected.hd95, expected.assd)
        assert one.distance_unit == ("mm" if spacing_mm else "pixels")


def test_assessment_counts_every_slice_and_pixel_once():
    assessment = found()
    assert assessment.detection.num_tumour_slices == 1 + 2 + 3
    assert assessment.detection.num_other_slices == 3
    pooled = sum((one["tumour"] for one in assessment.probabilities), NO_PIXELS)
    assert pooled.tumour.sum() == sum(one.true_pixels for one in assessment.scores)
    assert pooled.tumour.sum() + pooled.other.sum() == 9 * 16 * 16
    assert [one["tumour"].dice(0.5) for one in assessment.probabilities] == [one.dice for one in assessment.scores]


def test_assessment_is_the_same_in_parts():
    whole = found().summary()
    parts = [assess(bright_is_tumour, [one], settings=SETTINGS) for one in three_patients()]
    assert [part.scores[0] for part in parts] == found().scores
    right = sum(part.pixel_accuracy * part.scores[0].num_pixels for part in parts)
    assert whole.pixel_accuracy == pytest.approx(right / (9 * 16 * 16))


def test_summary_has_what_a_report_needs():
    assessment = found()
    summary = assessment.summary()
    values = [asdict(summary), *map(asdict, assessment.scores)]
    assert kinds_of(values) <= {dict, list, tuple, str, int, float, type(None)}  # no array, no numpy scalar
    assert [score.patient for score in assessment.scores] == ["P0", "P1", "P2"]
    assert [(group.name, group.num_patients) for group in summary.by_group] == [("north", 2), ("south", 1)]
    assert [group.name for group in summary.by_lesion_size]
    assert summary.diagnosis == assessment.detection
    assert summary.calibration is not None
    assert sum(row.num_pixels for row in summary.calibration.bins) == 9 * 16 * 16
    assert 0 < summary.calibration.ece < 0.3
    assert summary.calibration.nll > 0
    assert len(summary.as_notebooks) == 4
    assert summary.pixel_accuracy == summary.as_notebooks[3].value
    assert summary.speed is not None
    assert summary.speed.seconds_per_patient > 0
    assert 10 < summary.speed.peak_memory_mb < 100_000


def test_assessment_without_patients_is_nan():
    assessment = assess(bright_is_tumour, [], settings=SETTINGS)
    summary = assessment.summary()
    assert assessment.scores == []
    assert summary.by_group == summary.by_lesion_size == ()
    assert math.isnan(summary.pixel_accuracy)
    assert summary.calibration is not None
    assert math.isnan(summary.calibration.ece)
    assert summary.speed is not None
    assert math.isnan(summary.speed.seconds_per_patient)


def test_assess_refuses_the_nan_of_a_diverged_network():
    def diverged(slices, mean, std):
        return np.full_like(slices[:, :1], math.nan)

    with pytest.raises(ValueError, match="some probabilities are nan"):
        assess(diverged, three_patients(), settings=SETTINGS)
