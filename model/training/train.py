"""The training loop, as a generator: one result an epoch, and no callback, no trainer, no Ray.

Whoever iterates is in charge: a search, a test, or three lines in a notebook. With a `torch.distributed` process group
it trains data-parallel; without one, alone. Both see the same global batches.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.loaders import Batch, num_train_batches
from data.pack import Pack
from model.device import PRECISIONS, Device, find_device
from model.networks import build
from model.segmentation_network import NetworkConfig
from model.training import parallel
from model.training.checkpoint import TrainState, UnderWay
from model.training.costs import network_costs
from model.training.loader_processes import train_loader
from model.training.losses import bce_dice_loss
from model.training.validate import validate


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How one network is trained."""

    max_epochs: int
    """Epochs of the whole schedule; the learning rate reaches zero at its end."""

    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""

    weight_decay: float = 1e-2
    """AdamW's decoupled weight decay; PyTorch's default."""

    batch_size: int = 16
    """Slices in a global batch, shared among the workers."""

    bce_weight: float = 0.5
    """Share of binary cross-entropy in the loss; the rest is Dice."""

    augment: float = 1.0
    """Strength of augmentation: 0 is none, 1 the usual, 2 twice that."""

    warmup_fraction: float = 0.05
    """Share of the schedule in which the learning rate rises linearly, before the cosine."""

    clip_norm: float = 1.0
    """Largest norm of the whole gradient; instance norm and Dice give rare large ones."""

    patience: int = 0
    """Epochs without a better validation Dice after which training ends early; 0 never ends early."""

    precision: str = "auto"
    """'float32', 'bf16', 'fp16', or 'auto': the fastest that the device has units for."""

    seed: int = 0
    """Seeds weights, order, augmentation and dropout."""

    measure_latency: bool = False
    """Whether the metrics have the network's `latency_ms`, measured once, before the first epoch."""

    loader_processes: int = 0
    """Processes that augment slices; 0: a thread does, which is enough for a CPU (LOG.md)."""

    def __post_init__(self) -> None:
        for name, low in (("max_epochs", 1), ("batch_size", 1), ("loader_processes", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least {low}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}, but must be > 0")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay is {self.weight_decay}, but must be at least 0")
        for name in ("bce_weight", "warmup_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be from 0 to 1")
        if not self.clip_norm > 0:
            raise ValueError(f"clip_norm is {self.clip_norm}, but must be > 0")
        if self.precision not in ("auto", *PRECISIONS):
            raise ValueError(f"precision is {self.precision!r}, but must be one of auto, {', '.join(PRECISIONS)}")
        if self.patience < 0:
            raise ValueError(f"patience is {self.patience}, but must be at least 0 (0 never ends early)")


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What one epoch brought. Metrics without `train` are of the validation patients, volumetric and per patient."""

    metrics: dict[str, float | int]
    """epoch, train_loss, val_dice, val_iou, val_precision, val_recall, val_accuracy, learning_rate, seconds (of
    which val_seconds, waiting_seconds); million_parameters, and latency_ms if asked for, are the network's."""

    state: TrainState
    """The training as it stands; it lives on, so take its bytes before asking for the next epoch."""

    finished: bool
    """This was the last epoch, by schedule, by patience or by failure."""

    failure: str | None = None
    """Why the training cannot go on, the same on all ranks."""


class Halted(Exception):
    """Training stopped between two batches of an epoch, as it was asked to, and goes on there from `state`."""

    def __init__(self, state: TrainState) -> None:
        super().__init__(f"halted after batch {state.under_way.num_batches} of epoch {state.epoch + 1}")
        self.state = state


