"""A thread that brings runs to W&B while a search goes on, so that neither a trial nor the search waits for it."""

import logging
import threading
from contextlib import suppress
from dataclasses import replace

from search.tracking.connection import Connection, Patience
from search.tracking.outage import note_outage
from search.tracking.pages import how_to_send
from search.tracking.runs import TrackedRun, Tracking

logger = logging.getLogger(__name__)

JOBS = 8
"""Runs that are sent at the same time. Many end together, when the search ends."""

NICENESS = 15
"""The niceness of Ray's workers, so that W&B's client takes no more of a core than they do."""

CLOSING_SECONDS = 60.0
"""How long the end of a search waits while W&B takes the last runs. It waits less for a server that does not answer."""


class Sender:
    """Brings runs to W&B's server, or to offline files once the server has failed."""

    def __init__(self, tracking: Tracking, connection: Connection | None, patience: Patience) -> None:
        """Begin with nothing to send.

        Args:
            tracking: With `mode` 'online' or 'offline'.
            connection: A connection that is open already; None: one is opened when there is something to send.
        """
        self._tracking = tracking
        self._connection = connection
        self._patience = patience
        self._changed = threading.Condition()
        self._waiting: dict[str, TrackedRun] = {}
        self._is_closed = False
        self._is_off = False
        self._thread = threading.Thread(target=self._work, name="W&B", daemon=True)
        self._thread.start()

    def put(self, run: TrackedRun) -> None:
        """Queue a run. It replaces an earlier state of the same run that has not been sent yet."""
        if self._tracking.mode == "offline" and not run.is_over:
            return  # an offline run is written as a whole
        with self._changed:
            self._waiting[run.id] = run
            self._changed.notify()

    def close(self) -> None:
        """Wait for a limited time until everything is sent, or written offline; then end W&B's client."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(CLOSING_SECONDS)
        self._is_off = True  # else the thread would go on offline
        if self._thread.is_alive():
            self._note(f"W&B did not take all runs in {CLOSING_SECONDS:g} seconds; {self._how_to_send}")
        if self._connection is not None:
            self._connection.close()

    @property
    def _how_to_send(self) -> str:
        return how_to_send(self._tracking.folder)

    def _work(self) -> None:
        while runs := self._next():
            while runs and not self._is_off:
                runs = self._send(runs)

    def _next(self) -> list[TrackedRun]:
        """Return the runs that have changed, or none if the sender is closed."""
        with self._changed:
            while not self._waiting and not self._is_closed:
                self._changed.wait()
            runs = list(self._waiting.values())
            self._waiting.clear()
            return runs

    def _send(self, runs: list[TrackedRun]) -> list[TrackedRun]:
        """Send runs; return those to try again, offline, because W&B has failed."""
        if self._tracking.mode == "offline":
            runs = [run for run in runs if run.is_over]
        if not runs:
            return []
        left = {run.id: run for run in runs}
        try:
            if self._connection is None:
                self._connection = Connection(self._tracking, patience=self._patience, niceness=NICENESS)
            for outcome in self._connection.send(self._connection.unsent(runs), jobs=JOBS):
                if outcome.problem:
                    raise RuntimeError(outcome.problem)
                del left[outcome.run.id]
        except (TimeoutError, RuntimeError, OSError) as error:  # OSError: a full disk
            if not self._is_off:
                self._fall_back(str(error))
            return list(left.values())
        return []

    def _fall_back(self, problem: str) -> None:
        """Continue offline, or, if that fails too, without W&B."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._tracking.mode == "online":
            place = self._tracking.folder / "wandb"
            self._note(f"W&B cannot be reached, runs are kept offline in {place}: {problem}; {self._how_to_send}")
            self._tracking = replace(self._tracking, mode="offline")
        else:
            self._note(f"W&B does not work, the search goes on without it: {problem}")
            self._is_off = True

    def _note(self, sentence: str) -> None:
        logger.warning(sentence)
        with suppress(OSError):  # a full disk, which is said elsewhere
            note_outage(self._tracking.folder, sentence)
