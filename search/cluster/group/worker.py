"""A worker of a group, which serves the requests of its lane. Requests go to all ranks unless they name rank 0.

("start", Trial)   take the next trial; training begins with the first step     -> no reply
("step",)          train one epoch                                              -> Report, Failure or Halt
("halt",)          end the epoch under way at the next batch; it is the only
                   request that may be sent before "step" is answered           -> no reply of its own
("save", file)     write the state after the last batch; rank 0 only            -> whether it was written
("where",)         say on which node the worker runs                            -> the node's id
("slices",)        predict a few validation slices; rank 0 only                 -> PredictedSlices, or None
("end",)           end the run                                                  -> no reply
"""

import logging
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
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
    """A rank's reply after an epoch."""

    metrics: dict[str, float]
    finished: bool
    failure: str | None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A rank's reply when training raised an exception."""

    message: str
    traceback: str


@dataclass(frozen=True, kw_only=True)
class Halt:
    """A rank's reply when it stopped in the middle of an epoch because of ("halt",)."""

    epoch: int
    """The last whole epoch; 0 if the first has not ended."""

    num_batches: int
    """How many batches of the next epoch are done."""


def serve_trials(config: dict[str, Any]) -> None:
    """Serve requests until the lane ends the run or is gone. Ray Train runs this function on every worker."""
    address = config["address"]
    channel = address if isinstance(address, LocalChannel) else address.connect(get_context().get_world_rank())
    torch.set_num_threads(max(1, config["threads"]))
    limit_gpu_memory(config["gpus"])
    train_pack, val_pack = ray.get(list(config["packs"]))
    epochs: Iterator[EpochResult] = iter(())
    state: TrainState | None = None
    trial: Trial | None = None
    while (request := _next_request(channel)) != ("end",):
        match request:
            case ("start", Trial() as trial):
                state = None
                reset_peak_memory()
                epochs = train(
                    trial.network,
                    trial.train,
                    train_pack,
                    val_pack,
                    resume_from=trial.checkpoint,
                    halt=lambda: channel.poll(0.0),  # only ("halt",) comes during an epoch, or the lane is gone
                )
            case ("step",):
                state, reply = _step(epochs)
                channel.send(reply)
            case ("halt",):  # it came after the epoch had ended, or the epoch was halted already
                pass
            case ("save", file):
                assert state is not None
                channel.send(write_with_retries(file, partial(_write, state)))
            case ("where",):
                channel.send(ray.get_runtime_context().get_node_id())
            case ("slices",):
                assert state is not None
                assert trial is not None
                channel.send(_predict_slices(state.network, val_pack, trial.train.precision))


def _write(state: TrainState, file: StoragePath) -> None:
    with file.open_to_write() as target:
        state.write_to(target)


def _predict_slices(network: SegmentationNetwork, val_pack: Pack, precision: str) -> PredictedSlices | None:
    try:
        device = find_device(precision, channels_last_on_cpu=network.config.channels_last_on_cpu)
        return predict_slices(network, val_pack, device)
    except Exception as error:  # a picture is not worth a trial
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
    except ProcessLost:  # treated like this worker's death: the trial continues from its checkpoint on another group
        raise
    except Exception as error:  # the trial fails, but the group can train the next one
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
        message = f"{type(error).__name__}: {error}"
        return None, Failure(message=message, traceback=traceback.format_exc())
    metrics = result.metrics | {"peak_memory_mb": peak_memory_mb()}
    return result.state, Report(metrics=metrics, finished=result.finished, failure=result.failure)


def _next_request(channel: Any) -> tuple:
    try:
        return channel.recv()
    except (EOFError, OSError):  # the lane is gone, so no more requests will come
        return ("end",)