def train(
    network_config: NetworkConfig,
    config: TrainConfig,
    train_pack: Pack,
    val_pack: Pack,
    *,
    resume_from: bytes | None = None,
    halt: Callable[[], bool] = lambda: False,
) -> Iterator[EpochResult]:
    """Return the epochs of one training, each computed when it is asked for.

    Args:
        resume_from: The bytes of a `TrainState`; training goes on after its last batch. If that was the last one of
            all, the last epoch's result is yielded once more, so that there is always a result.
        halt: Is asked before every batch whether training shall stop there; one rank that says so is enough. The epoch
            is finished all the same if all its batches are done.

    Raises:
        Halted: `halt` said so.
        CheckpointError: `resume_from` is not a checkpoint of this network.
        ValueError: The batch cannot be shared among the workers, or the slices do not suit the network.
    """
    device = find_device(config.precision, channels_last_on_cpu=network_config.channels_last_on_cpu)
    torch.manual_seed(config.seed)  # the same weights on every rank
    steps_per_epoch = num_train_batches(train_pack, np.arange(train_pack.num_slices), batch_size=config.batch_size)
    state = _start(network_config, config, device, steps_per_epoch)
    if resume_from is not None:
        state.restore(resume_from)
    if _is_finished(state.history, config):
        yield EpochResult(metrics=state.history[-1], state=state, finished=True)
    costs = network_costs(state, train_pack.masks.shape[1:], device, measure_latency=config.measure_latency)
    network = parallel.distribute(state.network, device)
    with _train_loader(train_pack, config) as batches:
        while not _is_finished(state.history, config):
            started = time.perf_counter() - state.under_way.seconds
            loss, waited = _train_epoch(network, state, config, batches, device, halt)
            trained = time.perf_counter()
            failure = None if math.isfinite(loss) else f"train_loss was {loss} in epoch {state.epoch + 1}"
            scores = {} if failure else validate(state.network, val_pack, device, config.batch_size)
            epoch = {
                "epoch": state.epoch + 1,
                "train_loss": loss,
                **{f"val_{name}": score for name, score in scores.items()},
                "learning_rate": state.schedule.get_last_lr()[0],
                "seconds": time.perf_counter() - started,
                "val_seconds": time.perf_counter() - trained,
                "waiting_seconds": waited,
                **costs,
            }
            state.history.append(epoch)
            state.under_way = UnderWay()
            finished = failure is not None or _is_finished(state.history, config)
            yield EpochResult(metrics=epoch, state=state, finished=finished, failure=failure)
            if failure:
                return


def _start(network_config: NetworkConfig, config: TrainConfig, device: Device, steps_per_epoch: int) -> TrainState:
    network = build(network_config).to(device.device, memory_format=device.memory_format)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    num_steps = config.max_epochs * steps_per_epoch
    num_warmup = round(config.warmup_fraction * num_steps)

    def factor(step: int) -> float:
        if step < num_warmup:
            return (step + 1) / num_warmup
        return 0.5 * (1 + math.cos(math.pi * (step - num_warmup) / max(1, num_steps - num_warmup)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    scaler = torch.amp.GradScaler(device.device.type, enabled=device.precision == "fp16")
    return TrainState(network, optimizer, schedule, scaler)


def _train_loader(pack: Pack, config: TrainConfig) -> AbstractContextManager[Callable[..., Iterator[Batch]]]:
    return train_loader(
        pack,
        batch_size=config.batch_size,
        seed=config.seed,
        rank=parallel.rank(),
        world_size=parallel.world_size(),
        augment=config.augment,
        num_processes=config.loader_processes,
    )


def _train_epoch(
    network: torch.nn.Module,
    state: TrainState,
    config: TrainConfig,
    batches: Callable[..., Iterator[Batch]],
    device: Device,
    halt: Callable[[], bool],
) -> tuple[float, float]:
    """Return the mean loss over the global batches of an epoch, and the seconds spent waiting for data."""
    epoch, done = state.epoch + 1, state.under_way
    network.train()
    rank, votes = parallel.rank(), parallel.Votes(device)
    total = done.losses_of(rank, parallel.world_size()).to(device.device)
    waited, began = done.waiting_seconds, time.perf_counter()
    with closing(batches(epoch=epoch, first=done.num_batches)) as found:
        asked = began
        for index, batch in enumerate(found, start=done.num_batches):
            waited += time.perf_counter() - asked
            if votes.ask(halt()):
                state.under_way = UnderWay(
                    num_batches=index,
                    losses=parallel.rows_of_ranks(total).cpu(),
                    seconds=done.seconds + time.perf_counter() - began,
                    waiting_seconds=waited,
                )
                raise Halted(state)
            device.seed(config.seed, epoch, index, rank)
            loss = _train_step(network, state, config, batch, device)
            total += torch.stack([loss.detach(), torch.ones_like(loss)])
            asked = time.perf_counter()
    parallel.sum_over_ranks(total)
    return (total[0] / total[1]).item(), waited


def _train_step(
    network: torch.nn.Module, state: TrainState, config: TrainConfig, batch: Batch, device: Device
) -> Tensor:
    images, masks = device.put(batch.images), device.put(batch.masks)
    with device.autocast():
        logits = network(images)
    loss = bce_dice_loss(logits.float(), masks, bce_weight=config.bce_weight)
    state.optimizer.zero_grad()
    state.scaler.scale(loss).backward()
    state.scaler.unscale_(state.optimizer)
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.schedule.step()
    return loss


def _is_finished(history: list[dict[str, float | int]], config: TrainConfig) -> bool:
    scores = [-math.inf if math.isnan(dice := epoch.get("val_dice", math.nan)) else dice for epoch in history]
    best = max(range(len(scores)), key=lambda index: (scores[index], -index), default=0)
    return len(history) >= config.max_epochs or 0 < config.patience <= len(scores) - 1 - best
