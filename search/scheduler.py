"""Schedulers: after which epoch a trial goes on, pauses, or stops. Plain Python, without Ray or Optuna.

A paused trial keeps its checkpoint and may be taken up again. That is what makes the order of arrival harmless: where
weak trials come first, a rule that can only stop must let every better one go on (27 of 27 with Ray's ASHA).
"""

import bisect
import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
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
    """Judges trials, by number, on their validation Dice."""

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        """Return what becomes of a trial after an epoch; the same again for an epoch that is done again."""

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


@dataclass
class _Rung:
    """The trials that reached one epoch."""

    epoch: int
    capacity: int
    """How many can ever go on from here."""

    arrived: set[int] = field(default_factory=set)
    gone_on: set[int] = field(default_factory=set)
    paused: list[tuple[float, int]] = field(default_factory=list)
    """(-value, number), best first, the earlier trial first among equals."""

    def has_room(self, reduction_factor: int, *, at_least: int = 0) -> bool:
        return bool(self.paused) and len(self.gone_on) < max(at_least, len(self.arrived) // reduction_factor)

    def remove(self, number: int) -> None:
        self.paused = [entry for entry in self.paused if entry[1] != number]

    def let_go_on(self, number: int) -> None:
        self.remove(number)
        self.gone_on.add(number)


class Asha:
    """Asynchronous successive halving in the promotion variant, with a quota.

    Of n trials that reached a rung, floor(n / reduction_factor) go on to the next one, the best first; the others wait
    for their turn. Without the quota (Li et al. 2020, algorithm 2, which asks only for a place among the best) trials
    that arrive worst first would all go on.

    Reference: Li et al. 2020, arXiv:1810.05934.
    """

    def __init__(self, budget: Budget) -> None:
        self._reduction_factor = budget.reduction_factor
        self._rungs: dict[int, _Rung] = {}
        epoch, capacity = budget.grace_period, budget.num_trials
        while epoch < budget.max_epochs:  # at the last epoch there is nothing left to save
            capacity = max(1, capacity // budget.reduction_factor)
            self._rungs[epoch] = _Rung(epoch=epoch, capacity=capacity)
            epoch *= budget.reduction_factor

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        """Return CONTINUE between rungs and within the quota, PAUSE else; STOP for a value that is not finite."""
        rung = self._rungs.get(epoch)
        if rung is None or number in rung.gone_on:
            return Verdict.CONTINUE
        if not math.isfinite(value):
            return Verdict.STOP
        if number not in rung.arrived:
            rung.arrived.add(number)
            bisect.insort(rung.paused, (-value, number))
        if rung.has_room(self._reduction_factor) and rung.paused[0][1] == number:
            rung.let_go_on(number)
            return Verdict.CONTINUE
        return Verdict.PAUSE

    def next_paused(self, *, num_to_come: int, running_epochs: Iterable[int]) -> int | None:
        """Return the best of the highest rung with room; at the end of a search, of a rung that nobody has left yet."""
        rungs = list(self._rungs.values())
        for rung in reversed(rungs):
            if rung.has_room(self._reduction_factor):
                return rung.paused[0][1]
        if num_to_come:
            return None
        behind = min(running_epochs, default=math.inf)
        for rung in rungs:
            if behind < rung.epoch:  # somebody may still come here
                return None
            if rung.has_room(self._reduction_factor, at_least=1):
                return rung.paused[0][1]
        return None

    def take_up(self, number: int) -> None:
        """Let a paused trial go on."""
        for rung in self._rungs.values():
            if number in rung.arrived and number not in rung.gone_on:
                rung.let_go_on(number)

    def remove(self, number: int) -> None:
        """Take a trial off the rung where it waits; it still counts among those that came there."""
        for rung in self._rungs.values():
            if number in rung.arrived:
                rung.remove(number)

    def hopeless(self) -> list[int]:
        """Return, once, the trials before which there are as many better ones as can ever go on."""
        dropped = []
        for rung in self._rungs.values():
            room = max(0, rung.capacity - len(rung.gone_on))
            dropped += [number for _, number in rung.paused[room:]]
            del rung.paused[room:]
        return dropped

    def drop_worst(self) -> int | None:
        """Return the last of the lowest rung where somebody waits."""
        for rung in self._rungs.values():
            if rung.paused:
                return rung.paused.pop()[1]
        return None


class Hyperband:
    """Several ASHAs side by side, each with a longer grace period and fewer trials, against misleading early epochs.

    Reference: Li et al. 2018, arXiv:1603.06560; the shares of the brackets are those of its algorithm 1.
    """

    def __init__(self, budget: Budget) -> None:
        eta, grace_periods = budget.reduction_factor, []
        epoch = budget.grace_period
        while epoch < budget.max_epochs:
            grace_periods.append(epoch)
            epoch *= eta
        num_brackets = len(grace_periods)
        shares = [eta**left / (left + 1) for left in range(num_brackets, 0, -1)]
        self._brackets = [
            Asha(replace(budget, grace_period=epoch, num_trials=math.ceil(budget.num_trials * share / sum(shares))))
            for epoch, share in zip(grace_periods, shares, strict=True)
        ]
        self._bounds = [sum(shares[: place + 1]) / sum(shares) for place in range(num_brackets)]

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        """Return what the trial's bracket says."""
        return self._bracket(number).judge(number, epoch, value) if self._brackets else Verdict.CONTINUE

    def next_paused(self, *, num_to_come: int, running_epochs: Iterable[int]) -> int | None:
        """Return the first bracket's that has one."""
        running = list(running_epochs)
        found = (bracket.next_paused(num_to_come=num_to_come, running_epochs=running) for bracket in self._brackets)
        return next((number for number in found if number is not None), None)

    def take_up(self, number: int) -> None:
        """Let a paused trial go on."""
        self._bracket(number).take_up(number)

    def remove(self, number: int) -> None:
        """Take it off its bracket."""
        self._bracket(number).remove(number)

    def hopeless(self) -> list[int]:
        """Return those of all brackets."""
        return [number for bracket in self._brackets for number in bracket.hopeless()]

    def drop_worst(self) -> int | None:
        """Return that of the first bracket that has one."""
        found = (bracket.drop_worst() for bracket in self._brackets)
        return next((number for number in found if number is not None), None)

    def _bracket(self, number: int) -> Asha:
        # The golden ratio's multiples spread evenly: every run of trials is shared as the brackets' sizes are.
        place = (number + 0.5) * (math.sqrt(5) - 1) / 2 % 1
        return self._brackets[bisect.bisect_right(self._bounds[:-1], place)]


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

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        """Return STOP or CONTINUE; nothing ever pauses."""
        if not math.isfinite(value):
            return Verdict.STOP
        values = self._values.setdefault(number, {})
        if epoch in values:
            return Verdict.CONTINUE
        values[epoch] = value
        others = self._means.setdefault(epoch, [])
        median = statistics.median(others) if len(others) >= self.MIN_TRIALS else -math.inf
        bisect.insort(others, statistics.fmean(values.values()))
        return Verdict.STOP if epoch >= self._grace_period and max(values.values()) < median else Verdict.CONTINUE

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


SCHEDULERS: dict[str, Callable[[Budget], Scheduler]] = {
    "asha": Asha,
    "hyperband": Hyperband,
    "median": Median,
    "none": _to_the_end,
}
