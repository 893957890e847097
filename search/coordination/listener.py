"""The protocol of listeners, which the coordinator tells of every event of the search."""

from typing import Protocol

from search.coordination.trial_progress import TrialProgress
from search.record.epochs import EpochMetrics
from search.record.trials import State


class Listener(Protocol):
    """Receives the events of a search."""

    def on_leg(self, trial: TrialProgress) -> None:
        """Handle the beginning of a leg."""

    def on_epoch(self, trial: TrialProgress, epoch: EpochMetrics) -> None:
        """Handle the end of an epoch."""

    def on_loss(self, trial: TrialProgress, error: str) -> None:
        """Handle the loss of a trial's worker group, and of the leg with it."""

    def on_end(self, trial: TrialProgress, state: State, error: str | None) -> None:
        """Handle the end of a trial, or of the whole search before the trial's end (its phase is then not ENDED)."""


class Listeners:
    """Passes each event to several listeners, in order; to none, if there are none."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def on_leg(self, trial: TrialProgress) -> None:
        for listener in self._listeners:
            listener.on_leg(trial)

    def on_epoch(self, trial: TrialProgress, epoch: EpochMetrics) -> None:
        for listener in self._listeners:
            listener.on_epoch(trial, epoch)

    def on_loss(self, trial: TrialProgress, error: str) -> None:
        for listener in self._listeners:
            listener.on_loss(trial, error)

    def on_end(self, trial: TrialProgress, state: State, error: str | None) -> None:
        for listener in self._listeners:
            listener.on_end(trial, state, error)
