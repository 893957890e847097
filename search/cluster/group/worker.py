"""A worker of a group, which serves the requests of its lane (search/cluster/group/messages.py)."""

import logging
import traceback
from collections.abc import Iterator
from functools import partial
from typing import assert_never

import ray
import torch
from ray.train import get_context

from data.packing.pack import Pack
from model.device import find_device
from model.memory import as_out_of_memory, limit_gpu_memory, peak_memory_mb, reset_peak_memory
from model.segmentation_network import SegmentationNetwork
from model.training.checkpoint import TrainState
from model.training.loader_processes import ProcessLost
from model.training.sample_slices import PredictedSlices, predict_slices
from model.training.train import EpochResult, Halted, train
from search.cluster.capacity.machines import fingerprint
from search.cluster.group.channel import Channel, LocalChannel
from search.cluster.group.messages import (
    WORKER,
    EndRun,
    EpochReply,
    Failure,
    Halt,
    HaltEpoch,
    Machine,
    PredictSlices,
    Report,
    Request,
    SaveState,
    StartTrial,
    TellMachine,
    TrainEpoch,
    WorkerConfig,
)
from search.storage.storage_path import StoragePath, write_with_retries

logger = logging.getLogger(__name__)


def this_machine() -> Machine:
    """Return where this process runs."""
    node, address = ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address()
    return Machine(node=node, address=address, program=fingerprint())


def serve_trials(config: dict[str, WorkerConfig]) -> None:
    """Serve requests until the lane ends the run or is gone. Ray Train runs this function on every worker."""
    worker = config[WORKER]
    channel = _open_channel(worker)
    torch.set_num_threads(max(1, worker.num_threads))
    limit_gpu_memory(worker.gpus)
    train_pack, val_pack = ray.get(list(worker.packs))
    epochs: Iterator[EpochResult] = iter(())
    state: TrainState | None = None
    trial: StartTrial | None = None
    while not isinstance(request := _next_request(channel), EndRun):
        match request:
            case StartTrial():
                trial, state = request, None
                reset_peak_memory()
                epochs = train(
                    trial.network,
                    trial.train,
                    train_pack,
                    val_pack,
                    resume_from=trial.checkpoint,
                    halt=lambda: channel.poll(0.0),  # only HaltEpoch comes during an epoch, or the lane is gone
                )
            case TrainEpoch():
                state, reply = _train_epoch(epochs)
                channel.send(reply)
            case HaltEpoch():  # it came after the epoch had ended, or the epoch was halted already
                pass
            case SaveState():
                assert state is not None
                channel.send(_save(state, request.file))
            case TellMachine():
                channel.send(this_machine())
            case PredictSlices():
                assert state is not None
                assert trial is not None
                channel.send(_predict_slices(state.network, val_pack, trial.train.precision))
            case _:
                assert_never(request)


def _open_channel(worker: WorkerConfig) -> Channel:
    if isinstance(worker.address, LocalChannel):
        return worker.address
    return worker.address.connect(get_context().get_world_rank())


def _save(state: TrainState, file: StoragePath) -> bool | OSError:
    """Return whether the state was written; the error, where a disk does not take it, so that the group stays warm."""
    try:
        return write_with_retries(file, partial(_write, state))
    except OSError as error:
        return error


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


def _train_epoch(epochs: Iterator[EpochResult]) -> tuple[TrainState | None, EpochReply]:
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
        message = as_out_of_memory(error) or f"{type(error).__name__}: {error}"
        return None, Failure(message=message, traceback=traceback.format_exc())
    metrics = result.metrics | {"peak_memory_mb": peak_memory_mb()}
    return result.state, Report(metrics=metrics, finished=result.finished, failure=result.failure)


def _next_request(channel: Channel) -> Request:
    try:
        return channel.recv()
    except (EOFError, OSError):  # the lane is gone, so no more requests will come
        return EndRun()
