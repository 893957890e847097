"""W&B as a tracker: a run for each trial, in a group for each experiment.

A thread brings the runs to W&B while the search goes on, so that neither a trial nor the search waits for it.
"""

import threading
from contextlib import suppress
from dataclasses import replace

from search.coordination.trial_progress import TrialProgress
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.space.space import Space
from search.tracking.connection import Connection, Patience
from search.tracking.outage import how_to_send, note_outage
from search.tracking.runs import TrackedRun, Tracking, end_reason, make_run

JOBS = 8
"""Runs that are sent at the same time. Many end together, when the search ends."""

NICENESS = 15
"""The niceness of W&B's client, so that it takes hardly anything of a core from the workers, who have none."""

CLOSING_SECONDS = 60.0
"""How long the end of a search waits while W&B takes the last runs. It waits less for a server that does not answer."""


class WandbTracker:
    """Shows trials in W&B: online while they run, offline when they end."""

    wants_slices = True

    def __init__(
        self, tracking: Tracking, connection: Connection | None = None, patience: Patience | None = None
    ) -> None:
        self._tracking = tracking
        self._sender = Sender(tracking, connection, patience or Patience())

    def __getstate__(self) -> dict[str, object]:
        return {}  # Tune pickles its scheduler with all listeners, and nobody reads the copy

    @property
    def mode(self) -> str:
        """The mode that it began in."""
        return self._tracking.mode

    def on_leg(self, trial: TrialProgress) -> None:
        """Open the trial's run, or continue it."""
        self._put(trial)

    def on_epoch(self, trial: TrialProgress, epoch: EpochMetrics) -> None:
        """Log an epoch."""
        self._put(trial)

    def on_loss(self, trial: TrialProgress, error: str) -> None:
        """Do nothing: the run continues with the trial."""

    def on_end(self, trial: TrialProgress, state: State, error: str | None) -> None:
        """Close the trial's run. One that was cut off may be opened again by a search that is resumed."""
        max_epochs = self._tracking.settings.max_epochs
        reason = end_reason(state, error, num_epochs=len(trial.epochs), max_epochs=max_epochs)
        self._put(trial, is_over=True, state=state, reason=reason)

    def close(self) -> None:
        """Wait a limited time for the last runs."""
        self._sender.close()

    def _put(
        self, trial: TrialProgress, *, is_over: bool = False, state: State | None = None, reason: str = ""
    ) -> None:
        if self.mode == "offline" and not is_over:
            return
        epochs = [trial.epochs[epoch] for epoch in sorted(trial.epochs)]
        run = make_run(self._tracking, trial.number, trial.sample, epochs, is_over=is_over, state=state, reason=reason)
        self._sender.put(run)


class Sender:
    """A thread that brings runs to W&B's server, or to offline files once the server has failed."""

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
        with suppress(OSError):  # a full disk, which is said elsewhere
            note_outage(self._tracking.folder, sentence)


def open_wandb_tracker(
    tracking: Tracking, space: Space, *, searcher: str, patience: Patience | None = None
) -> WandbTracker:
    """Return the tracker of a search that is shown in W&B, online with its sweep.

    If the server does not make the sweep in time, the whole search is tracked offline.
    """
    if tracking.mode == "offline":
        return WandbTracker(tracking, patience=patience)
    connection = None
    try:
        connection = Connection(tracking, patience=patience or Patience(), niceness=NICENESS)
        connection.open_sweep(space, searcher=searcher)
    except (TimeoutError, RuntimeError, OSError) as error:
        if connection is not None:
            connection.close()
        hint = how_to_send(tracking.folder)
        sentence = f"W&B does not take this search, which goes on offline ({error}); {hint}"
        note_outage(tracking.folder, sentence)
        return WandbTracker(replace(tracking, mode="offline"), patience=patience)
    return WandbTracker(tracking, connection, patience)
