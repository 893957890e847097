"""The protocol of schedulers, which decide after each epoch whether a trial continues, pauses or stops.

Schedulers know neither Ray nor Optuna.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Verdict(Enum):
    """A scheduler's answer after an epoch."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True, kw_only=True)
class SchedulerRequest:
    """What a scheduler is told about a search, in the terms of Optuna's SuccessiveHalvingPruner and Ray's ASHA."""

    num_trials: int
    """Configurations that will be tried."""

    max_epochs: int
    """Epochs of a trial that is never stopped (R in Li et al. 2020)."""

    grace_period: int
    """Epochs that every trial gets; the first rung is there (r)."""

    reduction_factor: int
    """With 3, one in three trials is promotable at each rung, and each rung is at three times the epochs of the rung
    below (eta)."""

    default_trial: int | None = None
    """Number of the trial with the default configuration. Others are compared with it, but it is never stopped."""


class Scheduler(Protocol):
    """Judges trials, which it knows by their numbers."""

    @property
    def rung_epochs(self) -> list[list[int]]:
        """For each bracket, the epochs at which its rungs compare trials, in ascending order."""
        ...

    def bracket_of(self, number: int) -> int:
        """Return the index of a trial's bracket in `rung_epochs`."""
        ...

    def judge(self, number: int, epoch: int, *merits: float) -> Verdict:
        """Return the verdict on a trial after an epoch. An epoch that is trained again gets the same verdict.

        Args:
            merits: The trial's value by each objective, validation Dice first; more is better.
        """
        ...

    def next_promotable(self, *, num_to_come: int, running_epochs: Iterable[int]) -> int | None:
        """Return the paused trial that may continue now; None if there is none.

        Args:
            num_to_come: Trials that have not begun.
            running_epochs: For each running trial, the epochs it has done.
        """
        ...

    def mark_promoted(self, number: int) -> None:
        """Record that a paused trial continues."""
        ...

    def remove(self, number: int) -> None:
        """Forget that a trial is paused, because it failed."""
        ...

    def drop_hopeless(self) -> list[int]:
        """Remove the paused trials that can never be promoted, and return their numbers, each once."""
        ...

    def drop_worst(self) -> int | None:
        """Remove the least promising paused trial for good, and return it; None if no trial is paused."""
        ...
