"""The tracker of a search, by the mode that its config names."""

from search.config import SearchConfig
from search.space import SPACES
from search.tracking.outage import forget_outage
from search.tracking.runs import tracking_of
from search.tracking.tensorboard import TensorBoardTracker
from search.tracking.tracker import NoTracker, Tracker
from search.tracking.wandb_tracker import open_wandb_tracker


def open_tracker(config: SearchConfig) -> Tracker:
    """Return the tracker of a search that begins or is resumed; its config.json is written already."""
    if config.tracking == "off":
        return NoTracker()
    tracking = tracking_of(config)
    if config.tracking == "tensorboard":
        return TensorBoardTracker(tracking)
    forget_outage(tracking.folder)  # the server is tried again
    return open_wandb_tracker(tracking, SPACES[config.space], searcher=config.searcher)
