"""A warm worker group: one long-lived Ray Train run that trains trial after trial.

Starting a Ray Train run costs seconds, and starting one for every trial would cost more than training a small one
(tests/benchmarks/LOG.md). So a group starts once and then serves requests, the same to every rank at the same time:

    ("start", Trial)   the next trial, from its checkpoint if it has one    -> nothing is computed yet
    ("step",)          one epoch                                            -> Report, or Failure
    ("save", path)     the state after the last epoch, by rank 0 alone      -> None once it is in the file;
                                                                               bytes if there is no path
    ("end",)           no more trials; the run ends
"""

import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.train import RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchTrainer

from model.processes import ProcessLost
from model.train import EpochResult, TrainConfig, train
from model.unet import UNetConfig
from search.channel import Address, LocalChannel, Reception, local_pair

START_TIMEOUT_SECONDS = 300.0
"""Two workers start in 15 to 25 s on two cores; an autoscaler may first have to start a machine."""

AGREEMENT_SECONDS = 10.0
"""After one rank failed, how long the others have to say the same before the group counts as lost."""


@dataclass(frozen=True, kw_only=True)
class GroupConfig:
    """What a group is made of and where."""

    num_workers: int
    worker_resources: dict[str, float]
    """What each worker books, of CPU and GPU."""

    packs: tuple[ray.ObjectRef, ray.ObjectRef]
    """The training and the validation patients, in Ray's object store."""

    storage: str
    """Ray Train's own folder."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a group trains next."""

    unet: UNetConfig
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


class WorkerGroupLost(RuntimeError):
    """Workers died, hang, or never came: the trial is innocent and goes on from its checkpoint on another group."""


class WorkerGroup:
    """A running group, seen from the lane that owns it."""

    def __init__(self, config: GroupConfig) -> None:
        self._error: BaseException | None = None
        if config.num_workers == 1:
            ours, theirs = local_pair()
            self._run = self._start_run(config, theirs)
            self._channels: list[Any] = [ours]
        else:
            reception = Reception(_own_host(), config.num_workers)
            self._run = self._start_run(config, reception.address)
            try:
                self._channels = reception.wait(self._run.is_alive, timeout_seconds=START_TIMEOUT_SECONDS)
            except ConnectionError as error:
                raise WorkerGroupLost(f"{error}; Ray Train said: {self._error}") from self._error

    def start(self, trial: Trial) -> None:
        """Make every worker drop its trial and take this one."""
        self._send(("start", trial))

    def step(self, *, timeout_seconds: float) -> Report | Failure:
        """Return rank 0's report of one more epoch, or the first failure if all ranks failed.

        Raises:
            WorkerGroupLost: A worker died, or did not answer in time.
        """
        self._send(("step",))
        deadline = time.monotonic() + timeout_seconds
        replies = []
        for rank in range(len(self._channels)):
            reply = self._receive(rank, deadline)
            if isinstance(reply, Failure):
                # The others fail the same way, or wait for this rank for ever, or died and took it along.
                deadline = min(deadline, time.monotonic() + AGREEMENT_SECONDS)
            replies.append(reply)
        failures = [reply for reply in replies if isinstance(reply, Failure)]
        if failures and len(failures) < len(replies):
            raise WorkerGroupLost(f"{len(failures)} of {len(replies)} workers failed: {failures[0].message}")
        return failures[0] if failures else replies[0]

    def save(self, path: Path | None, *, timeout_seconds: float) -> bytes | None:
        """Let rank 0 write the state after the last epoch to a file that its node reaches; return it, without a path.

        Raises:
            WorkerGroupLost: A worker died, or did not answer in time.
        """
        self._channels[0].send(("save", path))
        return self._receive(0, time.monotonic() + timeout_seconds)

    def end(self, *, timeout_seconds: float = 10.0) -> None:
        """Let the run end and wait for it, a while."""
        for channel in self._channels:
            try:
                channel.send(("end",))
            except OSError:  # that worker is gone already
                continue
        self._run.join(timeout_seconds)
        for channel in self._channels:
            channel.close()

    def _start_run(self, config: GroupConfig, address: Address | LocalChannel) -> threading.Thread:
        local = config.num_workers == 1  # then Ray Train runs the workers' function in this very process
        trainer = TorchTrainer(
            serve_trials,
            train_loop_config={
                "address": address,
                "packs": config.packs,
                "threads": int(config.worker_resources["CPU"]),
            },
            scaling_config=ScalingConfig(
                num_workers=0 if local else config.num_workers,
                use_gpu="GPU" in config.worker_resources,
                resources_per_worker=None if local else config.worker_resources,
            ),
            run_config=RunConfig(name=f"group-{time.time_ns()}", storage_path=config.storage),
        )

        def run() -> None:
            try:
                trainer.fit()
            except BaseException as error:  # kept for the lane's thread, which says it
                self._error = error

        thread = threading.Thread(target=run, daemon=True, name="ray-train-run")
        thread.start()
        return thread

    def _send(self, message: tuple) -> None:
        for rank, channel in enumerate(self._channels):
            try:
                channel.send(message)
            except OSError as error:
                raise WorkerGroupLost(f"worker {rank} of {len(self._channels)} is gone: {error!r}") from error

    def _receive(self, rank: int, deadline: float) -> Any:
        name = f"worker {rank} of {len(self._channels)}"
        try:
            while not self._channels[rank].poll(1.0):
                if not self._run.is_alive():
                    raise WorkerGroupLost(f"{name} ended: {self._error}") from self._error
                if time.monotonic() > deadline:
                    raise WorkerGroupLost(f"{name} did not answer in time")
            return self._channels[rank].recv()
        except (EOFError, OSError) as error:
            raise WorkerGroupLost(f"{name} is gone: {error!r}") from error


def serve_trials(config: dict[str, Any]) -> None:
    """Serve requests until the lane ends or is gone: the training function that Ray Train runs on every worker."""
    address = config["address"]
    channel = address if isinstance(address, LocalChannel) else address.connect(get_context().get_world_rank())
    torch.set_num_threads(max(1, config["threads"]))
    train_pack, val_pack = ray.get(list(config["packs"]))
    epochs: Iterator[EpochResult] = iter(())
    result: EpochResult | None = None
    while (request := _next_request(channel)) != ("end",):
        match request:
            case ("start", trial):
                result = None
                epochs = train(trial.unet, trial.train, train_pack, val_pack, resume_from=trial.checkpoint)
            case ("step",):
                result, reply = _step(epochs)
                channel.send(reply)
            case ("save", None):
                channel.send(result.state.to_bytes())
            case ("save", path):
                with path.open("wb") as file:
                    result.state.write_to(file)
                channel.send(None)


def _step(epochs: Iterator[EpochResult]) -> tuple[EpochResult | None, Report | Failure]:
    try:
        result = next(epochs)
    except ProcessLost:  # as good as this worker's own death: the trial goes on from its checkpoint on another group
        raise
    except Exception as error:  # whatever training can raise belongs to the trial, not to the group
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
        message = f"{type(error).__name__}: {error}"
        return None, Failure(message=message, traceback=traceback.format_exc())
    return result, Report(metrics=result.metrics, finished=result.finished, failure=result.failure)


def _next_request(channel: Any) -> tuple:
    try:
        return channel.recv()
    except (EOFError, OSError):  # the lane is gone, and with it the reason to be
        return ("end",)


def _own_host() -> str:
    """Return the address to listen on: this host alone if it is the whole cluster."""
    nodes = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    return "127.0.0.1" if len(nodes) == 1 else ray.util.get_node_ip_address()
