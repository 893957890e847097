"""W&B as a tracker: a run for each trial, in a group for each experiment."""

import logging
from dataclasses import replace
from typing import Any

from search.coordination.trial_progress import TrialProgress
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.space import Space
from search.tracking.connection import Connection, Patience
from search.tracking.outage import note_outage
from search.tracking.pages import how_to_send
from search.tracking.runs import Tracking, end_reason, make_run
from search.tracking.sender import NICENESS, Sender

logger = logging.getLogger(__name__)


class WandbTracker:
    """Shows trials in W&B: online while they run, offline when they end."""

    wants_slices = True

    def __init__(
        self, tracking: Tracking, connection: Connection | None = None, patience: Patience | None = None
    ) -> None:
        self._tracking = tracking
        self._sender = Sender(tracking, connection, patience or Patience())

    def __getstate__(self) -> dict[str, Any]:
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

    def _put(self, trial: TrialProgress, **end: Any) -> None:
        if self.mode == "offline" and not end:
            return
        epochs = [trial.epochs[epoch] for epoch in sorted(trial.epochs)]
        self._sender.put(make_run(self._tracking, trial.number, trial.sample, epochs, **end))


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
