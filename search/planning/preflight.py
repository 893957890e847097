"""Try the largest and the smallest networks of a space before a search spends hours on what cannot be trained.

Each takes one training step and validates one patient, in the precision and with the resources of a worker; and
networks of other origin are exported once, because their trainings would be worth nothing if that fails.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from data.errors import UserError
from data.packing.pack import Pack
from model.export.rehearsal import rehearse
from model.memory import limit_gpu_memory
from model.networks import DEFAULT_ARCHITECTURE
from model.segmentation_network import NetworkConfig
from model.training.first_step import FirstStep, take_first_step
from model.training.train_config import TrainConfig
from search.cluster.capacity.lane_plan import LanePlan, count_lanes, node_resources
from search.cluster.task_runner import TaskRunner
from search.cohort import Cohort
from search.config import SearchConfig
from search.console import say
from search.promotion.best_folder import default_settings
from search.record.trials import Sample
from search.space.configs import corner_samples, to_configs, without_largest
from search.space.hyperparameters import ARCHITECTURE


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How much memory the networks of a space need."""

    peak_mb: float
    """The most that a worker held, in 2**20 bytes."""

    limit_mb: float
    """What a worker may hold; inf if that is not known."""

    def __str__(self) -> str:
        limit = f" of {self.limit_mb:,.0f} MB" if math.isfinite(self.limit_mb) else ""
        return f"at most {self.peak_mb:,.0f} MB{limit} for a worker, measured with the largest network"


def check_networks(config: SearchConfig, cohort: Cohort, lanes: LanePlan) -> tuple[SearchConfig, Fit]:
    """Return the config, with a space whose networks all fit into the memory of a worker, and what they need.

    What does not fit is left out: one number after the other, by the rule of `without_largest`.

    Raises:
        UserError: A network cannot be trained or exported, or not even the smallest fits.
    """
    config.check_networks()
    config, fit = _leave_out_what_does_not_fit(config, cohort, lanes)
    _check_exports(config, cohort)  # last: it takes the longest
    return config, fit


def _leave_out_what_does_not_fit(config: SearchConfig, cohort: Cohort, lanes: LanePlan) -> tuple[SearchConfig, Fit]:
    steps = _FirstSteps(config, cohort, lanes)
    while True:
        space = config.search_space
        smallest, largest = ([*corner_samples(space, largest=largest)] for largest in (False, True))
        # In one process, because starting another takes longer than all of these steps.
        found = steps.run([*smallest, *largest])
        if problem := _most_demanding(found[: len(smallest)]).out_of_memory:
            raise UserError(
                f"not even the smallest network fits into the {steps.limit_mb:,.0f} MB that a worker has "
                f"({problem}): give a smaller --size, batch_size or width, or fewer workers on a machine"
            )
        most = _most_demanding(found)
        if not most.out_of_memory:
            return config, Fit(peak_mb=most.peak_mb, limit_mb=steps.limit_mb)
        smaller = without_largest(space)
        if smaller is None or not smaller[0].axes:
            raise UserError(
                f"the network does not fit into the {steps.limit_mb:,.0f} MB that a worker has "
                f"({most.out_of_memory}): give a smaller --size, batch_size or width"
            )
        space, left_out = smaller
        say(
            f"{left_out} is left out: the largest network does not fit into the {steps.limit_mb:,.0f} MB that a worker "
            f"has ({most.out_of_memory})."
        )
        prior = tuple(text for text in config.prior if text.partition("=")[0] in space)
        config = replace(config, space=space, prior=prior)


class _FirstSteps:
    """Takes the first steps of trainings where a lane will train."""

    def __init__(self, config: SearchConfig, cohort: Cohort, lanes: LanePlan) -> None:
        self._config, self._lanes = config, lanes
        self._shared = config.shared_settings(cohort.train_pack.num_channels)
        self._tasks = TaskRunner(lanes)
        self._train_pack = cohort.train_pack
        self._val_pack = self._tasks.share(cohort.val_pack.select(cohort.val_pack.patient_ids[:1]))
        self.limit_mb = _limit_mb(lanes)

    def run(self, samples: Sequence[Sample]) -> list[FirstStep]:
        """Return what each of the samples needed.

        Raises:
            UserError: One of them cannot be trained.
        """
        configs = [to_configs(sample, self._shared) for sample in samples]
        batch_size = max(train.batch_size for _, train in configs)
        packs = self._tasks.share(enough_patients(self._train_pack, batch_size)), self._val_pack
        arguments = (self._tasks.num_threads, self._lanes.num_workers, self._lanes.gpus_per_worker, self.limit_mb)
        found = self._tasks.run(take_first_steps, configs, *packs, *arguments, ends=True)
        for sample, (network, _), step in zip(samples, configs, found, strict=True):
            if step.failure:
                values = ", ".join(f"{name} {value}" for name, value in sample.items() if name != ARCHITECTURE)
                raise UserError(f"{network.architecture} with {values} cannot be trained: {step.failure}")
        return found


def enough_patients(pack: Pack, batch_size: int) -> Pack:
    """Return as few patients as fill a batch with slices that show tumour; all patients if they do not fill one.

    A step needs no more, and all patients of a large data set would travel to a machine for nothing.
    """
    num_tumour = np.bincount(pack.patient_of_slice, weights=pack.tumour_slices)
    order = np.argsort(-num_tumour, kind="stable")
    enough = np.searchsorted(np.cumsum(num_tumour[order]), batch_size) + 1
    return pack.select(pack.patient_ids[index] for index in order[:enough])


def _most_demanding(steps: Sequence[FirstStep]) -> FirstStep:
    return max(steps, key=lambda step: (step.out_of_memory is not None, step.peak_mb))


def take_first_steps(
    configs: Sequence[tuple[NetworkConfig, TrainConfig]],
    train_pack: Pack,
    val_pack: Pack,
    num_threads: int,
    num_workers: int,
    gpus: float,
    limit_mb: float,
) -> list[FirstStep]:
    """Return what the first step of each training needs, with the share of a batch that one worker has."""
    torch.set_num_threads(max(1, num_threads))
    limit_gpu_memory(gpus)
    limit_mb = math.inf if torch.cuda.is_available() and gpus else limit_mb
    return [
        take_first_step(
            network,
            replace(train, batch_size=max(1, train.batch_size // num_workers)),
            train_pack,
            val_pack,
            limit_mb=limit_mb,
        )
        for network, train in configs
    ]


def _limit_mb(lanes: LanePlan) -> float:
    """Return what each worker of the fullest node may hold, in 2**20 bytes, by Ray's measure of its nodes."""
    found = [math.inf]
    for node in node_resources():
        num_workers = count_lanes(replace(lanes, num_workers=1), [node])
        num_workers = min(num_workers, lanes.num_lanes * lanes.num_workers)
        if num_workers and "memory" in node:
            found.append(node["memory"] / num_workers / 2**20)
    return min(found)


def _check_exports(config: SearchConfig, cohort: Cohort) -> None:
    """Export a network of each other origin; this program's own are known to pass (tests/model/export)."""
    settings = default_settings(config, cohort)
    shared = config.shared_settings(cohort.train_pack.num_channels)
    for sample in corner_samples(config.search_space, largest=False):
        network, _ = to_configs(sample, shared)
        if network.architecture != DEFAULT_ARCHITECTURE:
            say(f"Exporting an untrained {network.architecture}, to see whether a trained one can be exported.")
            rehearse(network, settings)
