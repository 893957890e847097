"""What a worker of a group does: it serves requests, the same to every rank at the same time.

("start", Trial)   the next trial, from its checkpoint if it has one    -> nothing is computed yet
("step",)          one epoch                                            -> Report, Failure, or Halt
("halt",)          end the epoch under way at the next batch; it is the
                   only request that comes before the last is answered  -> no answer of its own
("save", file)     the state after the last batch, by rank 0 alone      -> whether a bucket took it
("where",)         the node that it runs on                             -> its id
("slices",)        a few validation slices, by rank 0 alone             -> PredictedSlices, or None
("end",)           no more trials; the run ends
"""

import logging
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.train import get_context

from data.pack import Pack
from model.device import find_device
from model.memory import limit_gpu_memory, peak_memory_mb, reset_peak_memory
from model.segmentation_network import NetworkConfig, SegmentationNetwork
from model.training.checkpoint import TrainState
from model.training.loader_processes import ProcessLost
from model.training.sample_slices import PredictedSlices, predict_slices
from model.training.train import EpochResult, Halted, train
from model.training.train_config import TrainConfig
from search.cluster.group.channel import LocalChannel
from search.storage.storage_path import StoragePath, write_with_retries

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a group trains next."""

    network: NetworkConfig
    train: TrainConfig
    checkpoint: bytes | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a rank says of an epoch."""

    metrics: dict[str, float]
    finished: bool
    failure: str | None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What a rank says when training raised."""

    message: str
    traceback: str


@dataclass(frozen=True, kw_only=True)
class Halt:
    """What a rank says of an epoch that it was told to end before its time."""

    epoch: int
    """The last whole one; 0 before the first has ended."""

    num_batches: int
    """Of the next, those that are done."""


def serve_trials(config: dict[str, Any]) -> None:
    """Serve requests until the lane ends or is gone: the training function that Ray Train runs on every worker."""
    address = config["address"]
    channel = address if isinstance(address, LocalChannel) else address.connect(get_context().get_world_rank())
    torch.set_num_threads(max(1, config["threads"]))
    limit_gpu_memory(config["gpus"])
    train_pack, val_pack = ray.get(list(config["packs"]))
    epochs: Iterator[EpochResult] = iter(())
    state: TrainState | None = None
    while (request := _next_request(channel)) != ("end",):
        match request:
            case ("start", trial):
                state = None
                reset_peak_memory()
                epochs = train(
                    trial.network,
                    trial.train,
                    train_pack,
                    val_pack,
                    resume_from=trial.checkpoint,
                    halt=lambda: channel.poll(0.0),  # during an epoch, nothing comes but that; or the lane is gone
                )
            case ("step",):
                state, reply = _step(epochs)
                channel.send(reply)
            case ("halt",):  # nobody read it before the epoch had ended, or it was read and obeyed
                pass
            case ("save", file):
                channel.send(write_with_retries(file, lambda file, state=state: _write(state, file)))
            case ("where",):
                channel.send(ray.get_runtime_context().get_node_id())
            case ("slices",):
                channel.send(_predict_slices(state.network, val_pack, trial.train.precision))


def _write(state: TrainState, file: StoragePath) -> None:
    with file.open_to_write() as target:
        state.write_to(target)


def _predict_slices(network: SegmentationNetwork, val_pack: Pack, precision: str) -> PredictedSlices | None:
    try:
        device = find_device(precision, channels_last_on_cpu=network.config.channels_last_on_cpu)
        return predict_slices(network, val_pack, device)
    except Exception as error:  # pictures are worth no trial
        logger.warning("validation slices cannot be shown: %s: %s", type(error).__name__, error)
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
        return None


def _step(epochs: Iterator[EpochResult]) -> tuple[TrainState | None, Report | Failure | Halt]:
    try:
        result = next(epochs)
    except Halted as halted:
        state = halted.state
        return state, Halt(epoch=state.epoch, num_batches=state.partial_epoch.num_batches)
    except ProcessLost:  # as good as this worker's own death: the trial goes on from its checkpoint on another group
        raise
    except Exception as error:  # whatever training can raise belongs to the trial, not to the group
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
        message = f"{type(error).__name__}: {error}"
        return None, Failure(message=message, traceback=traceback.format_exc())
    metrics = result.metrics | {"peak_memory_mb": peak_memory_mb()}
    return result.state, Report(metrics=metrics, finished=result.finished, failure=result.failure)


def _next_request(channel: Any) -> tuple:
    try:
        return channel.recv()
    except (EOFError, OSError):  # the lane is gone, and with it the reason to be
        return ("end",)
