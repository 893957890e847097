"""How a search ends before its time: Ctrl-C, a polite kill (SIGTERM; `ray job stop` sends one), or the clock."""

import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ray import tune

from search.console import say
from search.record.trials import INTERRUPTED, TIME_SPENT

logger = logging.getLogger(__name__)

STOP_SECONDS = 8.0
"""How long Tune may take to let its lanes go after Ctrl-C."""


class StopRequest(tune.Stopper):
    """Ends the whole search when a person or the clock says so."""

    def __init__(self, time_budget_seconds: float | None) -> None:
        self._deadline = None if time_budget_seconds is None else time.monotonic() + time_budget_seconds
        self._interrupted = False  # no threading.Event: Tune pickles its stoppers

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.reason is not None

    @property
    def reason(self) -> str | None:
        """Why the search ends early; None if it does not."""
        if self._interrupted:
            return INTERRUPTED
        if self._deadline is not None and time.monotonic() > self._deadline:
            return TIME_SPENT
        return None

    def interrupt(self) -> None:
        self._interrupted = True


@contextmanager
def interrupts(stop: StopRequest) -> Iterator[None]:
    """Turn Ctrl-C, or a polite kill, into a request to stop, and swallow what is left of the search after a while.

    A signal to the whole process group ends Ray's own daemons too, and then Tune would never return.
    """

    gave_up = False

    def handle(signum: int, frame: Any) -> None:
        if stop.reason == INTERRUPTED:
            raise KeyboardInterrupt
        say("Stopping: the table is written and the best so far is promoted. Ctrl-C again ends at once.")
        stop.interrupt()
        signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS, 1.0)  # and again, where Ray swallows it

    def give_up(signum: int, frame: Any) -> None:
        nonlocal gave_up
        gave_up = True
        raise _StopTookTooLong

    with _handling({signal.SIGINT: handle, signal.SIGTERM: handle, signal.SIGALRM: give_up}):
        try:
            yield
        except BaseException:  # Ray's compiled code turns _StopTookTooLong into whatever it was doing
            if not gave_up:
                raise
            logger.warning("Ray did not stop within %.0f seconds; the search ends without it", STOP_SECONDS)
        finally:
            if stop.reason == INTERRUPTED:  # then the timer is ours
                signal.setitimer(signal.ITIMER_REAL, 0.0)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM be what Ctrl-C is, a KeyboardInterrupt, wherever nothing else was said."""
    with _handling({signal.SIGTERM: signal.default_int_handler}):
        yield


@contextmanager
def finishing() -> Iterator[None]:
    """Let what is under way end in spite of a polite kill. Another one, or Ctrl-C, ends it."""

    def handle(signum: int, frame: Any) -> None:
        say("Stopping: the promotion is finished first. Ctrl-C, or another signal, ends at once.")
        signal.signal(signal.SIGTERM, signal.default_int_handler)

    with _handling({signal.SIGTERM: handle}):
        yield


@contextmanager
def own_handlers() -> Iterator[None]:
    """Undo what is done to SIGTERM: `ray.init` lets it end the program without a word."""
    with _handling({signal.SIGTERM: signal.getsignal(signal.SIGTERM)}):
        yield


@contextmanager
def _handling(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python has signals in the main thread only
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _StopTookTooLong(BaseException):
    """Not an Exception, so that nothing on the way up takes it for a failed trial."""
