"""How good a network is: the scores of each patient.

Scores are volumetric, per patient, and at the resolution in which the masks were drawn: resized masks would flatter a
network that never saw the fine outline.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from data.patient import Patient
from data.regions import WHOLE, Region, decode
from model.inference.volume import Network, predict_volume, to_masks
from model.scoring import metrics
from model.scoring.scores import PatientScore, RegionScore
from model.scoring.summary import DISTANCES, finite_mean
from model.scoring.surfaces import surface_distances
from model.settings import Settings


def evaluate(
    network: Network,
    patients: Sequence[Patient],
    *,
    settings: Settings,
    batch_size: int = 16,
) -> list[PatientScore]:
    """Return the scores of the patients, in their order and at the resolution of their masks, without distances.

    Raises:
        BadFiles: A patient cannot be read.
    """
    scores = []
    for patient in patients:
        volume = patient.read()
        probability = predict_volume(network, volume.images, settings.preprocessing, batch_size=batch_size)
        predicted = to_masks(probability, settings)
        scores.append(
            evaluate_patient(
                patient.id,
                predicted,
                volume.masks,
                regions=settings.regions,
                group=patient.group,
                spacing_mm=volume.spacing_mm,
            )
        )
    return scores


def evaluate_patient(
    patient_id: str,
    predicted: Bool[np.ndarray, "regions slices height width"],
    masks: UInt8[np.ndarray, "slices height width"],
    *,
    regions: Sequence[Region] = WHOLE,
    group: str = "",
    spacing_mm: tuple[float, float, float] | None = None,
    distances: bool = False,
) -> PatientScore:
    """Return the scores of one patient, over all slices together.

    Args:
        masks: The true masks, as bits.
        distances: Whether to measure distances between surfaces, which takes up to a second for a large volume.
    """
    parts = zip(regions, predicted, decode(masks, len(regions)), strict=True)
    found = [_score_region(region.name, own, mask, spacing_mm, distances) for region, own, mask in parts]
    predicted_pixels, true_pixels = int(predicted.any(0).sum()), int((masks > 0).sum())
    return PatientScore(
        patient=patient_id,
        num_slices=len(masks),
        predicted_pixels=predicted_pixels,
        true_pixels=true_pixels,
        num_pixels=masks.size,
        group=group,
        predicted_ml=_millilitres(predicted_pixels, spacing_mm),
        true_ml=_millilitres(true_pixels, spacing_mm),
        distance_unit=("mm" if spacing_mm else "pixels") if distances else None,
        regions=tuple(found) if len(found) > 1 else (),
        **{name: finite_mean(getattr(one, name) for one in found) for name in (*metrics.METRICS, *DISTANCES)},
    )


def _score_region(
    name: str,
    predicted: Bool[np.ndarray, "slices height width"],
    mask: Bool[np.ndarray, "slices height width"],
    spacing_mm: tuple[float, float, float] | None,
    distances: bool,
) -> RegionScore:
    counts = metrics.count(torch.from_numpy(predicted), torch.from_numpy(mask)).sum(0)
    predicted_pixels, true_pixels = int(predicted.sum()), int(mask.sum())
    measured = surface_distances(predicted, mask, spacing_mm or (1.0, 1.0, 1.0)) if distances else None
    return RegionScore(
        name=name,
        predicted_pixels=predicted_pixels,
        true_pixels=true_pixels,
        predicted_ml=_millilitres(predicted_pixels, spacing_mm),
        true_ml=_millilitres(true_pixels, spacing_mm),
        hd95=measured.hd95 if measured else math.nan,
        assd=measured.assd if measured else math.nan,
        **{name: metric(counts).item() for name, metric in metrics.METRICS.items()},
    )


def _millilitres(pixels: int, spacing_mm: tuple[float, float, float] | None) -> float:
    return pixels * math.prod(spacing_mm) / 1000 if spacing_mm else math.nan
