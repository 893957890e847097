"""A trial while its search runs: its phase, its epochs, and how its current leg will end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from search.record.codec import JsonObject
from search.record.epochs import EpochMetrics
from search.record.objectives import costs
from search.record.trials import Sample, State


@dataclass(frozen=True, kw_only=True)
class Leg:
    """A trial that a lane is to train next, from its newest checkpoint."""

    number: int
    sample: Sample


class Phase(StrEnum):
    """What is happening to a trial now."""

    RUNNING = "running"
    """A lane trains a leg of it."""

    PAUSED = "paused"
    """It waits on a rung until the scheduler promotes it."""

    INTERRUPTED = "interrupted"
    """Its leg was cut off; another leg will continue it."""

    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Pause:
    """The leg will end in a pause."""


@dataclass(frozen=True, kw_only=True)
class End:
    """The leg will end the trial."""

    state: State
    error: str | None = None
    """Why the trial ended; None if the state says enough."""


Outcome: TypeAlias = Pause | End
"""What the current leg of a trial will end in."""


@dataclass(kw_only=True)
class TrialProgress:
    """A trial and what has happened to it so far."""

    number: int
    sample: Sample
    attrs: JsonObject
    """Optuna attributes that the sampler needs after a restart (search/suggestion/searcher.py)."""

    epochs: dict[int, EpochMetrics] = field(default_factory=dict)
    """Metrics by epoch. If an epoch is trained again after a loss, its new metrics replace the old ones."""

    num_losses: int = 0
    """How often its worker group was lost."""

    has_ended_in_log: bool = False
    """Whether the log says that the trial ended. Then at most its best checkpoint is left."""

    phase: Phase = Phase.RUNNING
    outcome: Outcome | None = None
    """None while nothing is decided."""

    @property
    def last_epoch(self) -> int:
        """The number of its last epoch; 0 before the first has ended."""
        return max(self.epochs, default=0)

    @property
    def all_epochs(self) -> tuple[EpochMetrics, ...]:
        """Every epoch, first to last."""
        return tuple(self.epochs[number] for number in sorted(self.epochs))

    @property
    def dices(self) -> dict[int, float]:
        """Validation Dice by epoch, where it is finite."""
        return {number: epoch.val_dice for number, epoch in self.epochs.items() if epoch.has_dice}

    def costs(self, objectives: Sequence[str]) -> dict[str, float]:
        """Return its objectives other than Dice, which are the same in all epochs; empty before the first epoch."""
        first = next(iter(self.epochs.values()), None)
        values = {name: first.value(name) for name in costs(objectives)} if first else {}
        return {name: value for name, value in values.items() if value is not None}
