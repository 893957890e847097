"""Signal handlers for commands that search or promote."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from search.console import say

Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None
"""A signal handler, as Python's `signal.signal` takes and returns it."""


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, as Ctrl-C does. `ray job stop` and most schedulers send SIGTERM."""
    with handlers({signal.SIGTERM: signal.default_int_handler}):
        yield


@contextmanager
def finish_despite_sigterm() -> Iterator[None]:
    """Let the block run to its end after a first SIGTERM. A second one, or Ctrl-C, interrupts it."""

    def handle(number: int, frame: FrameType | None) -> None:
        say("Stopping: the promotion is finished first. Ctrl-C, or another signal, ends at once.")
        signal.signal(signal.SIGTERM, signal.default_int_handler)

    with handlers({signal.SIGTERM: handle}):
        yield


@contextmanager
def keep_sigterm_handler() -> Iterator[None]:
    """Restore the handler of SIGTERM after the block; that of `ray.init` would end the program silently."""
    with handlers({signal.SIGTERM: signal.getsignal(signal.SIGTERM)}):
        yield


@contextmanager
def handlers(wanted: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Set signal handlers during the block, and restore the earlier ones.

    Outside the main thread, where Python allows no handlers, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
