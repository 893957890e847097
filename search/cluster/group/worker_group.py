"""A warm worker group: one long-lived Ray Train run that trains trial after trial.

Starting a Ray Train run takes seconds, longer than training a small trial (tests/benchmarks/LOG.md). So a group starts
once and then serves requests (search/cluster/group/messages.py).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from model.training.sample_slices import PredictedSlices
from search.cluster.capacity.placement_groups import has_waiting_group
from search.cluster.group.channel import Address, Channel, LocalChannel, WorkerListener, local_pair
from search.cluster.group.messages import (
    WORKER,
    EndRun,
    EpochReply,
    Failure,
    HaltEpoch,
    Machine,
    PredictSlices,
    Request,
    SaveState,
    StartTrial,
    TellMachine,
    TrainEpoch,
    WorkerConfig,
)
from search.cluster.group.process_group import ProcessGroupConfig, choose_backend, open_store
from search.cluster.group.worker import serve_trials, this_machine
from search.storage.storage_path import StoragePath

START_TIMEOUT_SECONDS = 300.0
"""How long workers may take to start, not counting the wait for resources. Two take 15 to 25 s on two cores."""

POLL_SECONDS = 1.0
"""How often a waiting lane checks whether its run is still alive, and whether it must leave its node."""

STOPPED_SECONDS = 10.0
"""If a wait of POLL_SECONDS took longer than this, the lane and its workers were stopped, or their machine slept."""

AGREEMENT_SECONDS = 10.0
"""How long the other ranks have to report a failure too, after one has, before the group counts as lost."""


@dataclass(frozen=True, kw_only=True)
class GroupConfig:
    """What a group consists of and where it writes."""

    num_workers: int
    worker_resources: dict[str, float]
    """The CPU and GPU that each worker books."""

    packs: tuple[ray.ObjectRef, ray.ObjectRef]
    """The packs of training and validation patients, in Ray's object store."""

    storage: str
    """A folder on the lane's node that Ray Train requires; the search never reads it."""

    checkpoints: StoragePath
    """The folder for the checkpoints of all legs, which all nodes can reach."""

    program: str
    """The fingerprint of the program with which the search began."""


class WorkerGroupLost(RuntimeError):
    """Workers died, hung or never connected. The trial is not to blame, and continues from its newest checkpoint."""


