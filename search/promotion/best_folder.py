"""What a search leaves in `best/`: the winner, exported and proven, scored on the test patients, described."""

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from data.atomic import write
from data.patient import Patient
from data.readers.table import READERS
from model.device import find_device
from model.export.onnx_export import export_onnx
from model.export.predictor import Predictor, torch_network
from model.export.torch_program import PROGRAM_NAME, export_program
from model.inference.onnx_file import MODEL_NAME
from model.manifest import Provenance, write_manifest
from model.scoring.assess import assess
from model.scoring.evaluate import evaluate
from model.scoring.notebook_metrics import training_accuracy
from model.scoring.summary import summarise
from model.settings import Settings
from model.weights import WEIGHTS_NAME, write_weights
from search.cohort import Cohort
from search.config import SearchConfig
from search.coordination.checkpoints import STATE_FILE
from search.promotion.candidates import Candidate
from search.promotion.card import write_card
from search.promotion.inference_choices import Choice, choose_inference
from search.promotion.overlays import draw_test_patients
from search.record.files import BEST_FOLDER, METRICS_FILE, SCORINGS_FILE
from search.record.jsonl import append_line, read_lines
from search.record.objectives import pareto_front
from search.record.trials import TrialRow
from search.storage.download import ensure_local
from search.tracking.tracker import run_id

PARITY_PATIENTS = 5
"""Validation patients on whose slices the exported model is compared with the network."""


@dataclass(frozen=True, kw_only=True)
class SplitPatients:
    """The patients of each side of the split."""

    train: Sequence[Patient]
    val: Sequence[Patient]
    test: Sequence[Patient]


def write_best_folder(
    candidates: list[Candidate],
    rows: list[TrialRow],
    run: dict[str, Any],
    folder: Path,
    patients: SplitPatients,
    *,
    settings: Settings,
    extra: dict[str, Any],
) -> dict[str, Any]:
    """Return the metrics of the winner, the first candidate, after writing them and the model to `folder / "best"`.

    This is the one place where the test patients are scored. The folder appears when everything is in it, and one that
    was there before is replaced then.

    Args:
        extra: What else metrics.json is to say.

    Raises:
        ExportError: The exported model does not give what the network gives.
    """
    winner, device = candidates[0], find_device().device
    with _appearing(folder / BEST_FOLDER) as partial:
        predictor, choices = Predictor(winner.networks), []
        if run["config"]["promotion"]["choose"]:
            predictor, settings, choices = choose_inference(winner.networks, settings, patients.val, device)
        parity = _export(predictor, partial, settings, patients.val)
        network = torch_network(predictor, device)
        assessment = assess(network, patients.test, settings=settings)
        record = assessment.to_record()
        # As many as are tested: enough for a number that nobody should choose by.
        trained_on = evaluate(network, patients.train[: len(patients.test)], settings=settings)
        record["as_notebooks"].append(asdict(training_accuracy(trained_on)))
        scoring = {"time": _now(), "winner": winner.name, "dice": record["summary"]["dice"]["mean"]}
        append_line(folder / SCORINGS_FILE, without_nan(scoring), durable=True)
        pictures = draw_test_patients(
            network, patients.test, assessment.scores, partial / "overlays", settings=settings
        )
        metrics = {
            **_winner(winner, predictor, settings, choices),
            "test": record.pop("summary"),
            "test_patients": record.pop("patients"),
            "assessment": record,
            "num_test_scorings": len(read_lines(folder / SCORINGS_FILE)),
            "validation": summarise(winner.scores).to_record(),
            "validation_patients": [asdict(score) for score in winner.scores],
            "candidates": [candidate.record() for candidate in candidates],
            **parity,
            "pareto_front": _front(rows, run["config"]["objective"]),
            "pictures": {
                caption: str(Path(BEST_FOLDER) / path.relative_to(partial)) for caption, path in pictures.items()
            },
            **extra,
        }
        _describe(partial, metrics, run, rows, winner, settings)
    return metrics


