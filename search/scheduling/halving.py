"""Successive halving: ASHA with a quota, and Hyperband, which runs several ASHA brackets side by side.

Li et al. compare trials at rungs, whose epochs differ by a constant factor. This is their asynchronous algorithm, in
which a paused trial keeps its checkpoint and can be promoted later. Ray's ASHAScheduler and Optuna's
SuccessiveHalvingPruner implement a variant that can only stop trials. Its result depends on the order of arrival: if
trials arrive worst first, each is the best so far and continues (27 of 27 trials with Ray's ASHA).

References:
    Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", arXiv:1810.05934 (ASHA).
    Li et al. 2018, "Hyperband", arXiv:1603.06560.
"""

import bisect
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from search.scheduling.rung import Rung
from search.scheduling.scheduler import SchedulerRequest, Verdict


class Asha:
    """ASHA (Li et al. 2020, algorithm 2), with a quota on promotions.

    As in the paper, rungs are at grace_period * reduction_factor^k epochs, a trial pauses when it reaches one, and
    whenever a worker is free, the best promotable trial of the highest rung continues, or else a new trial begins.

    It differs from the paper in four ways:

    - There is a quota: of n trials that reached a rung, at most floor(n / reduction_factor) are ever promoted. In the
      paper, a trial is promotable if it is among the best n / reduction_factor at that moment, so if trials arrive
      worst first, all of them are promoted one after another.
    - A trial that is promotable as soon as it reaches a rung continues without a pause.
    - At the end of the search, the best trial of each rung is promoted even if the quota is used up.
    - Trials that can never be promoted are ended early, and their checkpoints are removed.
    """

    def __init__(self, request: SchedulerRequest) -> None:
        self._reduction_factor = request.reduction_factor
        self._default_trial = request.default_trial
        self._rungs: dict[int, Rung] = {}
        epoch, capacity = request.grace_period, request.num_trials
        while epoch < request.max_epochs:  # a rung at the last epoch would save nothing
            capacity = max(1, capacity // request.reduction_factor)
            self._rungs[epoch] = Rung(epoch=epoch, capacity=capacity)
            epoch *= request.reduction_factor

    @property
    def rung_epochs(self) -> list[list[int]]:
        """The epochs of the rungs of the only bracket, in ascending order."""
        return [list(self._rungs)]

    def bracket_of(self, number: int) -> int:
        """Return 0: there is one bracket."""
        return 0

    def judge(self, number: int, epoch: int, *merits: float) -> Verdict:
        """Return CONTINUE between rungs and for a promotable trial, else PAUSE; STOP for a merit that is not finite."""
        if not all(map(math.isfinite, merits)):
            return Verdict.STOP
        rung = self._rungs.get(epoch)
        if rung is None or number in rung.promoted:
            return Verdict.CONTINUE
        if number not in rung.arrived:
            rung.arrive(number, merits)
        is_promotable = rung.has_promotable(self._reduction_factor) and rung.paused[0] == number
        if is_promotable or number == self._default_trial:
            rung.promote(number)
            return Verdict.CONTINUE
        return Verdict.PAUSE

    def next_promotable(self, *, num_to_come: int, running_epochs: Iterable[int]) -> int | None:
        """Return the best promotable trial of the highest rung that has one.

        At the end of a search, when no other trial can reach a rung, this is the rung's best trial if it is paused.
        """
        rungs = list(self._rungs.values())
        for rung in reversed(rungs):
            if rung.has_promotable(self._reduction_factor):
                return rung.paused[0]
        if num_to_come:
            return None
        lowest_epoch = min(running_epochs, default=math.inf)
        for rung in rungs:
            if lowest_epoch < rung.epoch:  # a running trial may still reach this rung
                return None
            if rung.best_is_paused():
                return rung.paused[0]
        return None

    def mark_promoted(self, number: int) -> None:
        """Record that a paused trial continues."""
        for rung in self._rungs.values():
            if number in rung.arrived and number not in rung.promoted:
                rung.promote(number)

    def remove(self, number: int) -> None:
        """Remove a trial from the rung where it is paused; it still counts among those that arrived there."""
        for rung in self._rungs.values():
            if number in rung.arrived:
                rung.remove(number)

    def drop_hopeless(self) -> list[int]:
        """Remove the paused trials that can never be promoted, and return their numbers, each once."""
        dropped = []
        for rung in self._rungs.values():
            for number in rung.hopeless():
                rung.remove(number)
                dropped.append(number)
        return dropped

    def drop_worst(self) -> int | None:
        """Remove the worst trial of the lowest rung that has a paused one, and return it; None if none is paused."""
        for rung in self._rungs.values():
            if rung.paused:
                return rung.paused.pop()
        return None


class Hyperband:
    """Several brackets side by side, each an ASHA with a longer grace period and fewer trials than the one before.

    They guard against misleading early epochs: the last bracket stops nothing, so that a configuration that learns
    slowly has a chance. The brackets are those of Li et al. 2018, algorithm 1, with its shares of trials. In the paper
    they run one after the other, each by synchronous successive halving. Here all run at the same time, each by ASHA,
    and the trials are spread over them evenly.
    """

    def __init__(self, request: SchedulerRequest) -> None:
        eta, grace_periods = request.reduction_factor, [request.grace_period]
        while grace_periods[-1] < request.max_epochs:
            grace_periods.append(min(request.max_epochs, grace_periods[-1] * eta))  # the last factor may be below eta
        shares = [eta**left / (left + 1) for left in reversed(range(len(grace_periods)))]
        self._bounds = [sum(shares[: index + 1]) / sum(shares) for index in range(len(shares))]
        sizes = Counter(self.bracket_of(number) for number in range(request.num_trials))
        self.brackets = [
            Asha(replace(request, grace_period=epoch, num_trials=sizes[index]))
            for index, epoch in enumerate(grace_periods)
        ]

    @property
    def rung_epochs(self) -> list[list[int]]:
        """The epochs of the rungs of each bracket, in ascending order; none for the last bracket."""
        return [epochs for bracket in self.brackets for epochs in bracket.rung_epochs]

    def judge(self, number: int, epoch: int, *merits: float) -> Verdict:
        """Return the verdict of the trial's bracket."""
        return self._bracket(number).judge(number, epoch, *merits)

    def next_promotable(self, *, num_to_come: int, running_epochs: Iterable[int]) -> int | None:
        """Return the promotable trial of the first bracket that has one."""
        running = list(running_epochs)
        found = (bracket.next_promotable(num_to_come=num_to_come, running_epochs=running) for bracket in self.brackets)
        return next((number for number in found if number is not None), None)

    def mark_promoted(self, number: int) -> None:
        """Record in its bracket that a paused trial continues."""
        self._bracket(number).mark_promoted(number)

    def remove(self, number: int) -> None:
        """Remove a trial from the rung where it is paused in its bracket."""
        self._bracket(number).remove(number)

    def drop_hopeless(self) -> list[int]:
        """Remove the paused trials of all brackets that can never be promoted, and return their numbers, each once."""
        return [number for bracket in self.brackets for number in bracket.drop_hopeless()]

    def drop_worst(self) -> int | None:
        """Remove the worst trial of the first bracket that has a paused one, and return it; None if none is paused."""
        found = (bracket.drop_worst() for bracket in self.brackets)
        return next((number for number in found if number is not None), None)

    def bracket_of(self, number: int) -> int:
        """Return the index of a trial's bracket in `brackets`."""
        # Multiples of the golden ratio are spread evenly over 0 to 1, so any series of trials gets these proportions.
        return bisect.bisect_right(self._bounds[:-1], (number + 0.5) * (math.sqrt(5) - 1) / 2 % 1)

    def _bracket(self, number: int) -> Asha:
        return self.brackets[self.bracket_of(number)]
