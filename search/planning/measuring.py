"""Measure what an epoch of the default configuration takes, where and with what a lane will train."""

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from data.loaders import num_train_batches
from data.pack import Pack
from model.segmentation_network import NetworkConfig
from model.training.train import EpochResult, Halted, train
from model.training.train_config import TrainConfig
from search.cluster.capacity.lane_plan import LanePlan
from search.cluster.task_runner import TaskRunner
from search.cohort import Cohort
from search.config import SearchConfig
from search.space import SPACES, default_sample, to_configs

MEASURED_EPOCHS = 2
"""The first epoch also starts threads and fills caches, so the second one counts."""

VALIDATION_COST = 1 / 3
"""Cost of predicting a slice relative to training on it, where that cannot be measured: the forward pass alone."""


@dataclass(frozen=True, kw_only=True)
class MeasuredEpoch:
    """What an epoch of the default configuration takes."""

    seconds: float
    """With validation."""

    val_seconds: float
    """The part that validation takes."""


def measure_epoch(config: SearchConfig, cohort: Cohort, lanes: LanePlan, *, at_most_seconds: float) -> MeasuredEpoch:
    """Return what an epoch takes on one worker, divided by the number of workers of a lane, which share its batches.

    It is trained as a task that books what a worker books, so a cluster runs it where lanes run, and an autoscaler adds
    a machine for it as for a lane. Like a lane, it waits until there is room.

    Args:
        at_most_seconds: Training stops after this time. If no epoch has ended by then, its length is extrapolated.
    """
    tasks = TaskRunner(lanes)
    shared = replace(
        config.shared_settings(cohort.train_pack.num_channels),
        max_epochs=MEASURED_EPOCHS,
        patience=0,
        measure_latency=False,
        loader_processes=tasks.loader_processes,
    )
    network, training = to_configs(default_sample(SPACES[config.space]), shared)
    packs = tasks.share(cohort.train_pack), tasks.share(cohort.val_pack)
    found: MeasuredEpoch = tasks.run(time_epoch, network, training, tasks.num_threads, *packs, at_most_seconds)
    return MeasuredEpoch(
        seconds=found.seconds / lanes.num_workers,
        val_seconds=found.val_seconds / lanes.num_workers,
    )


def time_epoch(
    network: NetworkConfig,
    config: TrainConfig,
    num_threads: int,
    train_pack: Pack,
    val_pack: Pack,
    at_most_seconds: float,
) -> MeasuredEpoch:
    """Return what the last epoch takes that fits into the time; if none fits, what the first one would take."""
    torch.set_num_threads(max(1, num_threads))
    began, last = time.perf_counter(), None

    def is_late() -> bool:
        return time.perf_counter() - began > at_most_seconds

    try:
        for result in train(network, config, train_pack, val_pack, halt=is_late):
            last = result
            if 2 * (time.perf_counter() - began) > at_most_seconds:  # another epoch would be cut off
                break
    except Halted as halted:
        return _extrapolate(halted, config, train_pack, val_pack) if last is None else _measured(last)
    assert last is not None, "a training has an epoch"
    return _measured(last)


def _measured(result: EpochResult) -> MeasuredEpoch:
    return MeasuredEpoch(seconds=result.metrics["seconds"], val_seconds=result.metrics["val_seconds"])


def _extrapolate(halted: Halted, config: TrainConfig, train_pack: Pack, val_pack: Pack) -> MeasuredEpoch:
    """Return what an epoch would take of which only the first batches were trained."""
    done = halted.state.partial_epoch
    num_batches = num_train_batches(train_pack, np.arange(train_pack.num_slices), batch_size=config.batch_size)
    training = done.seconds * num_batches / max(1, done.num_batches)
    validation = VALIDATION_COST * training * val_pack.num_slices / train_pack.num_slices
    return MeasuredEpoch(seconds=training + validation, val_seconds=validation)
