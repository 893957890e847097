"""The winning configuration, trained again with other seeds, or cross-validated."""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel

from data.atomic import write
from data.errors import UserError
from data.pack import Pack, join_packs
from data.patient import Patient
from data.split import in_hash_order
from model.scoring.scores import PatientScore
from model.scoring.summary import summarise
from model.segmentation_network import NetworkConfig
from model.settings import Settings
from model.training.train import train
from model.training.train_config import TrainConfig
from search.cluster.task_runner import TaskRunner
from search.cohort import Cohort
from search.config import SearchConfig
from search.promotion.candidates import Candidate, score, score_checkpoint
from search.record.epochs import METRIC
from search.record.model_metrics import CrossValidationRecord, FoldPatientScore
from search.record.trials import TrialRow
from search.space import to_configs

FINAL_FOLDER = "final"
"""The folder of an experiment for checkpoints that are trained after the search."""

AVERAGED_SHARE = 0.25
"""Fraction of the epochs, the last ones, whose weights are averaged: Izmailov et al. 2018 (arXiv:1803.05407), 4.1."""


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
    winner: TrialRow, config: SearchConfig, cohort: Cohort, settings: Settings, tasks: TaskRunner
) -> list[Candidate]:
    """Train the winning configuration with other seeds, and return the networks as candidates.

    Each training gives two candidates: the network after its best epoch, and one with the average of the weights of its
    last epochs. A training whose checkpoint is on disk from an earlier promotion is not repeated. If one fails, a note
    is printed, and its network after the best epoch until then is still a candidate.
    """
    seeds = range(config.seed + 1, config.seed + 1 + config.promotion.final_seeds)
    names = [f"{winner.id}-seed{seed}" for seed in seeds]
    files = [config.folder.resolve() / FINAL_FOLDER / f"{name}.pt" for name in names]
    packs = tasks.share(cohort.train_pack), tasks.share(cohort.val_pack)
    calls = [
        (*_configs(winner, config, cohort, seed, tasks), *packs, file)
        for seed, file in zip(seeds, files, strict=True)
        if not file.exists()
    ]
    for problem in filter(None, tasks.map(_train_to_file, calls)):
        print(f"note: {problem}", file=sys.stderr)
    return _score_files([*files, *map(_averaged, files)], winner, cohort.val_patients, settings, tasks)


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


def _score_files(
    files: Sequence[Path], winner: TrialRow, patients: Sequence[Patient], settings: Settings, tasks: TaskRunner
) -> list[Candidate]:
    """Return the files that exist as candidates; no training has reported a Dice for an average."""
    found = [file for file in files if file.exists()]
    candidates = tasks.map(score_checkpoint, [(file.stem, winner, file, patients, settings) for file in found])
    averages = {_averaged(file) for file in files}
    return [
        replace(candidate, reported_dice=math.nan) if file in averages else candidate
        for file, candidate in zip(found, candidates, strict=True)
    ]


def _averaged(file: Path) -> Path:
    """Return the file for the averaged weights of a training."""
    return file.with_stem(f"{file.stem}-average")


def _configs(
    winner: TrialRow, config: SearchConfig, cohort: Cohort, seed: int, tasks: TaskRunner
) -> tuple[NetworkConfig, TrainConfig, int]:
    """Return the network, the training without early stopping, and the number of threads, for this configuration."""
    fixed = config.shared_settings(cohort.train_pack.num_channels)
    fixed = replace(fixed, seed=seed, patience=0, measure_latency=False, loader_processes=tasks.loader_processes)
    return *to_configs(winner.sample, fixed), tasks.num_threads


def _train_to_file(
    network: NetworkConfig, config: TrainConfig, num_threads: int, train_pack: Pack, val_pack: Pack, file: Path
) -> str | None:
    """Train, and write two checkpoints: after the best epoch, and with the averaged weights of the last epochs.

    Return why the training failed, or None. If it failed, no average is written.
    """
    torch.set_num_threads(num_threads)
    best, content, average, last, failure = -1.0, None, None, None, None
    for result in train(network, config, train_pack, val_pack):
        last, failure = result.state, result.failure
        if failure:
            break
        if content is None or result.metrics[METRIC] > best:
            best, content = result.metrics[METRIC], result.state.to_bytes()
        if result.state.epoch > (1 - AVERAGED_SHARE) * config.max_epochs:
            average = average or AveragedModel(result.state.network, use_buffers=True)
            average.update_parameters(result.state.network)
    file.parent.mkdir(parents=True, exist_ok=True)
    if average and last and not failure:
        last.network.load_state_dict(average.module.state_dict())
        write(_averaged(file), last.to_bytes())
    if content is not None:  # written last: a training with this file is not repeated
        write(file, content)
    return failure and f"the training of {file.stem} failed: {failure}"


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
