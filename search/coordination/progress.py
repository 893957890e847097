"""What is known of a trial while a search runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from search.record.objectives import costs
from search.record.trials import METRIC, State
from search.scheduling.scheduler import Verdict
from search.space import Sample


@dataclass(frozen=True, kw_only=True)
class Leg:
    """What a lane trains next."""

    number: int
    sample: Sample


@dataclass(kw_only=True)
class Progress:
    """What is known of a trial."""

    number: int
    sample: Sample
    attrs: dict[str, Any]
    epochs: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Metrics by epoch: one that is done again after a loss takes the place of the lost one."""

    num_losses: int = 0
    """Times that its worker group was lost."""

    is_over: bool = False
    """The log says that it ended: of its checkpoints no more than the best is there, or none."""

    phase: str = "running"
    """'running' in a leg; 'paused'; 'unfinished', its leg was cut off; 'ended'."""

    outcome: tuple[Verdict | State, str | None] | None = None
    """What becomes of it after its leg, and why; None while that is open."""

    @property
    def dices(self) -> dict[int, float]:
        """Validation Dice by epoch, where it is finite."""
        dices = {number: epoch.get(METRIC, math.nan) for number, epoch in self.epochs.items()}
        return {number: dice for number, dice in dices.items() if math.isfinite(dice)}

    def costs(self, objectives: Sequence[str]) -> dict[str, float]:
        """Return what its network costs, by the objectives other than Dice; nothing before its first epoch."""
        first = next(iter(self.epochs.values()), {})
        return {name: first[name] for name in costs(objectives) if name in first}


class Listener(Protocol):
    """Who is told what happens."""

    def on_leg(self, trial: Progress) -> None:
        """A leg of a trial begins."""

    def on_epoch(self, trial: Progress, epoch: dict[str, Any]) -> None:
        """An epoch of a trial ended."""

    def on_loss(self, trial: Progress, error: str) -> None:
        """The trial's worker group was lost with its leg."""

    def on_end(self, trial: Progress, state: State, error: str | None) -> None:
        """The trial ended, or was cut off with the whole search."""


class Listeners:
    """Several of them, told one after the other."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def on_leg(self, trial: Progress) -> None:
        for listener in self._listeners:
            listener.on_leg(trial)

    def on_epoch(self, trial: Progress, epoch: dict[str, Any]) -> None:
        for listener in self._listeners:
            listener.on_epoch(trial, epoch)

    def on_loss(self, trial: Progress, error: str) -> None:
        for listener in self._listeners:
            listener.on_loss(trial, error)

    def on_end(self, trial: Progress, state: State, error: str | None) -> None:
        for listener in self._listeners:
            listener.on_end(trial, state, error)
