"""Successive halving: ASHA with a quota, and Hyperband, which is several of them.

A paused trial keeps its checkpoint and may be taken up again. That is what makes the order of arrival harmless: where
weak trials come first, a rule that can only stop must let every better one go on (27 of 27 with Ray's ASHA).
"""

import bisect
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from search.record.objectives import dominates
from search.scheduling.scheduler import Budget, Verdict


@dataclass
class _Rung:
    """The trials that reached one epoch."""

    epoch: int
    capacity: int
    """How many can ever go on from here."""

    arrived: dict[int, tuple[float, ...]] = field(default_factory=dict)
    """Merits, by trial."""

    num_better: Counter[int] = field(default_factory=Counter)
    """How many of those that arrived dominate a trial; counted with several objectives only."""

    gone_on: set[int] = field(default_factory=set)
    paused: list[int] = field(default_factory=list)
    """Best first, the earlier trial first among equals."""

    def arrive(self, number: int, merits: tuple[float, ...]) -> None:
        """Put a trial among those that wait here.

        With several objectives, a trial is ranked by how many dominate it (Fonseca & Fleming 1993), then by the first.
        """
        if len(merits) > 1:
            for other, theirs in self.arrived.items():
                self.num_better[number] += dominates(theirs, merits)
                self.num_better[other] += dominates(merits, theirs)
        self.arrived[number] = merits
        if len(merits) > 1:  # the newcomer has changed the others' ranks
            self.paused.sort(key=self._place)
        bisect.insort(self.paused, number, key=self._place)

    def _place(self, number: int) -> tuple[tuple[int, float], int]:
        return self.rank(number), number

    def rank(self, number: int) -> tuple[int, float]:
        """Return what is smaller the better a trial is."""
        return self.num_better[number], -self.arrived[number][0]

    def has_room(self, reduction_factor: int) -> bool:
        return bool(self.paused) and len(self.gone_on) < len(self.arrived) // reduction_factor

    def best_waits(self) -> bool:
        """Whether a paused trial is better than all that went on; who came early was compared with fewer."""
        gone_on = (self.rank(number) for number in self.gone_on)
        return bool(self.paused) and self.rank(self.paused[0]) < min(gone_on, default=(math.inf,))

    def hopeless(self) -> list[int]:
        """Return those that wait for a place that can never be theirs.

        Whoever arrives later can lift a trial past others by dominating these, but never past its own dominators.
        """
        room = max(1, self.capacity - len(self.gone_on))  # the best may go on at the end
        last = self.paused[room:]
        if not self.num_better:
            return last
        return [one for one in last if sum(self._stays_before(other, one) for other in self.paused) >= room]

    def _stays_before(self, number: int, other: int) -> bool:
        merits, theirs = self.arrived[number], self.arrived[other]
        return dominates(merits, theirs) or (merits == theirs and number < other)

    def remove(self, number: int) -> None:
        if number in self.paused:
            self.paused.remove(number)

    def let_go_on(self, number: int) -> None:
        self.remove(number)
        self.gone_on.add(number)


class Asha:
    """Asynchronous successive halving in the variant that pauses (its authors call it promotion), with a quota.

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

    @property
    def rung_epochs(self) -> list[int]:
        """Epochs after which trials are compared."""
        return list(self._rungs)

    def judge(self, number: int, epoch: int, *merits: float) -> Verdict:
        """Return CONTINUE between rungs and within the quota, PAUSE else; STOP for a merit that is not finite."""
        if not all(map(math.isfinite, merits)):
            return Verdict.STOP
        rung = self._rungs.get(epoch)
        if rung is None or number in rung.gone_on:
            return Verdict.CONTINUE
        if number not in rung.arrived:
            rung.arrive(number, merits)
        if rung.has_room(self._reduction_factor) and rung.paused[0] == number:
            rung.let_go_on(number)
            return Verdict.CONTINUE
        return Verdict.PAUSE

    def next_paused(self, *, num_to_come: int, running_epochs: Iterable[int]) -> int | None:
        """Return the best of the highest rung with room; at the end of a search, the best of a rung if it waits."""
        rungs = list(self._rungs.values())
        for rung in reversed(rungs):
            if rung.has_room(self._reduction_factor):
                return rung.paused[0]
        if num_to_come:
            return None
        behind = min(running_epochs, default=math.inf)
        for rung in rungs:
            if behind < rung.epoch:  # somebody may still come here
                return None
            if rung.best_waits():
                return rung.paused[0]
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
            for number in rung.hopeless():
                rung.remove(number)
                dropped.append(number)
        return dropped

    def drop_worst(self) -> int | None:
        """Return the last of the lowest rung where somebody waits."""
        for rung in self._rungs.values():
            if rung.paused:
                return rung.paused.pop()
        return None


class Hyperband:
    """Several ASHAs side by side, each with a longer grace period and fewer trials, against misleading early epochs.

    The last one stops nothing, so that what starts slowly has a chance at all.

    Reference: Li et al. 2018, arXiv:1603.06560; the shares of the brackets are those of its algorithm 1.
    """

    def __init__(self, budget: Budget) -> None:
        eta, grace_periods = budget.reduction_factor, [budget.grace_period]
        while grace_periods[-1] < budget.max_epochs:
            grace_periods.append(min(budget.max_epochs, grace_periods[-1] * eta))  # a factor apart, but for the last
        shares = [eta**left / (left + 1) for left in reversed(range(len(grace_periods)))]
        self._bounds = [sum(shares[: place + 1]) / sum(shares) for place in range(len(shares))]
        sizes = Counter(self.place(number) for number in range(budget.num_trials))
        self.brackets = [
            Asha(replace(budget, grace_period=epoch, num_trials=sizes[place]))
            for place, epoch in enumerate(grace_periods)
        ]

    def judge(self, number: int, epoch: int, *merits: float) -> Verdict:
        """Return what the trial's bracket says."""
        return self._bracket(number).judge(number, epoch, *merits)

    def next_paused(self, *, num_to_come: int, running_epochs: Iterable[int]) -> int | None:
        """Return the first bracket's that has one."""
        running = list(running_epochs)
        found = (bracket.next_paused(num_to_come=num_to_come, running_epochs=running) for bracket in self.brackets)
        return next((number for number in found if number is not None), None)

    def take_up(self, number: int) -> None:
        """Let a paused trial go on."""
        self._bracket(number).take_up(number)

    def remove(self, number: int) -> None:
        """Take it off its bracket."""
        self._bracket(number).remove(number)

    def hopeless(self) -> list[int]:
        """Return those of all brackets."""
        return [number for bracket in self.brackets for number in bracket.hopeless()]

    def drop_worst(self) -> int | None:
        """Return that of the first bracket that has one."""
        found = (bracket.drop_worst() for bracket in self.brackets)
        return next((number for number in found if number is not None), None)

    def _bracket(self, number: int) -> Asha:
        return self.brackets[self.place(number)]

    def place(self, number: int) -> int:
        """Return the place of a trial's bracket among the brackets."""
        # The golden ratio's multiples spread evenly: every run of trials is shared as the brackets' sizes are.
        return bisect.bisect_right(self._bounds[:-1], (number + 0.5) * (math.sqrt(5) - 1) / 2 % 1)
