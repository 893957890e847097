"""Run the slices of several requests together, in a network that many threads may call at once.

A network takes one mean and one standard deviation for all its slices, but each patient has its own. So the slices are
normalised here, by the same arithmetic in float32, and the network receives mean 0 and standard deviation 1, which
change nothing. In `model.predict` the network itself normalises, and in bfloat16 it rounds differently: probabilities
may then differ by a few thousandths, and a pixel at the threshold may fall on its other side.

A batch takes the slices that came while the one before it ran, and never waits for more: a request that is alone would
gain nothing from that, and under load enough have come. On a CPU, full batches save little; what matters there is that
one batch runs at a time, on all cores.
"""

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from jaxtyping import Float32

from data.errors import UserError
from model.inference.volume import Network
from model.serve.limits import ServeError


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """How many slices of several requests run together."""

    max_batch: int = 16
    """Largest number of slices that go through the network at once; fewer need less memory."""

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise ServeError(f"max_batch is {self.max_batch}, but must be at least 1")


class Stopped(RuntimeError):
    """The service is shutting down and accepts no more slices."""


class _Job:
    def __init__(self, slices: np.ndarray) -> None:
        self.slices = slices
        self.probabilities: Future[np.ndarray] = Future()


class Batcher:
    """A `Network` that many threads may call; one thread runs it until the `with` block ends."""

    def __init__(self, network: Network, config: BatchConfig) -> None:
        self._network, self._config = network, config
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._is_stopped = False
        # A daemon, so that a batch that is running does not delay the end of the program.
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)

    def __enter__(self) -> "Batcher":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_stopped = True
        self._jobs.put(None)

    def __call__(
        self,
        slices: Float32[np.ndarray, "batch channels height width"],
        mean: Float32[np.ndarray, " channels"],
        std: Float32[np.ndarray, " channels"],
    ) -> Float32[np.ndarray, "batch regions height width"]:
        """Return the probabilities of slices that share a mean and a standard deviation, once their batch has run.

        Raises:
            Stopped: The service is ending.
        """
        if self._is_stopped:
            raise Stopped
        job = _Job((slices - mean[:, None, None]) / std[:, None, None])
        self._jobs.put(job)
        return job.probabilities.result()

    def _work(self) -> None:
        first = self._jobs.get()
        while first is not None:
            batch, first = self._gather(first)
            self._run(batch)
            first = first or self._jobs.get()
        while True:
            try:
                left = self._jobs.get_nowait()
            except queue.Empty:
                return
            if left is not None:
                left.probabilities.set_exception(Stopped())

    def _gather(self, first: _Job) -> tuple[list[_Job], _Job | None]:
        """Return the jobs of one batch out of those that have come, and the job that did not fit into it."""
        batch, num_slices = [first], len(first.slices)
        while num_slices < self._config.max_batch:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # _work reads it after this batch
                break
            if num_slices + len(job.slices) > self._config.max_batch:
                return batch, job
            batch.append(job)
            num_slices += len(job.slices)
        return batch, None

    def _run(self, batch: list[_Job]) -> None:
        slices = batch[0].slices if len(batch) == 1 else np.concatenate([job.slices for job in batch])
        channels = slices.shape[1]
        try:
            found = self._network(slices, np.zeros(channels, np.float32), np.ones(channels, np.float32))
        except Exception as error:  # the thread must survive; each request raises the error itself
            # A broken model is not the client's mistake, so to the client it is a fault.
            raised = RuntimeError(str(error)) if isinstance(error, UserError) else error
            for job in batch:
                job.probabilities.set_exception(raised)
            return
        start = 0
        for job in batch:
            job.probabilities.set_result(found[start : start + len(job.slices)])
            start += len(job.slices)
