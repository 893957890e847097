"""Train all pipelines in turn, each in a process of its own, so that their threads and their memory stay apart."""

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch

from tests.benchmarks.throughput.peers import Missing
from tests.benchmarks.throughput.workload import Pipeline, Workload

Build = Callable[[Workload], Pipeline]

TIMEOUT_SECONDS = 900.0
"""How long a pipeline may take to be built, or to train a round."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The speed and the memory of the pipelines, as they were measured."""

    slices_per_second: dict[str, list[float]] = field(default_factory=dict)
    """By pipeline, one for each round."""

    peak_mb: dict[str, float] = field(default_factory=dict)
    """Memory that the process of a pipeline held at most, without its loaders' processes; of the GPU if there is one.
    In 2**20 bytes."""

    left_out: dict[str, str] = field(default_factory=dict)
    """Pipelines that cannot run here, and why."""


def run_rounds(builds: Mapping[str, Build], workload: Workload, *, rounds: int) -> Rates:
    """Return the rates of the pipelines in each of some rounds, after one that is not counted."""
    context, rates = get_context("spawn"), Rates()
    running = {}
    for name, build in builds.items():  # one after the other: compiling takes all cores
        mine, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, build, workload))
        process.start()
        theirs.close()
        kind, value = _receive(mine)
        if kind == "missing":
            rates.left_out[name] = str(value)
            process.join()
        else:
            running[name] = process, mine
    try:
        for _ in range(rounds):
            for name, (_, connection) in running.items():
                connection.send("train")
                seconds, rates.peak_mb[name] = _receive(connection)
                rate = workload.num_batches * workload.batch_size / seconds
                rates.slices_per_second.setdefault(name, []).append(rate)
    finally:
        for process, connection in running.values():
            connection.close()
            process.join(10)
            process.kill()
    return rates


def _receive(connection: Any) -> tuple:
    if not connection.poll(TIMEOUT_SECONDS):
        raise TimeoutError(f"a pipeline has not answered for {TIMEOUT_SECONDS:g} s")
    return connection.recv()


def _serve(connection: Connection, build: Build, workload: Workload) -> None:
    try:
        pipeline = build(workload)
        pipeline.train()  # the first round compiles, allocates and fills caches
    except Missing as missing:
        connection.send(("missing", str(missing)))
        return
    connection.send(("ready", None))
    try:
        while connection.recv() == "train":
            began = time.perf_counter()
            pipeline.train()
            connection.send((time.perf_counter() - began, _peak_mb()))
    except EOFError:  # the benchmark is over
        return


def _peak_mb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
