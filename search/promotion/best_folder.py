"""The folder `best/`: the winner exported, compared with the original, scored on the test patients, and described."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from data.atomic import write
from data.patient import Patient
from data.readers.table import READERS
from model.device import find_device
from model.export.onnx_export import export_onnx
from model.export.parity import Parity
from model.export.predictor import Predictor, torch_network
from model.export.torch_program import PROGRAM_NAME, export_program
from model.export.tracing import trace
from model.inference.onnx_file import MODEL_NAME
from model.manifest import ModelProvenance, write_manifest
from model.scoring.summary import summarise
from model.settings import Settings
from model.weights import WEIGHTS_NAME, write_weights
from search.cohort import Cohort
from search.config import SearchConfig
from search.coordination.checkpoints import STATE_FILE
from search.promotion.candidates import Candidate
from search.promotion.card import write_card
from search.promotion.final_scores import FinalScores, SplitPatients, score_test_patients
from search.promotion.final_training import FinalNetworks
from search.promotion.inference_choices import choose_components, choose_inference
from search.promotion.ranking import gain_over_default
from search.promotion.replaced_folder import replaced_folder
from search.record.codec import without_nan
from search.record.experiment_record import ExperimentRecord
from search.record.files import BEST_FOLDER, METRICS_FILE
from search.record.model_metrics import (
    CrossValidationRecord,
    FrontRecord,
    InferenceChoice,
    ModelMetrics,
    write_metrics,
)
from search.record.objectives import pareto_front
from search.record.trials import TrialRow
from search.storage.download import ensure_local
from search.tracking.runs import run_id

PARITY_PATIENTS = 5
"""Number of validation patients on whose slices the exported model is compared with the network."""


@dataclass(frozen=True, kw_only=True)
class PromotedModel:
    """The winner as it was exported."""

    predictor: Predictor
    settings: Settings
    choices: tuple[InferenceChoice, ...]
    """Everything that was tried on the validation patients."""

    parity: Parity
    """How far model.onnx differs from the network."""

    program_parity: Parity
    """How far model.pt2 differs from the network."""


def write_best_folder(
    candidates: list[Candidate],
    rows: list[TrialRow],
    experiment: ExperimentRecord,
    folder: Path,
    patients: SplitPatients,
    *,
    config: SearchConfig,
    settings: Settings,
    final: FinalNetworks | None = None,
    cross_validation: CrossValidationRecord | None = None,
) -> ModelMetrics:
    """Write the model to `folder / "best"`, and return its metrics.

    This is the only place where the test patients are scored. The folder appears when it is complete; then it replaces
    an earlier one.

    Args:
        candidates: All candidates, the winner first.
        folder: The experiment's.
        settings: How the winner predicts, before anything is chosen on the validation patients.
        final: The networks of the final trainings, which become the model instead of the winner's.

    Raises:
        ExportError: The exported model does not compute what the network computes.
    """
    winner = candidates[0]
    with replaced_folder(folder / BEST_FOLDER) as partial:
        model = _export(winner, final, config, settings, patients.val, partial)
        network = torch_network(model.predictor, find_device().device)
        tested = score_test_patients(
            network, patients, model.settings, winner=winner.name, experiment=folder, folder=partial
        )
        metrics = _metrics(candidates, model, tested, rows, config, cross_validation, final)
        files = final.files if final and final.files else winner.files
        _describe(partial, metrics, experiment, config, rows, winner, model.settings, files)
    return metrics


def default_settings(config: SearchConfig, cohort: Cohort) -> Settings:
    """Return how a model of a cohort predicts, before anything is chosen on the validation patients."""
    return Settings(
        preprocessing=config.preprocessing,
        channel_names=cohort.channel_names,
        data_format=cohort.format,
        channel_indices=READERS[cohort.format].channel_indices(config.reading.channels),
        grayscale=config.reading.grayscale,
        regions=cohort.train_pack.regions,
    )


def _metrics(
    candidates: list[Candidate],
    model: PromotedModel,
    tested: FinalScores,
    rows: list[TrialRow],
    config: SearchConfig,
    cross_validation: CrossValidationRecord | None,
    final: FinalNetworks | None,
) -> ModelMetrics:
    """Return the metrics of the winner, which is the first candidate."""
    winner, predictor, settings = candidates[0], model.predictor, model.settings
    return ModelMetrics(
        trial=winner.row.id,
        name=winner.name,
        sample=winner.row.sample,
        epoch=winner.epoch,
        final=final and final.record,
        num_networks=len(predictor.networks),
        architectures=tuple(sorted({one.architecture for one in predictor.configs})),
        num_parameters=predictor.num_parameters,
        threshold=settings.threshold,
        region_thresholds=settings.threshold_by_region,
        component_share=settings.component_share,
        flips=predictor.flips,
        temperature=predictor.temperature,
        choices=model.choices,
        **vars(tested),
        validation=summarise(winner.scores),
        validation_patients=tuple(winner.scores),
        candidates=tuple(candidate.record() for candidate in candidates),
        gain=gain_over_default(candidates, config.default_trial),
        parity=model.parity,
        program_parity=model.program_parity,
        pareto_front=_front(rows, config.objective),
        cross_validation=cross_validation,
    )


def _front(rows: Sequence[TrialRow], objectives: Sequence[str]) -> tuple[FrontRecord, ...]:
    """Return the trials that no other dominates, with their objectives; none if there is only one objective."""
    if len(objectives) == 1:
        return ()
    return tuple(
        FrontRecord(
            trial=row.id,
            objectives={name: row.best_value(name) for name in objectives},
            checkpoint=row.checkpoint,
        )
        for row in pareto_front(rows, objectives)
    )


def _choose(
    winner: Candidate,
    final: FinalNetworks | None,
    config: SearchConfig,
    settings: Settings,
    val_patients: Sequence[Patient],
) -> tuple[Predictor, Settings, tuple[InferenceChoice, ...]]:
    """Return the model's predictor and settings as chosen on the validation patients, and all that was tried.

    It is tried with the winner's networks, because the networks of final trainings have seen these patients.
    """
    device = find_device().device
    networks = final.networks if final and final.networks else winner.networks
    if not config.promotion.choose:
        return Predictor(networks), settings, ()
    if networks is winner.networks:
        return choose_inference(networks, settings, val_patients, device)
    settings, component = choose_components(Predictor(winner.networks), settings, val_patients, device)
    return Predictor(networks), settings, (component,)


def _export(
    winner: Candidate,
    final: FinalNetworks | None,
    config: SearchConfig,
    settings: Settings,
    val_patients: Sequence[Patient],
    partial: Path,
) -> PromotedModel:
    """Choose how the model predicts, write it in three formats, and return what was chosen and written."""
    predictor, settings, choices = _choose(winner, final, config, settings, val_patients)
    volumes = [patient.read().images for patient in val_patients[:PARITY_PATIENTS]]
    write_weights(predictor, partial / WEIGHTS_NAME)
    traced = trace(predictor, settings)
    onnx = export_onnx(predictor, partial / MODEL_NAME, settings, sample_volumes=volumes, program=traced)
    program = export_program(predictor, partial / PROGRAM_NAME, settings, sample_volumes=volumes, program=traced)
    return PromotedModel(predictor=predictor, settings=settings, choices=choices, parity=onnx, program_parity=program)


def _provenance(
    experiment: ExperimentRecord, config: SearchConfig, winner: Candidate, metrics: ModelMetrics
) -> ModelProvenance:
    """Return where the model comes from, for the manifest."""
    return ModelProvenance(
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
    """Return where the winner's W&B run is, or None if it has none."""
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
    files: Sequence[Path],
) -> None:
    """Write the checkpoint, the metrics and the card into the folder, and the manifest of all files last."""
    if len(files) == 1:
        shutil.copyfile(ensure_local(files[0]), folder / STATE_FILE)
    write_metrics(folder / METRICS_FILE, metrics)
    names = [path.name for path in folder.iterdir()]
    card = write_card(experiment, config, metrics, rows, winner.row, settings=settings, files=names)
    write(folder / "card.md", card.encode(errors="replace"))  # names of files need not be valid text
    write_manifest(folder, _provenance(experiment, config, winner, metrics))


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
