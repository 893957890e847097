"""What a tracker is, and the tracker of a search by the mode that its config names."""

from typing import Protocol

from search.config import SearchConfig
from search.coordination.listener import Listener, Listeners
from search.tracking.outage import forget_outage
from search.tracking.runs import tracking_of
from search.tracking.tensorboard import TensorBoardTracker
from search.tracking.wandb_tracker import open_wandb_tracker


class Tracker(Listener, Protocol):
    """A listener of the coordinator that shows trials while they run. It never holds them up."""

    wants_slices: bool
    """Whether it can show predicted slices (kept_slices.py)."""

    def close(self) -> None:
        """Finish what can be finished within a bounded time; then the search is over."""


class NoTracker(Listeners):
    """A tracker that shows nothing: nobody listens."""

    wants_slices = False

    def close(self) -> None: ...


def open_tracker(config: SearchConfig) -> Tracker:
    """Return the tracker of a search that begins or is resumed; its config.json is written already."""
    if config.tracking == "off":
        return NoTracker()
    tracking = tracking_of(config)
    if config.tracking == "tensorboard":
        return TensorBoardTracker(tracking)
    forget_outage(tracking.folder)  # the server is tried again
    return open_wandb_tracker(tracking, config.search_space, searcher=config.searcher)
