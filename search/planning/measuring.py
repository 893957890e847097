"""Measure what an epoch of the default configuration takes, where and with what a lane will train."""

import time
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch

from data.loaders import num_train_batches
from data.packing.pack import Pack
from model.segmentation_network import NetworkConfig
from model.training.train import Halted, train
from model.training.train_config import TrainConfig
from search.cluster.capacity.lane_plan import LanePlan
from search.cluster.task_runner import TaskRunner
from search.cohort import Cohort
from search.config import SearchConfig
from search.space.configs import default_sample, to_configs

MEASURED_EPOCHS = 2
"""The first epoch also starts threads and fills caches, so the second counts."""

VALIDATION_COST = 1 / 3
"""Cost of predicting a slice relative to training on it, where that cannot be measured: the forward pass alone."""


@dataclass(frozen=True, kw_only=True)
class MeasuredEpoch:
    """What an epoch takes on one worker."""

    seconds: float
    """With validation."""

    val_seconds: float
    """The part that validation takes."""


def measure_epoch(config: SearchConfig, cohort: Cohort, lanes: LanePlan, *, at_most_seconds: float) -> MeasuredEpoch:
    """Return what an epoch of the default configuration takes.

    It is trained as a task that books what a worker books, so a cluster runs it where lanes run, and an autoscaler adds
    a machine for it as for a lane. Like a lane, it waits until there is room.

    Args:
        at_most_seconds: Training stops after this time. If two epochs have not ended by then, the length of one is
            computed from the batches after the first.
    """
    tasks = TaskRunner(lanes)
    shared = replace(
        config.shared_settings(cohort.train_pack.num_channels),
        max_epochs=MEASURED_EPOCHS,
        patience=0,
        measure_latency=False,
        loader_processes=tasks.loader_processes,
    )
    network, training = to_configs(default_sample(config.search_space), shared)
    packs = tasks.share(cohort.train_pack), tasks.share(cohort.val_pack)
    return tasks.run(time_epoch, network, training, tasks.num_threads, *packs, at_most_seconds)


def time_epoch(
    network: NetworkConfig,
    config: TrainConfig,
    num_threads: int,
    train_pack: Pack,
    val_pack: Pack,
    at_most_seconds: float,
) -> MeasuredEpoch:
    """Return what the second epoch takes; if there is no time for it, what the first takes without warming up."""
    torch.set_num_threads(max(1, num_threads))
    began, times, epochs = time.perf_counter(), [], []

    def is_late() -> bool:
        times.append(time.perf_counter())
        return times[-1] - began > at_most_seconds

    with suppress(Halted):
        for result in train(network, config, train_pack, val_pack, halt=is_late):
            epochs.append(MeasuredEpoch(seconds=result.metrics["seconds"], val_seconds=result.metrics["val_seconds"]))
    if len(epochs) == MEASURED_EPOCHS or len(times) < 2:
        return epochs[-1] if epochs else MeasuredEpoch(seconds=times[0] - began, val_seconds=0.0)
    num_batches = num_train_batches(train_pack, batch_size=config.batch_size)
    seconds = np.diff(times[:num_batches])  # of the batches of the first epoch, without its last
    training = num_batches * float(np.mean(seconds[1:] if len(seconds) > 1 else seconds))
    validation = VALIDATION_COST * training * val_pack.num_slices / train_pack.num_slices
    validation = epochs[0].val_seconds if epochs else validation
    return MeasuredEpoch(seconds=training + validation, val_seconds=validation)
