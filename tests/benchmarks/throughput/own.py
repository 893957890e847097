"""This program's training as a search runs it, and the limit: the same network on one batch that never changes."""

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from data.loaders import eval_batches
from model.device import PRECISIONS, Device, find_device
from model.networks import build
from model.training.losses import deep_loss
from model.training.optimisation import build_optimizer
from model.training.train import train
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from tests.benchmarks import timing
from tests.benchmarks.throughput.workload import Workload


class Program:
    """`model.training.train` without validation: loading, augmentation, steps and the epoch's bookkeeping."""

    def __init__(self, workload: Workload, *, norm: str, loader_processes: int = 0) -> None:
        network = UNetConfig(in_channels=workload.pack.num_channels, width=workload.width, norm=norm)
        config = TrainConfig(max_epochs=1_000_000, batch_size=workload.batch_size, loader_processes=loader_processes)
        self._epochs = train(network, config, workload.pack, None)

    def train(self) -> None:
        """Train for an epoch."""
        next(self._epochs)
        synchronise()


class Steps:
    """Training steps of one network as a search takes them, on batches that are on the device."""

    def __init__(
        self, network: UNetConfig, config: TrainConfig, device: Device, *, compile_mode: str | None = None
    ) -> None:
        self._device, self._config = device, config
        torch.manual_seed(config.seed)
        built = device.move(build(network))
        self.parameters = [*built.parameters()]
        self._optimizer = build_optimizer(built, config)
        self._network = torch.compile(built, mode=compile_mode) if compile_mode else built

    def take(self, images: Tensor, masks: Tensor) -> Tensor:
        """Take a step, and return the loss before it."""
        with self._device.autocast():
            logits = self._network(images)
        loss = deep_loss([logits.to(masks.dtype)], masks, self._config)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self._config.clip_norm)
        self._optimizer.step()
        return loss.detach()


class Resident:
    """Steps on one batch that is on the device: nothing is loaded, nothing is augmented."""

    def __init__(
        self, workload: Workload, *, norm: str, layout: torch.memory_format, compile_mode: str | None = None
    ) -> None:
        network = UNetConfig(in_channels=workload.pack.num_channels, width=workload.width, norm=norm)
        device = in_layout(layout)
        config = TrainConfig(max_epochs=1, batch_size=workload.batch_size)
        self._workload = workload
        self._steps = Steps(network, config, device, compile_mode=compile_mode)
        slices = np.resize(np.flatnonzero(workload.pack.tumour_slices), workload.batch_size)
        batch = next(eval_batches(workload.pack, slices, batch_size=workload.batch_size))
        self._batch = device.put(batch.images), device.put(batch.masks)

    def train(self) -> None:
        """Take the steps of a round."""
        for _ in range(self._workload.num_batches):
            self._steps.take(*self._batch)
        synchronise()

    def flops(self) -> int:
        """Return the floating-point operations of a step, for one slice."""
        with FlopCounterMode(display=False) as counter:
            self._steps.take(*self._batch)
        return counter.get_total_flops() // self._workload.batch_size


def in_layout(layout: torch.memory_format) -> Device:
    """Return the device to train on, in its fastest precision, with a memory layout that need not be its fastest."""
    return replace(find_device(), memory_format=layout)


def loader_processes(device: str, *, num_lanes: int = 1) -> int:
    """Return how many processes augment for a training in a search: on a GPU all cores of its share of up to 8 but one.

    As search/cluster/capacity/lane_plan.py has it, which cannot be imported without Ray.
    """
    return 0 if device == "cpu" else max(1, min(8, len(os.sched_getaffinity(0)) // num_lanes)) - 1


def matmul_rate(*, side: int = 4096, repeats: int = 5) -> float:
    """Return the floating-point operations a second of a product of two square matrices, in the fastest precision."""
    device = find_device()
    matrix = torch.randn(side, side, device=device.device).to(PRECISIONS[device.precision])
    return 2 * side**3 / min(seconds_of(lambda: matrix @ matrix) for _ in range(repeats))


def seconds_of(function: Callable[[], object]) -> float:
    """Return how long a function takes, until the device has done what it asked for."""
    synchronise()
    return timing.seconds_of(lambda: (function(), synchronise()))


def synchronise() -> None:
    """Wait until a GPU has done everything that it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
