"""Trainings after the search: a trial's configuration again, on other patients or with another seed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from data.atomic import write
from data.pack import Pack
from data.patient import Patient
from model.segmentation_network import NetworkConfig
from model.settings import Settings
from model.training.train import train
from model.training.train_config import TrainConfig
from search.cluster.task_runner import TaskRunner
from search.cohort import Cohort
from search.config import SearchConfig
from search.promotion.candidates import Candidate, score_checkpoint
from search.record.trials import TrialRow
from search.space import to_configs

FINAL_FOLDER = "final"
"""The folder of an experiment for checkpoints that are trained after the search."""


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """A training to the end of the schedule, without early stopping and without validation."""

    name: str
    """Name of its checkpoint, without the ending."""

    row: TrialRow
    """The trial whose configuration is trained."""

    seed: int
    held_out: tuple[str, ...] = ()
    """Ids of the patients that it does not see."""

    def file(self, config: SearchConfig) -> Path:
        """Return the path of its checkpoint."""
        return config.folder.resolve() / FINAL_FOLDER / f"{self.name}.pt"


def train_and_score(
    wanted: Sequence[Retraining],
    patients: Sequence[Patient],
    pack: Any,
    config: SearchConfig,
    cohort: Cohort,
    settings: Settings,
    tasks: TaskRunner,
) -> tuple[list[Candidate], dict[str, str]]:
    """Train what is not on disk from an earlier promotion, and score the networks on the patients.

    Return them as candidates with the names of their trainings, and the reason for each training that failed, by name.

    Args:
        pack: What `tasks.share` returns for the slices of all training and validation patients.
    """
    failures = _train(wanted, pack, config, cohort, tasks)
    trained = [one for one in wanted if one.name not in failures]
    calls = [(one.name, one.row, one.file(config), patients, settings) for one in trained]
    return tasks.map(score_checkpoint, calls), failures


def _train(
    wanted: Sequence[Retraining], pack: Any, config: SearchConfig, cohort: Cohort, tasks: TaskRunner
) -> dict[str, str]:
    missing = [one for one in wanted if not one.file(config).exists()]
    calls = [
        (*_configs(one, config, cohort, tasks), tasks.num_threads, pack, one.held_out, one.file(config))
        for one in missing
    ]
    failures = tasks.map(_train_to_file, calls)
    return {one.name: failure for one, failure in zip(missing, failures, strict=True) if failure}


def _configs(
    wanted: Retraining, config: SearchConfig, cohort: Cohort, tasks: TaskRunner
) -> tuple[NetworkConfig, TrainConfig]:
    shared = config.shared_settings(cohort.train_pack.num_channels)
    shared = replace(
        shared, seed=wanted.seed, patience=0, measure_latency=False, loader_processes=tasks.loader_processes
    )
    return to_configs(wanted.row.sample, shared)


def _train_to_file(
    network: NetworkConfig,
    config: TrainConfig,
    num_threads: int,
    pack: Pack,
    held_out: Sequence[str],
    file: Path,
) -> str | None:
    """Train, and write the checkpoint of the last epoch; return why the training failed, or None."""
    torch.set_num_threads(num_threads)
    seen = pack.select(name for name in pack.patient_ids if name not in held_out) if held_out else pack
    *_, last = train(network, config, seen, None)
    if last.failure:
        return last.failure
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, last.state.to_bytes())
    return None
