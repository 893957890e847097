"""The median stopping rule: it stops weak trials for good, and never pauses one."""

import bisect
import math
import statistics
from collections.abc import Iterable

from search.scheduling.scheduler import SchedulerRequest, Verdict


class Median:
    """Stops a trial whose best value so far is below the median of the other trials' means up to the same epoch.

    Reference: Golovin et al. 2017, "Google Vizier", section 3.2.2.
    """

    MIN_TRIALS = 5
    """Other trials that must have reached the epoch, as in Vizier and Optuna, because fewer say little."""

    def __init__(self, request: SchedulerRequest) -> None:
        self._grace_period = request.grace_period
        self._default_trial = request.default_trial
        self._values: dict[int, dict[int, float]] = {}
        self._means: dict[int, list[float]] = {}
        """For each epoch, the means of all trials that have reached it, in ascending order."""
        self._stopped: set[int] = set()

    @property
    def rung_epochs(self) -> list[list[int]]:
        """A single bracket without rungs: trials are compared after every epoch."""
        return [[]]

    def bracket_of(self, number: int) -> int:
        """Return 0: there is one bracket."""
        return 0

    def judge(self, number: int, epoch: int, *merits: float) -> Verdict:
        """Return STOP or CONTINUE by the first merit, validation Dice; STOP if it is not finite."""
        value = merits[0]
        if not math.isfinite(value):
            return Verdict.STOP
        values = self._values.setdefault(number, {})
        if epoch in values:
            return Verdict.STOP if number in self._stopped else Verdict.CONTINUE
        values[epoch] = value
        others = self._means.setdefault(epoch, [])
        median = statistics.median(others) if len(others) >= self.MIN_TRIALS else -math.inf
        bisect.insort(others, statistics.fmean(values.values()))
        may_stop = epoch >= self._grace_period and number != self._default_trial
        if may_stop and max(values.values()) < median:
            self._stopped.add(number)
            return Verdict.STOP
        return Verdict.CONTINUE

    def next_promotable(self, *, num_to_come: int, running_epochs: Iterable[int]) -> int | None:
        """Return None: no trial is paused."""
        return None

    def mark_promoted(self, number: int) -> None:
        """Do nothing: no trial is paused."""

    def remove(self, number: int) -> None:
        """Do nothing: the values of a trial that failed still count."""

    def drop_hopeless(self) -> list[int]:
        """Return []: no trial is paused."""
        return []

    def drop_worst(self) -> int | None:
        """Return None: no trial is paused."""
        return None
