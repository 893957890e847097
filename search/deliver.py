"""What a search leaves in `best/`: the winner, exported and proven, scored on the test patients, described."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.source import channel_indices
from model.checkpoint import write
from model.device import find_device
from model.evaluate import PatientScore, evaluate, summarise
from model.export import Parity, export_onnx
from model.predictor import Predictor, torch_network
from model.runtime import MODEL_NAME
from model.settings import Settings
from search.card import write_card
from search.checkpoints import STATE_FILE
from search.cohort import Cohort
from search.config import SearchConfig
from search.objectives import pareto_front
from search.overlays import draw_test_patients
from search.promote import Candidate
from search.trials import TrialRow

PARITY_PATIENTS = 5
"""Validation patients on whose slices the exported model is compared with the network."""


def deliver(
    candidates: list[Candidate],
    rows: list[TrialRow],
    run: dict[str, Any],
    cohort: Cohort,
    settings: Settings,
    folder: Path,
) -> dict[str, Any]:
    """Return the metrics of the winner, the first candidate, after writing them and the model to `folder / "best"`.

    This is the one place where the test patients are scored.

    Raises:
        ExportError: The exported model does not give what the network gives.
    """
    winner = candidates[0]
    predictor = Predictor([winner.network], threshold=settings.threshold)
    best = folder / "best"
    best.mkdir(exist_ok=True)
    volumes = [patient.read().images for patient in cohort.val_patients[:PARITY_PATIENTS]]
    parity = export_onnx(predictor, best / MODEL_NAME, settings, sample_volumes=volumes)
    network = torch_network(predictor, find_device().device)
    scores = evaluate(network, cohort.test_patients, settings=settings)
    pictures = draw_test_patients(network, cohort.test_patients, scores, best / "overlays", settings=settings)
    metrics = _metrics(candidates, scores, parity, settings) | {
        "pareto_front": _front(rows, run["config"]["objective"]),
        "pictures": {caption: str(path.relative_to(folder)) for caption, path in pictures.items()},
    }
    shutil.copyfile(folder / winner.row.checkpoint, best / STATE_FILE)
    write(best / "card.md", write_card(run, metrics, rows, winner.row).encode())
    write(best / "metrics.json", json.dumps(without_nan(metrics), indent=2).encode())
    return metrics


def default_settings(config: SearchConfig, cohort: Cohort) -> Settings:
    """Return the settings of a model that was trained on a cohort, before anything is chosen on validation."""
    return Settings(
        preprocessing=config.preprocessing,
        channel_names=cohort.channel_names,
        data_format=cohort.format,
        channel_indices=channel_indices(cohort.format, config.reading.channels),
        grayscale=config.reading.grayscale,
    )


def _metrics(
    candidates: list[Candidate], scores: list[PatientScore], parity: Parity, settings: Settings
) -> dict[str, Any]:
    winner = candidates[0]
    return {
        "trial": winner.row.id,
        "sample": winner.row.sample,
        "epoch": winner.row.best_epoch["epoch"],
        "threshold": settings.threshold,
        "test": summarise(scores),
        "test_patients": [asdict(score) for score in scores],
        "validation": summarise(winner.scores),
        "validation_patients": [asdict(score) for score in winner.scores],
        "candidates": [
            {"trial": one.row.id, "reported_dice": one.row.best_dice, "rescored_dice": one.dice} for one in candidates
        ],
        "parity": asdict(parity),
    }


def _front(rows: list[TrialRow], objectives: Sequence[str]) -> list[dict[str, Any]]:
    """Return the trials that no other dominates, with their objectives; none where there is but one objective."""
    if len(objectives) == 1:
        return []
    return [
        {"trial": row.id, **{name: row.best_epoch[name] for name in objectives}, "checkpoint": row.checkpoint}
        for row in pareto_front(rows, objectives)
    ]


def without_nan(value: Any) -> Any:
    """Return a copy in which nan is None: JSON has no nan, and a file that has one is unreadable to most programs."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
