"""Things done one after the other in a thread of their own: of all that W&B may wait for, only some has a limit."""

import threading
from collections.abc import Callable
from queue import SimpleQueue

from search.tracking.apart import in_a_line

NO_ANSWER = "W&B did not answer in time"


class Errands:
    """A thread that nobody has to wait for; with the first error, it ends."""

    def __init__(self, name: str) -> None:
        self.problem: str | None = None
        """What the first error says."""

        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def add(self, errand: Callable[[], None]) -> None:
        """Have something done after all that was added before."""
        self._queue.put(errand)

    def end(self, *, seconds: float) -> str | None:
        """Wait until all is done; return in a sentence why it is not. What takes longer goes on as long as it likes."""
        self._queue.put(None)
        self._thread.join(seconds)
        return NO_ANSWER if self._thread.is_alive() else self.problem

    def _run(self) -> None:
        while (errand := self._queue.get()) is not None:
            try:
                errand()
            # W&B's own, its transport's, a full disk; and its service process's, whose death it ends a program with.
            except (Exception, SystemExit) as error:
                self.problem = in_a_line(error)
                return


def bounded(errand: Callable[[], None], *, seconds: float, name: str) -> str | None:
    """Return in a sentence why something could not be done in so many seconds; None where it was."""
    errands = Errands(name)
    errands.add(errand)
    return errands.end(seconds=seconds)
