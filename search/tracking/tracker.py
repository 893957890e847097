"""What a tracker is, and the tracker of a name. It lives where the trial runs and must never harm it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from search.trials import trial_id


class Tracker(Protocol):
    """What a lane says of its trials."""

    def start(self, number: int, config: dict[str, Any], history: Sequence[dict[str, float]] = ()) -> None:
        """A trial begins, or goes on after the epochs of its history."""

    def log(self, metrics: dict[str, float]) -> None:
        """An epoch of it ended."""

    def finish(self, state: str) -> None:
        """It ended."""


class NoTracker:
    """Says nothing to anyone."""

    def start(self, number: int, config: dict[str, Any], history: Sequence[dict[str, float]] = ()) -> None: ...

    def log(self, metrics: dict[str, float]) -> None: ...

    def finish(self, state: str) -> None: ...


def make_tracker(tracking: str, *, project: str, group: str, folder: Path) -> Tracker:
    """Return the tracker of a name: 'offline', 'online' or 'off'."""
    if tracking == "off":
        return NoTracker()
    from search.tracking.wandb_run import WandbTracker  # which imports this module

    return WandbTracker(mode=tracking, project=project, group=group, folder=folder)


def run_id(group: str, number: int) -> str:
    """Return the id of a trial's run in its project."""
    return f"{group}-{trial_id(number)}"
