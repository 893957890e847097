"""End a search in good order when a process of Ray has ended without which the search cannot go on.

That is the raylet or the GCS server of a Ray that this process has started, killed by a person, or by the system
because memory was short. Ray itself would end this process within a minute: in silence, or with a line that names no
remedy.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from data.errors import UserError
from search.cluster.signals import Handler, handlers
from search.cluster.start.start_internals import abandon_ray, find_ended_daemons
from search.console import say

DAEMONS = ("raylet", "gcs_server")

BY_OTHERS = {0, -signal.SIGTERM, -signal.SIGKILL}
"""Exit statuses of a daemon that a person or the system has ended. One that fails has another, and may start when it is
tried again."""

POLL_SECONDS = 0.5

LEAVE_SECONDS = 5.0
"""How long the main thread may take to leave the block; it may be waiting for an answer of what has ended."""

STATUS = 2
"""Exit status of a process that does not leave the block in time, as after any UserError."""


class RayEnded(UserError):
    """A process of Ray has ended without which Ray cannot be used, and Ray was abandoned."""


@contextmanager
def watch_daemons(
    remedy: str, *, is_ending: Callable[[], object] = lambda: False, only_by_others: bool = False
) -> Iterator[None]:
    """Leave the block soon after a daemon of the Ray has ended that this process has started.

    If one had ended before, the block is not entered: its first call of Ray would end this process in silence.

    Args:
        remedy: What the user can do; the end of a sentence.
        is_ending: Tells whether the block ends anyway. A signal to the whole process group ends the daemons, too.
        only_by_others: Whether a daemon that ends by itself, with an error, is left to Ray, which says so.

    Raises:
        RayEnded: A daemon has ended.
    """

    def describe() -> str:
        return "" if is_ending() else _describe_end(remedy, only_by_others=only_by_others)

    def leave(number: int, frame: FrameType | None) -> None:
        if not left.is_set():
            raise _DaemonEnded

    if not only_by_others:
        _leave_ray(describe())
    left = threading.Event()
    thread = threading.Thread(target=_watch, args=(describe, leave, left), daemon=True, name="daemons")
    with handlers({signal.SIGUSR2: leave}):
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # Ray may notice it first, or turn _DaemonEnded into an exception of its own
            left.set()
            thread.join()  # while it looks at a process, another look finds nothing
            _leave_ray(describe(), error)
            raise
        finally:
            left.set()


def _leave_ray(sentence: str, cause: BaseException | None = None) -> None:
    """Abandon Ray and raise RayEnded, if there is a sentence about an end."""
    if sentence:
        abandon_ray()
        raise RayEnded(sentence) from cause


def _watch(describe: Callable[[], str], leave: Handler, left: threading.Event) -> None:
    while not left.wait(POLL_SECONDS):
        # Where Ray has noticed it as well, the main thread leaves now by itself, and must not be disturbed.
        if not (sentence := describe()) or left.wait(POLL_SECONDS):
            continue
        if signal.getsignal(signal.SIGUSR2) is leave:
            os.kill(os.getpid(), signal.SIGUSR2)
        if not left.wait(LEAVE_SECONDS):
            say(f"error: {sentence}")
            abandon_ray()
            os._exit(STATUS)


def _describe_end(remedy: str, *, only_by_others: bool) -> str:
    """Return a sentence about the daemons that have ended; "" if none has."""
    found = {name: status for name, status in find_ended_daemons().items() if name in DAEMONS}
    if only_by_others:
        found = {name: status for name, status in found.items() if status in BY_OTHERS}
    names = [f"{name} (killed by signal {-status})" if status < 0 else name for name, status in found.items()]
    return f"Ray's {' and '.join(names)} ended, and without it the search cannot go on: {remedy}" if names else ""


class _DaemonEnded(BaseException):
    """Leaves the block. It is not an Exception, so that no caller on the way up takes it for a failed trial."""
