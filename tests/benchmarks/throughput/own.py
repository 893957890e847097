"""This program's training as a search runs it, and the limit: the same network on one batch that never changes."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from data.loaders import eval_batches
from model.device import PRECISIONS, Device, find_device
from model.networks import build
from model.training.losses import deep_loss
from model.training.optimisation import build_optimizer
from model.training.train import train
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from tests.benchmarks.throughput.workload import Workload


class Program:
    """`model.training.train` without validation: loading, augmentation, steps and the epoch's bookkeeping."""

    def __init__(self, workload: Workload, *, norm: str) -> None:
        network = UNetConfig(in_channels=workload.pack.num_channels, width=workload.width, norm=norm)
        config = TrainConfig(max_epochs=1_000_000, batch_size=workload.batch_size)
        self._epochs = train(network, config, workload.pack, None)

    def train(self) -> None:
        """Train for an epoch."""
        next(self._epochs)
        synchronise()


class Resident:
    """Steps on one batch that is on the device: nothing is loaded, nothing is augmented."""

    def __init__(self, workload: Workload, *, norm: str, layout: torch.memory_format, compiled: bool = False) -> None:
        config = UNetConfig(in_channels=workload.pack.num_channels, width=workload.width, norm=norm)
        fastest = find_device()
        self._device = Device(device=fastest.device, precision=fastest.precision, memory_format=layout)
        self._config = TrainConfig(max_epochs=1, batch_size=workload.batch_size)
        self._num_batches = workload.num_batches
        torch.manual_seed(0)
        network = self._device.move(build(config))
        self._parameters = [*network.parameters()]
        self._optimizer = build_optimizer(network, self._config)
        self._network = torch.compile(network) if compiled else network
        slices = np.resize(np.flatnonzero(workload.pack.tumour_slices), workload.batch_size)
        batch = next(eval_batches(workload.pack, slices, batch_size=workload.batch_size))
        self._images, self._masks = self._device.put(batch.images), self._device.put(batch.masks)

    def train(self) -> None:
        """Take the steps of a round."""
        for _ in range(self._num_batches):
            self._step()
        synchronise()

    def flops(self) -> int:
        """Return the floating-point operations of a step, for one slice."""
        with FlopCounterMode(display=False) as counter:
            self._step()
        return counter.get_total_flops() // self._config.batch_size

    def _step(self) -> None:
        with self._device.autocast():
            logits = self._network(self._images)
        loss = deep_loss([logits.float()], self._masks, self._config)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, self._config.clip_norm)
        self._optimizer.step()


def matmul_rate(*, side: int = 4096, repeats: int = 5) -> float:
    """Return the floating-point operations a second of a product of two square matrices, in the fastest precision."""
    device = find_device()
    matrix = torch.randn(side, side, device=device.device).to(PRECISIONS[device.precision])
    return 2 * side**3 / min(seconds_of(lambda: matrix @ matrix) for _ in range(repeats))


def seconds_of(function: Callable[[], object]) -> float:
    """Return how long a function takes, until the device has done what it asked for."""
    synchronise()
    began = time.perf_counter()
    function()
    synchronise()
    return time.perf_counter() - began


def synchronise() -> None:
    """Wait until a GPU has done everything that it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
