"""Train all pipelines in turn, each in a process of its own, so that their threads and their memory stay apart."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from model.memory import peak_memory_mb
from tests.benchmarks.throughput.processes import TIMEOUT_SECONDS, Failed, workers
from tests.benchmarks.throughput.workload import Pipeline, Workload

Build = Callable[[Workload], Pipeline]


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

    def add(self, name: str, workload: Workload, seconds: float, cpu_seconds: float, peak_mb: float) -> None:
        """Add a round of a pipeline."""
        num_slices = workload.num_batches * workload.batch_size
        self.slices_per_second.setdefault(name, []).append(num_slices / seconds)
        self.slices_per_cpu_second.setdefault(name, []).append(num_slices / cpu_seconds)
        self.peak_mb[name] = peak_mb

    def leave_out(self, name: str, reason: str) -> None:
        """Forget what was measured of a pipeline, and keep why."""
        for rates in (self.slices_per_second, self.slices_per_cpu_second, self.peak_mb):
            rates.pop(name, None)
        self.left_out[name] = reason


def run_rounds(
    builds: Mapping[str, Build],
    workload: Workload,
    *,
    rounds: int,
    timeout_seconds: float = TIMEOUT_SECONDS,
    together: Collection[str] = (),
) -> Rates:
    """Return the rates of the pipelines in each of some rounds, after one that is not counted.

    A pipeline that fails is left out with its reason, and the others go on.

    Args:
        timeout_seconds: How long a pipeline may take to be built, or to train a round.
        together: Pipelines that are built at the same time. The others are built one after the other, since compiling
            takes all cores of a small machine.
    """
    rates = Rates()
    with workers([partial(Turns, build, workload) for build in builds.values()]) as found:
        running = dict(zip(builds, found, strict=True))

        def ask(name: str, order: str, *, is_sent: bool = False) -> Any:
            try:
                if not is_sent:
                    running[name].send(order)
                return running[name].answer(order, timeout_seconds=timeout_seconds)
            except Failed as failed:
                rates.leave_out(name, str(failed))
                running.pop(name).process.kill()
                return None

        for name in together:
            running[name].send("build")
        for name in builds:
            ask(name, "build", is_sent=name in together)
        for _ in range(rounds):
            for name in list(running):
                if answer := ask(name, "train"):
                    rates.add(name, workload, *answer)
    return rates


class Turns:
    """A pipeline that is built, and then trained a round at a time, when it is told to."""

    def __init__(self, build: Build, workload: Workload) -> None:
        self._build, self._workload = build, workload
        self._pipeline: Pipeline | None = None

    def __call__(self, order: str) -> tuple[float, float, float]:
        """Return the seconds of a round, those on a CPU, and the peak of memory."""
        began, cpu_began = time.perf_counter(), time.process_time()
        if order == "build":
            self._pipeline = self._build(self._workload)
        assert self._pipeline is not None, "a pipeline is built before it is trained"
        self._pipeline.train()  # after it was built, too: that compiles, allocates and fills caches
        return time.perf_counter() - began, time.process_time() - cpu_began, peak_memory_mb()
