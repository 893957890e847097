"""Processes that wait for orders, so that trainings that need a process or several of them can take turns."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from tests.benchmarks.throughput.workload import Missing

TIMEOUT_SECONDS = 900.0
"""An order may take this long, unless its sender says otherwise."""

Prepare = Callable[[], Callable[[str], Any]]
"""Returns, in the process, what carries out an order."""


class Failed(Exception):
    """A process could not carry out an order; the message says why. It has ended, or is to be killed."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A process that carries out orders."""

    process: BaseProcess
    connection: Any  # its class differs between systems

    def send(self, order: str) -> None:
        """Tell the process what to do. If it has ended, `answer` says so."""
        with suppress(OSError):
            self.connection.send(order)

    def answer(self, order: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Any:
        """Return what came of an order that was sent.

        Raises:
            Failed: It failed, the process has ended, or it takes too long.
        """
        try:
            if not self.connection.poll(timeout_seconds):
                raise Failed(f"not done with {order!r} after {timeout_seconds:g} s")
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(5)
            raise Failed(f"its process ended with status {self.process.exitcode}") from None
        if kind == "failed":
            raise Failed(value)
        return value


@contextmanager
def workers(prepares: Sequence[Prepare]) -> Iterator[list[Worker]]:
    """Yield a process for each of what they prepare; they end with the context."""
    found = [_start(prepare) for prepare in prepares]
    try:
        yield found
    finally:
        for one in found:
            one.connection.close()
        for one in found:
            one.process.join(10)
            one.process.kill()


def seconds_together(some: Sequence[Worker], order: str) -> float:
    """Return how long it takes until the last of some processes has carried out an order that all get at once.

    Raises:
        Failed: One of them could not.
    """
    began = time.perf_counter()
    for one in some:
        one.send(order)
    for one in some:
        one.answer(order)
    return time.perf_counter() - began


def serve(connection: Connection, prepare: Prepare) -> None:
    """Carry out orders until one fails, or until the other end is closed."""
    try:
        carry_out = prepare()
        while True:
            connection.send(("done", carry_out(connection.recv())))
    except EOFError:  # the benchmark is over
        return
    except Missing as missing:
        connection.send(("failed", str(missing)))
    except Exception as error:  # what a compiler raises can be anything
        first_line = str(error).strip().partition("\n")[0]
        connection.send(("failed", f"{type(error).__name__}: {first_line[:300]}"))


def _start(prepare: Prepare) -> Worker:
    context = get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, prepare))
    process.start()
    theirs.close()
    return Worker(process=process, connection=mine)
