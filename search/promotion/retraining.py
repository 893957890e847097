"""Trainings after the search: a trial's configuration again, on other patients or with another seed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from data.atomic import write
from data.packing.pack import Pack, join_packs
from data.patient import Patient
from model.segmentation_network import NetworkConfig
from model.settings import Settings
from model.training.train import train
from model.training.train_config import TrainConfig
from search.cluster.task_runner import TaskRunner
from search.cohort import Cohort
from search.config import SearchConfig
from search.planning.deadline import Deadline
from search.promotion.candidates import Candidate, score_checkpoint
from search.record.trials import TrialRow
from search.space.configs import own_networks, to_configs

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
    epochs: int
    held_out: tuple[str, ...] = ()
    """Ids of the patients that it does not see."""

    last_start: Deadline | None = None
    """It does not begin after this moment; None: it begins whenever a machine is free."""

    def file(self, config: SearchConfig) -> Path:
        """Return the path of its checkpoint."""
        return config.folder.resolve() / FINAL_FOLDER / f"{self.name}.pt"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a training left no checkpoint."""

    reason: str
    has_begun: bool = True
    """Whether it was trained at all; a budget may have no time left for it."""


class Retrainer:
    """Trains configurations again on the training and validation patients of one cohort, and scores the networks."""

    def __init__(self, config: SearchConfig, cohort: Cohort, settings: Settings, tasks: TaskRunner) -> None:
        """Share nothing yet; the slices are shared once, by the first training."""
        self.config = config
        self.val_patients = cohort.val_patients
        self.patients = {patient.id: patient for patient in (*cohort.train_patients, *cohort.val_patients)}
        """The training and validation patients, by id."""
        self._cohort, self._settings, self._tasks = cohort, settings, tasks

    def train_and_score(
        self, wanted: Sequence[Retraining], patients: Sequence[Patient]
    ) -> tuple[list[Candidate], dict[str, Failure]]:
        """Train what is not on disk from an earlier promotion, and score the networks on the patients.

        Return them as candidates with the names of their trainings, and why each other training failed or did not
        begin, by name.
        """
        failures = self._train([one for one in wanted if not one.file(self.config).exists()])
        trained = [one for one in wanted if one.name not in failures]
        calls = [(one.name, one.row, one.file(self.config), patients, self._settings) for one in trained]
        score = partial(score_checkpoint, own=own_networks(self.config.search_space))
        return self._tasks.map(score, calls), failures

    def _train(self, missing: Sequence[Retraining]) -> dict[str, Failure]:
        calls = [
            (
                *self._configs(one),
                self._tasks.num_threads,
                self._pack,
                one.held_out,
                one.file(self.config),
                one.last_start,
            )
            for one in missing
        ]
        failures = self._tasks.map(_train_to_file, calls)
        return {one.name: failure for one, failure in zip(missing, failures, strict=True) if failure}

    @cached_property
    def _pack(self) -> Any:
        """Share the slices of all patients, and return what the task runner returns for them."""
        return self._tasks.share(join_packs([self._cohort.train_pack, self._cohort.val_pack]))

    def _configs(self, wanted: Retraining) -> tuple[NetworkConfig, TrainConfig]:
        shared = self.config.shared_settings(self._cohort.train_pack.num_channels)
        shared = replace(
            shared,
            max_epochs=wanted.epochs,
            seed=wanted.seed,
            patience=0,
            measure_latency=False,
            loader_processes=self._tasks.loader_processes,
        )
        return to_configs(wanted.row.sample, shared)


def _train_to_file(
    network: NetworkConfig,
    config: TrainConfig,
    num_threads: int,
    pack: Pack,
    held_out: Sequence[str],
    file: Path,
    last_start: Deadline | None,
) -> Failure | None:
    """Train, and write the checkpoint of the last epoch; return why there is none, or None."""
    if last_start is not None and last_start.has_passed:
        return Failure(reason="the budget had no time left for it", has_begun=False)
    torch.set_num_threads(num_threads)
    seen = pack.select(name for name in pack.patient_ids if name not in held_out) if held_out else pack
    *_, last = train(network, config, seen, None)
    if last.failure:
        return Failure(reason=last.failure)
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, last.state.to_bytes())
    return None
