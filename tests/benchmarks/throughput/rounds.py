"""Train all pipelines in turn, each in a process of its own, so that their threads and their memory stay apart."""

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from tests.benchmarks.throughput.peers import Missing
from tests.benchmarks.throughput.workload import Pipeline, Workload

Build = Callable[[Workload], Pipeline]

TIMEOUT_SECONDS = 900.0
"""How long a pipeline may take to be built, or to train a round, if nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The speed and the memory of the pipelines, as they were measured."""

    slices_per_second: dict[str, list[float]] = field(default_factory=dict)
    """By pipeline, one for each round."""

    slices_per_cpu_second: dict[str, list[float]] = field(default_factory=dict)
    """The same by the time that the pipeline's process spent on a CPU; it counts where that has one thread."""

    peak_mb: dict[str, float] = field(default_factory=dict)
    """Memory that the process of a pipeline held at most, without its loaders' processes; of the GPU if there is one.
    In 2**20 bytes."""

    left_out: dict[str, str] = field(default_factory=dict)
    """Pipelines that cannot run here or have failed, and why."""

    def leave_out(self, name: str, reason: str) -> None:
        """Forget what was measured of a pipeline, and keep why."""
        for rates in (self.slices_per_second, self.slices_per_cpu_second, self.peak_mb):
            rates.pop(name, None)
        self.left_out[name] = reason


class _Failed(Exception):
    """A pipeline could not be built, or did not train to the end of a round; the message says why."""


@dataclass(frozen=True, kw_only=True)
class _Running:
    """A pipeline in a process of its own."""

    process: BaseProcess
    connection: Any  # its class differs between systems
    timeout_seconds: float

    def ask(self, word: str) -> Any:
        """Return what the pipeline answers.

        Raises:
            _Failed: It answers that it failed, or does not answer.
        """
        try:
            self.connection.send(word)
            if not self.connection.poll(self.timeout_seconds):
                raise _Failed(f"not done with {word!r} after {self.timeout_seconds:g} s")
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(5)
            raise _Failed(f"its process ended with status {self.process.exitcode}") from None
        if kind == "failed":
            raise _Failed(str(value))
        return value

    def stop(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.join(10)
        self.process.kill()


def run_rounds(
    builds: Mapping[str, Build], workload: Workload, *, rounds: int, timeout_seconds: float = TIMEOUT_SECONDS
) -> Rates:
    """Return the rates of the pipelines in each of some rounds, after one that is not counted.

    A pipeline that fails is left out with its reason, and the others go on.
    """
    rates = Rates()
    running = {name: _start(build, workload, timeout_seconds) for name, build in builds.items()}
    try:
        for name in builds:  # one after the other: compiling takes all cores
            _ask(running, name, "build", rates)
        for _ in range(rounds):
            for name in list(running):
                if (answer := _ask(running, name, "train", rates)) is None:
                    continue
                seconds, cpu_seconds, rates.peak_mb[name] = answer
                num_slices = workload.num_batches * workload.batch_size
                rates.slices_per_second.setdefault(name, []).append(num_slices / seconds)
                rates.slices_per_cpu_second.setdefault(name, []).append(num_slices / cpu_seconds)
    finally:
        for one in running.values():
            one.stop()
    return rates


def _start(build: Build, workload: Workload, timeout_seconds: float) -> _Running:
    context = get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, build, workload))
    process.start()
    theirs.close()
    return _Running(process=process, connection=mine, timeout_seconds=timeout_seconds)


def _ask(running: dict[str, _Running], name: str, word: str, rates: Rates) -> Any:
    """Return a pipeline's answer; None if it failed, and then it is left out."""
    try:
        return running[name].ask(word)
    except _Failed as failed:
        rates.leave_out(name, str(failed))
        one = running.pop(name)
        one.process.kill()
        one.stop()
        return None


def _serve(connection: Connection, build: Build, workload: Workload) -> None:
    pipeline: Pipeline | None = None
    try:
        while word := connection.recv():
            if word == "build":
                pipeline = build(workload)
                pipeline.train()  # the first round compiles, allocates and fills caches
                connection.send(("built", None))
            else:
                assert pipeline is not None, "a pipeline is built before it is trained"
                began, cpu_began = time.perf_counter(), time.process_time()
                pipeline.train()
                spent = time.perf_counter() - began, time.process_time() - cpu_began
                connection.send(("trained", (*spent, _peak_mb())))
    except EOFError:  # the benchmark is over
        return
    except Missing as missing:
        connection.send(("failed", str(missing)))
    except Exception as error:  # what a compiler raises can be anything
        connection.send(("failed", f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"))


def _peak_mb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
