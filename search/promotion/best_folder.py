"""What a search leaves in `best/`: the winner, exported and proven, scored on the test patients, described."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from data.atomic import write
from data.patient import Patient
from data.readers.table import READERS
from model.device import find_device
from model.export.onnx_export import export_onnx
from model.export.predictor import Predictor, torch_network
from model.export.torch_program import PROGRAM_NAME, export_program
from model.inference.onnx_file import MODEL_NAME
from model.inference.volume import Network
from model.manifest import Provenance, write_manifest
from model.scoring.assess import assess
from model.scoring.evaluate import PatientScore, evaluate
from model.scoring.notebook_metrics import training_accuracy
from model.settings import Settings
from model.weights import WEIGHTS_NAME, write_weights
from search.cohort import Cohort
from search.config import SearchConfig
from search.coordination.checkpoints import STATE_FILE
from search.promotion.candidates import Candidate
from search.promotion.card import write_card
from search.promotion.inference_choices import choose_inference
from search.promotion.model_record import assessment_record, front_records, patient_records, summarise_patients
from search.promotion.overlays import draw_test_patients
from search.record.codec import without_nan
from search.record.experiment_record import ExperimentRecord
from search.record.files import BEST_FOLDER, METRICS_FILE, SCORINGS_FILE
from search.record.jsonl import append_line, read_lines
from search.record.model_metrics import (
    ChoiceRecord,
    CrossValidationRecord,
    ModelMetrics,
    ParityRecord,
    write_metrics,
)
from search.record.scores import SummaryRecord
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
    experiment: ExperimentRecord,
    folder: Path,
    patients: SplitPatients,
    *,
    config: SearchConfig,
    settings: Settings,
    cross_validation: CrossValidationRecord | None = None,
) -> ModelMetrics:
    """Return the metrics of the winner, the first candidate, after writing them and the model to `folder / "best"`.

    This is the one place where the test patients are scored. The folder appears when everything is in it, and one that
    was there before is replaced then.

    Args:
        cross_validation: What metrics.json is to say of one.

    Raises:
        ExportError: The exported model does not give what the network gives.
    """
    winner = candidates[0]
    with _appearing(folder / BEST_FOLDER) as partial:
        predictor, settings, choices = _choose(winner, config, settings, patients.val)
        parity, program_parity = _export(predictor, partial, settings, patients.val)
        network = torch_network(predictor, find_device().device)
        assessment = assess(network, patients.test, settings=settings)
        # As many as are tested: enough for a number that nobody should choose by.
        trained_on = evaluate(network, patients.train[: len(patients.test)], settings=settings)
        test = summarise_patients(assessment.scores)
        metrics = ModelMetrics(
            trial=winner.row.id,
            name=winner.name,
            sample=winner.row.sample,
            epoch=winner.epoch,
            num_networks=len(winner.networks),
            architectures=tuple(sorted({one.architecture for one in predictor.configs})),
            num_parameters=predictor.num_parameters,
            threshold=settings.threshold,
            largest_component=settings.largest_component,
            flips=predictor.flips,
            temperature=predictor.temperature,
            choices=choices,
            test=test,
            test_patients=patient_records(assessment.scores),
            assessment=assessment_record(assessment, training_accuracy(trained_on)),
            num_test_scorings=_note_scoring(folder, winner, test),
            validation=summarise_patients(winner.scores),
            validation_patients=patient_records(winner.scores),
            candidates=tuple(candidate.record() for candidate in candidates),
            parity=parity,
            program_parity=program_parity,
            pareto_front=front_records(rows, config.objective),
            pictures=_draw(network, patients.test, assessment.scores, partial, settings),
            cross_validation=cross_validation,
        )
        _describe(partial, metrics, experiment, config, rows, winner, settings)
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


def _choose(
    winner: Candidate, config: SearchConfig, settings: Settings, val_patients: Sequence[Patient]
) -> tuple[Predictor, Settings, tuple[ChoiceRecord, ...]]:
    """Return the winner's networks and settings with what helps on the validation patients, and what was tried."""
    if not config.promotion.choose:
        return Predictor(winner.networks), settings, ()
    predictor, settings, choices = choose_inference(winner.networks, settings, val_patients, find_device().device)
    return predictor, settings, tuple(ChoiceRecord(**vars(choice)) for choice in choices)


def _note_scoring(folder: Path, winner: Candidate, test: SummaryRecord) -> int:
    """Record that the test patients were scored, and return how often they have been."""
    scoring = {"time": _now(), "winner": winner.name, "dice": test.dice.mean}
    append_line(folder / SCORINGS_FILE, without_nan(scoring), durable=True)
    return len(read_lines(folder / SCORINGS_FILE))


def _draw(
    network: Network, patients: Sequence[Patient], scores: Sequence[PatientScore], partial: Path, settings: Settings
) -> dict[str, str]:
    """Draw some of the test patients; return the pictures' paths within the experiment by caption."""
    pictures = draw_test_patients(network, patients, scores, partial / "overlays", settings=settings)
    return {caption: str(Path(BEST_FOLDER) / path.relative_to(partial)) for caption, path in pictures.items()}


def _export(
    predictor: Predictor, partial: Path, settings: Settings, val_patients: Sequence[Patient]
) -> tuple[ParityRecord, ParityRecord]:
    """Write the model in its three forms; return how near model.onnx and model.pt2 are to the network."""
    volumes = [patient.read().images for patient in val_patients[:PARITY_PATIENTS]]
    write_weights(predictor, partial / WEIGHTS_NAME)
    onnx = export_onnx(predictor, partial / MODEL_NAME, settings, sample_volumes=volumes)
    program = export_program(predictor, partial / PROGRAM_NAME, settings, sample_volumes=volumes)
    return ParityRecord(**vars(onnx)), ParityRecord(**vars(program))


def _provenance(
    experiment: ExperimentRecord, config: SearchConfig, winner: Candidate, metrics: ModelMetrics
) -> Provenance:
    """Return where the model comes from, as the manifest says it."""
    return Provenance(
        experiment=config.name,
        trial=winner.row.id,
        winner=winner.name,
        test_dice=without_nan(metrics.test.dice.mean),
        data_fingerprint=experiment.data.fingerprint,
        commit=experiment.provenance.commit,
        versions=dict(experiment.provenance.versions),
        wandb=_wandb(config, winner.row.number),
        written=_now(),
    )


def _wandb(config: SearchConfig, number: int) -> dict[str, str] | None:
    """Return where the winner's run is in W&B; None if it has none."""
    if config.tracking not in ("online", "offline"):
        return None
    return {"project": config.project, "run": run_id(config.name, number)}


def _describe(
    folder: Path,
    metrics: ModelMetrics,
    experiment: ExperimentRecord,
    config: SearchConfig,
    rows: list[TrialRow],
    winner: Candidate,
    settings: Settings,
) -> None:
    """Write what tells of the model in the folder; the manifest last."""
    if len(winner.files) == 1:
        shutil.copyfile(ensure_local(winner.files[0]), folder / STATE_FILE)
    write_metrics(folder / METRICS_FILE, metrics)
    files = [path.name for path in folder.iterdir()]
    card = write_card(experiment, config, metrics, rows, winner.row, settings=settings, files=files)
    write(folder / "card.md", card.encode())
    write_manifest(folder, _provenance(experiment, config, winner, metrics))


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


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
