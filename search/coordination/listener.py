"""What a coordinator tells others, as it happens."""

from typing import Protocol

from search.coordination.trial_progress import TrialProgress
from search.record.epochs import EpochMetrics
from search.record.trials import State


class Listener(Protocol):
    """Someone who is told what happens in a search."""

    def on_leg(self, trial: TrialProgress) -> None:
        """Note that a leg of the trial begins."""

    def on_epoch(self, trial: TrialProgress, epoch: EpochMetrics) -> None:
        """Note that an epoch of the trial ended."""

    def on_loss(self, trial: TrialProgress, error: str) -> None:
        """Note that the trial's worker group was lost with its leg."""

    def on_end(self, trial: TrialProgress, state: State, error: str | None) -> None:
        """Note that the trial ended, or was cut off with the whole search."""


class Listeners:
    """Several listeners, told one after the other."""

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


class NoListener:
    """A listener that ignores everything."""

    def on_leg(self, trial: TrialProgress) -> None: ...

    def on_epoch(self, trial: TrialProgress, epoch: EpochMetrics) -> None: ...

    def on_loss(self, trial: TrialProgress, error: str) -> None: ...

    def on_end(self, trial: TrialProgress, state: State, error: str | None) -> None: ...
