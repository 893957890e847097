"""Overlays of the test patients with the best, the median and the worst Dice."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.patient import Patient
from data.readers.images import write_image
from data.regions import decode
from model.inference.volume import Network, predict_volume, to_masks
from model.overlay import draw_panel, overlay_levels
from model.scoring.scores import PatientScore
from model.settings import Settings

SLICES_PER_PATIENT = 8


def draw_test_patients(
    network: Network,
    patients: Sequence[Patient],
    scores: Sequence[PatientScore],
    folder: Path,
    *,
    settings: Settings,
) -> dict[str, Path]:
    """Write the pictures and return their files by caption; patients whose Dice is undefined are left out."""
    ranked = sorted((score for score in scores if np.isfinite(score.dice)), key=lambda score: -score.dice)
    if not ranked:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    by_id = {patient.id: patient for patient in patients}
    pictures = {}
    for name, place in places.items():
        score = ranked[place]
        path = folder / f"{name}_{score.patient}.png"
        _draw(network, by_id[score.patient], path, settings)
        pictures[f"{name}: {score.patient}, Dice {score.dice:.3f}"] = path
    return pictures


def _draw(network: Network, patient: Patient, path: Path, settings: Settings) -> None:
    volume = patient.read()
    predicted = to_masks(predict_volume(network, volume.images, settings.preprocessing), settings)
    chosen = _choose_slices(volume.tumour | predicted.any(0))
    captions = [f"slice {volume.numbers[index]}" for index in chosen]
    write_image(
        path,
        draw_panel(
            overlay_levels(volume.images, settings.channel_names)[chosen],
            predicted[:, chosen].swapaxes(0, 1),
            decode(volume.masks[chosen], len(settings.regions)).swapaxes(0, 1),
            captions=captions,
        ),
    )


def _choose_slices(marked: np.ndarray) -> np.ndarray:
    """Return the indices of the slices to show: evenly spaced among those with a mark, or among all if none has one."""
    indices = np.flatnonzero(marked.any((1, 2)))
    if not len(indices):
        indices = np.arange(len(marked))
    places = np.linspace(0, len(indices) - 1, min(SLICES_PER_PATIENT, len(indices)))
    return indices[np.unique(places.round().astype(int))]
