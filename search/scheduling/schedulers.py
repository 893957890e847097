"""The schedulers by name, and those that are small."""

import bisect
import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import replace

from search.scheduling.halving import Asha, Hyperband
from search.scheduling.scheduler import Budget, Scheduler, Verdict


class Median:
    """Stops a trial whose best value so far is below the median of the others' means up to the same epoch.

    Reference: Golovin et al. 2017, "Google Vizier", section 3.2.2.
    """

    MIN_TRIALS = 5
    """Others that must have come as far; fewer say little. Vizier and Optuna use the same."""

    def __init__(self, budget: Budget) -> None:
        self._grace_period = budget.grace_period
        self._values: dict[int, dict[int, float]] = {}
        self._means: dict[int, list[float]] = {}
        """By epoch, the means of all trials that came so far, in order."""
        self._stopped: set[int] = set()

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        """Return STOP or CONTINUE; nothing ever pauses."""
        if not math.isfinite(value):
            return Verdict.STOP
        values = self._values.setdefault(number, {})
        if epoch in values:
            return Verdict.STOP if number in self._stopped else Verdict.CONTINUE
        values[epoch] = value
        others = self._means.setdefault(epoch, [])
        median = statistics.median(others) if len(others) >= self.MIN_TRIALS else -math.inf
        bisect.insort(others, statistics.fmean(values.values()))
        if epoch >= self._grace_period and max(values.values()) < median:
            self._stopped.add(number)
            return Verdict.STOP
        return Verdict.CONTINUE

    def next_paused(self, *, num_to_come: int, running_epochs: Iterable[int]) -> int | None:
        """Return None."""
        return None

    def take_up(self, number: int) -> None:
        """Do nothing."""

    def remove(self, number: int) -> None:
        """Do nothing: its values still count."""

    def hopeless(self) -> list[int]:
        """Return none."""
        return []

    def drop_worst(self) -> int | None:
        """Return None."""
        return None


def _to_the_end(budget: Budget) -> Scheduler:
    """Return a scheduler that stops nothing: an ASHA without rungs."""
    return Asha(replace(budget, grace_period=budget.max_epochs))


ONE_OBJECTIVE = ("median",)
"""Those that cannot rank trials by several objectives."""

SCHEDULERS: dict[str, Callable[[Budget], Scheduler]] = {
    "asha": Asha,
    "hyperband": Hyperband,
    "median": Median,
    "none": _to_the_end,
}
