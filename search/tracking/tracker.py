"""What a tracker is, and the tracker of a search."""

from typing import Protocol

from search.coordination.listener import Listener
from search.coordination.trial_progress import TrialProgress
from search.record.epochs import EpochMetrics
from search.record.trials import State


class Tracker(Listener, Protocol):
    """A listener of the coordinator that shows trials while they run. It never holds them up."""

    wants_slices: bool
    """Whether it can show predicted slices (kept_slices.py)."""

    def close(self) -> None:
        """Finish what can be finished within a bounded time; then the search is over."""


class NoTracker:
    """A tracker that shows nothing."""

    wants_slices = False

    def on_leg(self, trial: TrialProgress) -> None: ...

    def on_epoch(self, trial: TrialProgress, epoch: EpochMetrics) -> None: ...

    def on_loss(self, trial: TrialProgress, error: str) -> None: ...

    def on_end(self, trial: TrialProgress, state: State, error: str | None) -> None: ...

    def close(self) -> None: ...