def default_settings(config: SearchConfig, cohort: Cohort) -> Settings:
    """Return the settings of a model that was trained on a cohort, before anything is chosen on validation."""
    return Settings(
        preprocessing=config.preprocessing,
        channel_names=cohort.channel_names,
        data_format=cohort.format,
        channel_indices=READERS[cohort.format].channel_indices(config.reading.channels),
        grayscale=config.reading.grayscale,
    )


def _export(
    predictor: Predictor, partial: Path, settings: Settings, val_patients: Sequence[Patient]
) -> dict[str, dict[str, Any]]:
    """Write the model in its three forms; return how near each that computes is to the network."""
    volumes = [patient.read().images for patient in val_patients[:PARITY_PATIENTS]]
    write_weights(predictor, partial / WEIGHTS_NAME)
    return {
        "parity": asdict(export_onnx(predictor, partial / MODEL_NAME, settings, sample_volumes=volumes)),
        "program_parity": asdict(export_program(predictor, partial / PROGRAM_NAME, settings, sample_volumes=volumes)),
    }


def _winner(winner: Candidate, predictor: Predictor, settings: Settings, choices: list[Choice]) -> dict[str, Any]:
    return {
        "trial": winner.row.id,
        "name": winner.name,
        "sample": winner.row.sample,
        "epoch": winner.epoch,
        "num_networks": len(winner.networks),
        "architectures": sorted({config.architecture for config in predictor.configs}),
        "num_parameters": predictor.num_parameters,
        "threshold": settings.threshold,
        "largest_component": settings.largest_component,
        "flips": predictor.flips,
        "temperature": predictor.temperature,
        "choices": [asdict(choice) for choice in choices],
    }


def _provenance(run: dict[str, Any], winner: Candidate, metrics: dict[str, Any]) -> Provenance:
    """Return where the model comes from, as the manifest says it."""
    return Provenance(
        experiment=run["config"]["name"],
        trial=winner.row.id,
        winner=winner.name,
        test_dice=without_nan(metrics["test"]["dice"]["mean"]),
        data_fingerprint=run["data"]["fingerprint"],
        commit=run["commit"],
        versions=run["versions"],
        wandb=_wandb(run["config"], winner.row.number),
        written=_now(),
    )


def _wandb(config: dict[str, Any], number: int) -> dict[str, str] | None:
    """Return where the winner's run is in W&B."""
    if config["tracking"] not in ("online", "offline"):
        return None
    return {"project": config["project"], "run": run_id(config["name"], number)}


def _describe(
    folder: Path,
    metrics: dict[str, Any],
    run: dict[str, Any],
    rows: list[TrialRow],
    winner: Candidate,
    settings: Settings,
) -> None:
    """Write what tells of the model in the folder; the manifest last."""
    if len(winner.files) == 1:
        shutil.copyfile(ensure_local(winner.files[0]), folder / STATE_FILE)
    write(folder / METRICS_FILE, json.dumps(without_nan(metrics), indent=2).encode())
    files = [path.name for path in folder.iterdir()]
    card = write_card(run, metrics, rows, winner.row, settings=settings, files=files)
    write(folder / "card.md", card.encode())
    write_manifest(folder, _provenance(run, winner, metrics))


@contextmanager
def _appearing(best: Path) -> Iterator[Path]:
    """Yield an empty folder that takes this name when everything is in it; one that had it stays if that fails."""
    partial, before = (best.with_name(f"{best.name}.{state}") for state in ("partial", "before"))
    if before.exists() and not best.exists():  # an earlier promotion was killed between two renames
        before.rename(best)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        _replace(best, partial, before)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(best: Path, partial: Path, before: Path) -> None:
    """Put the new folder in the place of the one before, which stays if that fails."""
    shutil.rmtree(before, ignore_errors=True)
    if best.exists():
        best.rename(before)
    try:
        partial.rename(best)
    except BaseException:
        if before.exists():
            before.rename(best)
        raise
    shutil.rmtree(before, ignore_errors=True)


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


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
