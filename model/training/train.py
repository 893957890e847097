"""The training loop, as a generator: it yields one result per epoch, and needs no callback, no trainer and no Ray.

The caller iterates and is in charge: a search, a test, or a few lines in a notebook. In a `torch.distributed` process
group the loop trains data-parallel; without one, in this process alone. The global batches are the same in both cases.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from data.loaders import Batch, num_train_batches
from data.packing.pack import Pack
from model.device import Device, find_device
from model.networks import build, start_weights
from model.segmentation_network import NetworkConfig, SegmentationNetwork
from model.training import parallel
from model.training.checkpoint import PartialEpoch, TrainState
from model.training.costs import network_costs
from model.training.loader_processes import train_loader
from model.training.losses import deep_loss
from model.training.optimisation import build_optimizer, build_schedule
from model.training.train_config import TrainConfig
from model.training.validate import validate


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """The result of one epoch."""

    metrics: dict[str, float | int]
    """epoch, train_loss, val_dice, val_iou, val_precision, val_recall, val_accuracy, learning_rate, seconds (of which
    val_seconds and waiting_seconds), million_parameters, and latency_ms if it was measured. Validation metrics are
    volumetric, means over patients; they are missing after a failure, and in a training without validation."""

    state: TrainState
    """The training as it is now. The next epoch changes it, so take its bytes before that."""

    finished: bool
    """Whether this was the last epoch, by schedule, by patience or by failure."""

    failure: str | None = None
    """Why the training cannot continue, the same on all ranks; None if it can."""


class Halted(Exception):
    """Training stopped on request between two batches of an epoch; it can be resumed there from `state`."""

    def __init__(self, state: TrainState) -> None:
        super().__init__(f"halted after batch {state.partial_epoch.num_batches} of epoch {state.epoch + 1}")
        self.state = state


@dataclass(frozen=True, kw_only=True)
class _Training:
    """Everything that the epochs of one training share."""

    config: TrainConfig
    device: Device
    state: TrainState
    network: nn.Module
    """Returns all logits of the state's network, with gradients averaged over all ranks."""

    batches: Callable[..., Generator[Batch, None, None]]
    halt: Callable[[], bool]


