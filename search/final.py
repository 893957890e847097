"""The winning configuration, trained again: with other seeds, or on other patients."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from data.pack import Pack, join_packs
from data.patient import Patient
from data.split import in_hash_order
from model.durable import write
from model.evaluate import PatientScore, summarise
from model.settings import Settings
from model.train import TrainConfig, train
from model.unet import UNetConfig
from search.cohort import Cohort
from search.config import SearchConfig
from search.rescore import Candidate, score, score_checkpoint
from search.space import to_configs
from search.tasks import Tasks
from search.trials import METRIC, TrialRow

FINAL_FOLDER = "final"


def check_folds(config: SearchConfig, cohort: Cohort) -> None:
    """Make sure, before anything is trained, that every fold of a cross-validation has a patient.

    Raises:
        ValueError: There are more folds than patients.
    """
    num_patients = len(cohort.train_patients) + len(cohort.val_patients)
    if config.promotion.folds > num_patients:
        raise ValueError(
            f"folds is {config.promotion.folds}, but there are {num_patients} training and validation patients: give "
            "at most as many"
        )


def train_with_seeds(
    winner: TrialRow, config: SearchConfig, cohort: Cohort, settings: Settings, tasks: Tasks
) -> list[Candidate]:
    """Return the winning configuration trained for all its epochs with other seeds, each at its best epoch.

    One that is on disk already, from an earlier promotion, is not trained again. A training that fails is said, and
    counts as far as it came.
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
    scoring = [
        (name, winner, file, cohort.val_patients, settings)
        for name, file in zip(names, files, strict=True)
        if file.exists()
    ]
    return tasks.map(score_checkpoint, scoring)


def cross_validate(
    winner: TrialRow, config: SearchConfig, cohort: Cohort, settings: Settings, tasks: Tasks
) -> dict[str, Any]:
    """Return the scores of every training and validation patient by a network that was trained without it.

    The search has chosen the configuration on these patients, so this is a little too good; the test patients are not
    among them. The network is that of the last epoch, so that a fold does not choose its own.
    """
    pack = tasks.share(join_packs([cohort.train_pack, cohort.val_pack]))
    patients = {patient.id: patient for patient in (*cohort.train_patients, *cohort.val_patients)}
    order = in_hash_order(patients, seed=config.seed)
    folds = [order[fold :: config.promotion.folds] for fold in range(config.promotion.folds)]
    configs = _configs(winner, config, cohort, config.seed, tasks)
    calls = [(*configs, pack, tuple(patients[name] for name in fold), settings) for fold in folds]
    found: list[list[PatientScore] | str] = tasks.map(_train_and_score, calls)
    failures = [problem for problem in found if isinstance(problem, str)]
    found = [scores for scores in found if not isinstance(scores, str)]
    return {
        "num_folds": len(folds),
        "failures": failures,
        "summary": summarise([one for scores in found for one in scores]),
        "folds": [summarise(scores) for scores in found],
        "patients": [asdict(one) | {"fold": fold} for fold, scores in enumerate(found, start=1) for one in scores],
    }


def _configs(
    winner: TrialRow, config: SearchConfig, cohort: Cohort, seed: int, tasks: Tasks
) -> tuple[UNetConfig, TrainConfig, int]:
    """Return what a trial of this configuration is, without early stopping, and the cores that it has."""
    fixed = config.fixed(cohort.train_pack.num_channels)
    fixed = replace(fixed, seed=seed, patience=0, measure_latency=False, loader_processes=tasks.loader_processes)
    return *to_configs(winner.sample, fixed), tasks.num_threads


def _train_to_file(
    unet: UNetConfig, config: TrainConfig, num_threads: int, train_pack: Pack, val_pack: Pack, file: Path
) -> str | None:
    """Train, and leave the state after the best epoch in the file; return what went wrong, if anything did."""
    torch.set_num_threads(num_threads)
    best, content, failure = -1.0, None, None
    for result in train(unet, config, train_pack, val_pack):
        if result.failure:
            failure = result.failure
        elif content is None or result.metrics[METRIC] > best:
            best, content = result.metrics[METRIC], result.state.to_bytes()
    if content is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, content)
    return failure and f"the training of {file.stem} failed: {failure}"


def _train_and_score(
    unet: UNetConfig,
    config: TrainConfig,
    num_threads: int,
    pack: Pack,
    held_out: Sequence[Patient],
    settings: Settings,
) -> list[PatientScore] | str:
    """Return the held-out patients' scores by a network that was trained on all others of the pack, or what failed."""
    torch.set_num_threads(num_threads)
    names = {patient.id for patient in held_out}
    *_, last = train(
        unet, config, pack.select(name for name in pack.patient_ids if name not in names), pack.select(names)
    )
    if last.failure:
        return f"the training without {', '.join(sorted(names)[:4])} failed: {last.failure}"
    return score([last.state.network], held_out, settings)
