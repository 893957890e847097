"""The winning configuration, trained again on more patients and with other seeds, or cross-validated."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data.atomic import write
from data.errors import UserError
from data.pack import Pack, join_packs
from data.patient import Patient
from data.split import in_hash_order
from model.scoring.scores import PatientScore
from model.scoring.summary import summarise
from model.segmentation_network import NetworkConfig, SegmentationNetwork
from model.settings import Settings
from model.training.train import train
from model.training.train_config import TrainConfig
from search.cluster.task_runner import TaskRunner
from search.cohort import Cohort
from search.config import SearchConfig
from search.promotion.candidates import Candidate, score, score_checkpoint
from search.promotion.ranking import is_worse
from search.record.model_metrics import CrossValidationRecord, FinalTraining, FoldPatientScore
from search.record.trials import TrialRow
from search.space import to_configs

FINAL_FOLDER = "final"
"""The folder of an experiment for checkpoints that are trained after the search."""


@dataclass(frozen=True, kw_only=True)
class FinalNetworks:
    """The networks of the winning configuration that were trained on all training and validation patients."""

    networks: tuple[SegmentationNetwork, ...]
    """They become the model together. None if all were left out: then the winner's own network is the model."""

    files: tuple[Path, ...]
    """Their checkpoints."""

    record: FinalTraining


def check_folds(config: SearchConfig, cohort: Cohort) -> None:
    """Check, before anything is trained, that every fold of a cross-validation has a patient.

    Raises:
        UserError: There are more folds than patients.
    """
    num_patients = len(cohort.train_patients) + len(cohort.val_patients)
    if config.promotion.folds > num_patients:
        raise UserError(
            f"folds is {config.promotion.folds}, but there are {num_patients} training and validation patients: give "
            "at most as many"
        )


def train_with_seeds(
    winner: Candidate, config: SearchConfig, cohort: Cohort, settings: Settings, tasks: TaskRunner
) -> FinalNetworks:
    """Train the winner's configuration on all training and validation patients, and return the networks.

    A training whose checkpoint is on disk from an earlier promotion is not repeated. A network is left out if its
    training failed, or if it is worse on the validation patients, on which it was trained, than the winner, which has
    never seen them.
    """
    seeds = range(config.seed + 1, config.seed + 1 + config.promotion.final_seeds)
    names = [f"{winner.row.id}-trainval-seed{seed}" for seed in seeds]
    files = [config.folder.resolve() / FINAL_FOLDER / f"{name}.pt" for name in names]
    pack = join_packs([cohort.train_pack, cohort.val_pack])
    shared = tasks.share(pack)
    calls = [
        (*_configs(winner.row, config, cohort, seed, tasks), shared, file)
        for seed, file in zip(seeds, files, strict=True)
        if not file.exists()
    ]
    left_out = list(filter(None, tasks.map(_train_to_file, calls)))
    found = [file for file in files if file.exists()]
    scored: list[Candidate] = tasks.map(
        score_checkpoint, [(file.stem, winner.row, file, cohort.val_patients, settings) for file in found]
    )
    left_out += [_say_worse(one, winner) for one in scored if is_worse(one, winner)]
    members = [one for one in scored if not is_worse(one, winner)]
    return FinalNetworks(
        networks=tuple(network for one in members for network in one.networks),
        files=tuple(file for one in members for file in one.files),
        record=FinalTraining(
            num_patients=len(pack.patient_ids),
            epochs=config.max_epochs,
            networks=tuple(one.name for one in members),
            left_out=tuple(left_out),
        ),
    )


def cross_validate(
    winner: TrialRow, config: SearchConfig, cohort: Cohort, settings: Settings, tasks: TaskRunner
) -> CrossValidationRecord:
    """Return the scores of every training and validation patient by a network that was not trained on it.

    They are slightly optimistic, because the search chose the configuration on these patients; the test patients are
    not among them. Each fold uses the network of its last epoch, so that it chooses no epoch on its own patients.
    """
    pack = tasks.share(join_packs([cohort.train_pack, cohort.val_pack]))
    patients = {patient.id: patient for patient in (*cohort.train_patients, *cohort.val_patients)}
    order = in_hash_order(patients, seed=config.seed)
    folds = [order[fold :: config.promotion.folds] for fold in range(config.promotion.folds)]
    configs = _configs(winner, config, cohort, config.seed, tasks)
    calls = [(*configs, pack, tuple(patients[name] for name in fold), settings) for fold in folds]
    results: list[list[PatientScore] | str] = tasks.map(_train_and_score, calls)
    failures = [result for result in results if isinstance(result, str)]
    found = [result for result in results if not isinstance(result, str)]
    return CrossValidationRecord(
        num_folds=len(folds),
        failures=tuple(failures),
        summary=summarise([one for scores in found for one in scores]),
        folds=tuple(map(summarise, found)),
        patients=tuple(
            FoldPatientScore(**vars(one), fold=fold) for fold, scores in enumerate(found, start=1) for one in scores
        ),
    )


def _say_worse(network: Candidate, winner: Candidate) -> str:
    return (
        f"{network.name} is left out: its mean Dice is {network.dice:.4f} on the validation patients, on which it was "
        f"trained, but that of {winner.name} is {winner.dice:.4f} without having seen them"
    )


def _configs(
    winner: TrialRow, config: SearchConfig, cohort: Cohort, seed: int, tasks: TaskRunner
) -> tuple[NetworkConfig, TrainConfig, int]:
    """Return the network, the training without early stopping, and the number of threads, for this configuration."""
    fixed = config.shared_settings(cohort.train_pack.num_channels)
    fixed = replace(fixed, seed=seed, patience=0, measure_latency=False, loader_processes=tasks.loader_processes)
    return *to_configs(winner.sample, fixed), tasks.num_threads


def _train_to_file(network: NetworkConfig, config: TrainConfig, num_threads: int, pack: Pack, file: Path) -> str | None:
    """Train on all patients of a pack and write the checkpoint of the last epoch; return why that failed, or None."""
    torch.set_num_threads(num_threads)
    *_, last = train(network, config, pack, None)
    if last.failure:
        return f"{file.stem} is left out: its training failed: {last.failure}"
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, last.state.to_bytes())
    return None


def _train_and_score(
    network: NetworkConfig,
    config: TrainConfig,
    num_threads: int,
    pack: Pack,
    held_out: Sequence[Patient],
    settings: Settings,
) -> list[PatientScore] | str:
    """Return the scores of the held-out patients by a network trained on the rest of the pack, or why that failed."""
    torch.set_num_threads(num_threads)
    names = {patient.id for patient in held_out}
    *_, last = train(
        network, config, pack.select(name for name in pack.patient_ids if name not in names), pack.select(names)
    )
    if last.failure:
        return f"the training without {', '.join(sorted(names)[:4])} failed: {last.failure}"
    return score([last.state.network], held_out, settings)