class _AllLogits(nn.Module):
    """A network whose call returns the logits of all its resolutions: DistributedDataParallel knows only calls."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, slices: Tensor) -> list[Tensor]:
        return self.network.deep_logits(slices)


def train(
    network_config: NetworkConfig,
    config: TrainConfig,
    train_pack: Pack,
    val_pack: Pack | None,
    *,
    resume_from: bytes | None = None,
    halt: Callable[[], bool] = lambda: False,
) -> Iterator[EpochResult]:
    """Yield the result of each epoch of a training; an epoch is computed when the caller asks for its result.

    Args:
        val_pack: The patients on which every epoch is validated. None: there is no validation, and no `val_` metric.
        resume_from: The bytes of a `TrainState`. Training continues after its last batch. If all epochs are done, the
            last result is yielded again, so that there is always one.
        halt: Called before every batch; training stops there if it returns True on at least one rank. After the last
            batch of an epoch it is not called, so that the epoch is finished.

    Raises:
        Halted: `halt` returned True.
        CheckpointError: `resume_from` is not a checkpoint of this network.
        UserError: The batch cannot be shared among the workers, or the slices do not suit the network.
    """
    device = find_device(config.precision, channels_last_on_cpu=network_config.channels_last_on_cpu)
    device = parallel.at_common_precision(device)
    torch.manual_seed(config.seed)  # the same weights on every rank
    steps_per_epoch = num_train_batches(train_pack, batch_size=config.batch_size)
    state = _start(network_config, config, device, steps_per_epoch, resume_from)
    if _is_finished(state.history, config):
        yield EpochResult(metrics=state.history[-1], state=state, finished=True)
    height, width = train_pack.masks.shape[1:]
    costs = network_costs(state, (height, width), device, measure_latency=config.measure_latency)
    network = parallel.distribute(_AllLogits(state.network), device)
    with _train_loader(train_pack, config) as batches:
        training = _Training(config=config, device=device, state=state, network=network, batches=batches, halt=halt)
        while not _is_finished(state.history, config):
            yield (result := _run_epoch(training, val_pack, costs))
            if result.failure:
                return


def _start(
    network_config: NetworkConfig, config: TrainConfig, device: Device, steps_per_epoch: int, resume_from: bytes | None
) -> TrainState:
    """Return the state before the next batch; a resumed training needs no pretrained weights."""
    network = build(network_config)
    if resume_from is None:
        start_weights(network)
    network = device.move(network)
    optimizer = build_optimizer(network, config)
    schedule = build_schedule(optimizer, config, num_steps=config.max_epochs * steps_per_epoch)
    scaler = torch.amp.GradScaler(device.device.type, enabled=device.precision == "fp16")
    state = TrainState(network, optimizer, schedule, scaler)
    if resume_from is not None:
        state.restore(resume_from)
    return state


def _train_loader(
    pack: Pack, config: TrainConfig
) -> AbstractContextManager[Callable[..., Generator[Batch, None, None]]]:
    return train_loader(
        pack,
        batch_size=config.batch_size,
        seed=config.seed,
        rank=parallel.rank(),
        world_size=parallel.world_size(),
        augment=config.augmentation,
        num_processes=config.loader_processes,
    )


def _run_epoch(training: _Training, val_pack: Pack | None, costs: dict[str, float]) -> EpochResult:
    """Train and validate for one epoch, or for what is left of it."""
    state, config = training.state, training.config
    started = time.perf_counter() - state.partial_epoch.seconds
    loss, waited = _train_epoch(training)
    trained = time.perf_counter()
    failure = None if math.isfinite(loss) else f"train_loss was {loss} in epoch {state.epoch + 1}"
    scores = {}
    if val_pack is not None and not failure:
        scores = validate(state.network, val_pack, training.device, config.batch_size)
    metrics = {
        "epoch": state.epoch + 1,
        "train_loss": loss,
        **{f"val_{name}": score for name, score in scores.items()},
        "learning_rate": state.schedule.get_last_lr()[0],
        "seconds": time.perf_counter() - started,
        "val_seconds": time.perf_counter() - trained,
        "waiting_seconds": waited,
        **costs,
    }
    state.history.append(metrics)
    state.partial_epoch = PartialEpoch()
    finished = failure is not None or _is_finished(state.history, config)
    return EpochResult(metrics=metrics, state=state, finished=finished, failure=failure)


def _train_epoch(training: _Training) -> tuple[float, float]:
    """Return the mean loss over the global batches of an epoch, and the seconds spent waiting for data."""
    state, config, device = training.state, training.config, training.device
    epoch, done = state.epoch + 1, state.partial_epoch
    training.network.train()
    rank, votes = parallel.rank(), parallel.Votes(device)
    total = done.losses_of(rank, parallel.world_size()).to(device.device)
    waited, began = done.waiting_seconds, time.perf_counter()
    with closing(training.batches(epoch=epoch, first=done.num_batches)) as batches:
        asked = began
        for index, batch in enumerate(batches, start=done.num_batches):
            waited += time.perf_counter() - asked
            if votes.ask(training.halt()):
                state.partial_epoch = PartialEpoch(
                    num_batches=index,
                    losses=parallel.gather_rows(total).cpu(),
                    seconds=done.seconds + time.perf_counter() - began,
                    waiting_seconds=waited,
                )
                raise Halted(state)
            device.seed(config.seed, epoch, index, rank)
            loss = _train_step(training, batch)
            total += torch.stack([loss.detach(), torch.ones_like(loss)])
            asked = time.perf_counter()
    parallel.sum_over_ranks(total)
    return (total[0] / total[1]).item(), waited


def _train_step(training: _Training, batch: Batch) -> Tensor:
    """Take one optimisation step on a batch, and return its loss."""
    state, config, device = training.state, training.config, training.device
    images, masks = device.put(batch.images), device.put(batch.masks)
    with device.autocast():
        logits = training.network(images)
    loss = deep_loss([one.float() for one in logits], masks, config)
    state.optimizer.zero_grad()
    state.scaler.scale(loss).backward()
    state.scaler.unscale_(state.optimizer)
    torch.nn.utils.clip_grad_norm_(training.network.parameters(), config.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.schedule.step()
    return loss


def _is_finished(history: list[dict[str, float | int]], config: TrainConfig) -> bool:
    scores = [-math.inf if math.isnan(dice := epoch.get("val_dice", math.nan)) else dice for epoch in history]
    best = max(range(len(scores)), key=lambda index: (scores[index], -index), default=0)
    return len(history) >= config.max_epochs or 0 < config.patience <= len(scores) - 1 - best
