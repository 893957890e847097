"""End a search before all its trials have ended: by Ctrl-C, by SIGTERM, or because the time budget is spent."""

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from ray import tune

from data.errors import MachineError
from data.machine.disk_errors import DiskError, explain_disk_error, is_disk_error
from search.cluster.signals import handlers
from search.console import say
from search.record.trials import INTERRUPTED, TIME_SPENT

logger = logging.getLogger(__name__)

LEAST_WAIT_SECONDS = 60.0
"""How long a first checkpoint is waited for at least, beyond the budget."""

STOP_SECONDS = 8.0
"""How long Tune may take to stop its lanes after Ctrl-C."""

FAILED = "something is wrong with a machine"

T = TypeVar("T")


class StopRequest(tune.Stopper):
    """Tells Tune to end the whole search after Ctrl-C or SIGTERM, when the time budget is spent, or when something is
    wrong with a machine: it cannot write a file of the experiment, or cannot take part.

    The budget waits for a first checkpoint, since a search without one has nothing to show; but only as long again, or
    a minute if that is longer.
    """

    def __init__(self, time_budget_seconds: float | None, *, has_checkpoint: bool = False) -> None:
        seconds = math.inf if time_budget_seconds is None else time_budget_seconds
        self._deadline = time.monotonic() + seconds
        self._last_deadline = self._deadline + (0.0 if has_checkpoint else max(seconds, LEAST_WAIT_SECONDS))
        self._interrupted = False  # a plain bool, because Tune pickles its stoppers
        self.failure: MachineError | None = None
        """Why a file of the experiment could not be written, or a machine cannot take part; None if neither was."""

    def __call__(self, trial_id: str, result: Mapping[str, object]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.reason is not None

    @property
    def reason(self) -> str | None:
        """Why the search ends early; None if it does not."""
        if self._interrupted:
            return INTERRUPTED
        if self.failure:
            return FAILED
        return TIME_SPENT if time.monotonic() > self._last_deadline else None

    def keep(self) -> None:
        """Note that there is a checkpoint now."""
        self._last_deadline = self._deadline

    def interrupt(self) -> None:
        self._interrupted = True

    def raise_failure(self) -> None:
        """Raise the error that ended the search, if there is one."""
        if self.failure:
            raise self.failure

    def guard(self, action: Callable[[], T]) -> T | None:
        """Return the result of an action; None, and the search ends, if something is wrong with a machine.

        Otherwise Tune would blame a trial. After that no action is done, since a log must have no gap.
        """
        if self.failure:
            return None
        try:
            return action()
        except OSError as error:
            if self.failure is None and not is_disk_error(error):
                raise
            self.failure = self.failure or DiskError(explain_disk_error(error))
        except MachineError as error:
            self.failure = self.failure or error
        except Exception:
            if self.failure is None:  # otherwise it follows from the failure
                raise
        return None


@contextmanager
def stop_on_signals(stop: StopRequest) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into a request to stop; leave the block after some seconds even if Ray does not stop.

    A signal to the whole process group ends Ray's own daemons as well, and then Tune would never return.
    """
    gave_up = False

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.reason == INTERRUPTED:
            raise KeyboardInterrupt
        say("Stopping: the table is written and the best so far is promoted. Ctrl-C again ends at once.")
        stop.interrupt()
        signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS, 1.0)  # repeated, because Ray may swallow the exception

    def give_up(number: int, frame: FrameType | None) -> None:
        nonlocal gave_up
        gave_up = True
        raise _StopTookTooLong

    with handlers({signal.SIGINT: handle, signal.SIGTERM: handle, signal.SIGALRM: give_up}):
        try:
            yield
        except BaseException:  # Ray's compiled code may turn _StopTookTooLong into an exception of its own
            if not gave_up:
                raise
            logger.warning("Ray did not stop within %.0f seconds; the search ends without it", STOP_SECONDS)
        finally:
            if stop.reason == INTERRUPTED:  # only then has `handle` started the timer
                signal.setitimer(signal.ITIMER_REAL, 0.0)


class _StopTookTooLong(BaseException):
    """Leaves the block. It is not an Exception, so that no caller on the way up takes it for a failed trial."""