class WorkerGroup:
    """A running group, as its lane uses it."""

    def __init__(self, config: GroupConfig) -> None:
        self._error: BaseException | None = None
        if config.num_workers == 1:
            ours, theirs = local_pair()
            self._run = self._start_run(config, theirs, TorchConfig())
            self._channels: list[Channel] = [ours]
        else:
            host = ray.util.get_node_ip_address()  # the loopback, in a Ray that the search has started
            listener, self._store = WorkerListener(host, config.num_workers), open_store(host)
            backend = choose_backend(config.worker_resources.get("GPU", 0.0))
            process_group = ProcessGroupConfig(backend=backend, host=host, port=self._store.port)
            self._run = self._start_run(config, listener.address, process_group)
            try:
                self._channels = listener.wait(
                    self._run.is_alive, timeout_seconds=START_TIMEOUT_SECONDS, is_queueing=has_waiting_group
                )
            except ConnectionError as error:
                raise WorkerGroupLost(f"{error}; Ray Train said: {self._error}") from self._error
        machines = {this_machine()} | self._worker_machines()
        self.nodes = {machine.node for machine in machines}
        """The ids of the nodes on which the lane and its workers run."""
        self.changed = tuple(sorted({machine.address for machine in machines if machine.program != config.program}))
        """The addresses of machines on which the program is not the one that the search began with."""

    def start(self, trial: StartTrial) -> None:
        """Make every worker take this trial instead of the one before."""
        self._send(trial)

    def step(self, *, timeout_seconds: float, must_halt: Callable[[], bool] = lambda: False) -> EpochReply:
        """Train one more epoch, and return rank 0's reply, or the first failure if all ranks failed.

        Args:
            must_halt: Called about once a second. Once it returns True, the epoch ends at the next batch.

        Raises:
            WorkerGroupLost: A worker died, or did not answer in time.
        """
        self._send(TrainEpoch())
        deadline = time.monotonic() + timeout_seconds
        is_halted = False

        def while_waiting() -> None:
            nonlocal is_halted
            if not is_halted and must_halt():
                is_halted = True
                self._send(HaltEpoch())

        replies = []
        for rank in range(len(self._channels)):
            reply = self._receive(rank, deadline, while_waiting)
            if isinstance(reply, Failure):
                # The others fail the same way, wait for this rank for ever, or died before it.
                deadline = min(deadline, time.monotonic() + AGREEMENT_SECONDS)
            replies.append(reply)
        failures = [reply for reply in replies if isinstance(reply, Failure)]
        if failures and len(failures) < len(replies):
            raise WorkerGroupLost(f"{len(failures)} of {len(replies)} workers failed: {failures[0].message}")
        return failures[0] if failures else replies[0]

    def save(self, file: StoragePath, *, timeout_seconds: float) -> bool:
        """Let rank 0 write the state after the last batch to a file; return whether it was written.

        Raises:
            WorkerGroupLost: A worker died, or did not answer in time.
            OSError: A disk does not take the file.
        """
        self._channels[0].send(SaveState(file=file))
        reply = self._receive(0, time.monotonic() + timeout_seconds)
        if isinstance(reply, OSError):
            raise reply
        return reply

    def slices(self, *, timeout_seconds: float) -> PredictedSlices | None:
        """Return a few validation slices with the prediction of rank 0's network; None if that failed.

        Raises:
            WorkerGroupLost: A worker died, or did not answer in time.
        """
        self._channels[0].send(PredictSlices())
        return self._receive(0, time.monotonic() + timeout_seconds)

    def end(self, *, timeout_seconds: float = 10.0) -> None:
        """End the run, and wait for it for at most `timeout_seconds`."""
        for channel in self._channels:
            try:
                channel.send(EndRun())
            except OSError:  # this worker is gone already
                continue
        self._run.join(timeout_seconds)
        for channel in self._channels:
            channel.close()

    def _start_run(
        self, config: GroupConfig, address: Address | LocalChannel, torch_config: TorchConfig
    ) -> threading.Thread:
        local = config.num_workers == 1  # then Ray Train runs the worker's function in this process
        worker = WorkerConfig(
            address=address,
            packs=config.packs,
            num_threads=int(config.worker_resources["CPU"]),
            gpus=config.worker_resources.get("GPU", 0.0),
        )
        trainer = TorchTrainer(
            serve_trials,
            train_loop_config={WORKER: worker},
            torch_config=torch_config,
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
            except BaseException as error:  # kept for the lane's thread, which reports it
                self._error = error

        thread = threading.Thread(target=run, daemon=True, name="ray-train-run")
        thread.start()
        return thread

    def _send(self, request: Request) -> None:
        for rank, channel in enumerate(self._channels):
            try:
                channel.send(request)
            except OSError as error:
                raise WorkerGroupLost(f"worker {rank} of {len(self._channels)} is gone: {error!r}") from error

    def _worker_machines(self) -> set[Machine]:
        if len(self._channels) == 1:
            return set()
        self._send(TellMachine())
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        return {self._receive(rank, deadline) for rank in range(len(self._channels))}

    def _receive(self, rank: int, deadline: float, while_waiting: Callable[[], None] = lambda: None) -> Any:
        name = f"worker {rank} of {len(self._channels)}"
        try:
            looked = time.monotonic()
            while not self._channels[rank].poll(POLL_SECONDS):
                if not self._run.is_alive():
                    raise WorkerGroupLost(f"{name} ended: {self._error}") from self._error
                now = time.monotonic()
                deadline += now - looked if now - looked > STOPPED_SECONDS else 0.0
                looked = now
                if now > deadline:
                    raise WorkerGroupLost(f"{name} did not answer in time")
                while_waiting()
            return self._channels[rank].recv()
        except (EOFError, OSError) as error:
            raise WorkerGroupLost(f"{name} is gone: {error!r}") from error
