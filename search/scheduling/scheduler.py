"""What a scheduler is: it says after which epoch a trial goes on, pauses, or stops. Without Ray or Optuna."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Verdict(Enum):
    """What becomes of a trial after an epoch."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a scheduler divides."""

    num_trials: int
    """Configurations that will be tried."""

    max_epochs: int
    """Epochs of a trial that is never stopped."""

    grace_period: int
    """Epochs that every trial gets."""

    reduction_factor: int
    """One in so many goes on at a rung; the next rung is so many times further."""


class Scheduler(Protocol):
    """Judges trials, by number."""

    def judge(self, number: int, epoch: int, *merits: float) -> Verdict:
        """Return what becomes of a trial after an epoch; the same again for an epoch that is done again.

        Args:
            merits: What the trial is worth by each objective, validation Dice first; more is better.
        """

    def next_paused(self, *, num_to_come: int, running_epochs: Iterable[int]) -> int | None:
        """Return the paused trial that may go on now, if there is one.

        Args:
            num_to_come: Trials that have not begun.
            running_epochs: Epochs done by each trial that is running.
        """

    def take_up(self, number: int) -> None:
        """A paused trial goes on."""

    def remove(self, number: int) -> None:
        """A trial failed: if it was paused, it waits no longer."""

    def hopeless(self) -> list[int]:
        """Return, once, the paused trials that can never go on."""

    def drop_worst(self) -> int | None:
        """Return a paused trial that shall never go on, the least promising; None if nothing is paused."""
