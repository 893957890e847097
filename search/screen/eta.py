"""Estimate how long a search will still take, by simulating the rest of it with copies of its own scheduler.

Most trials are pruned, and at the end a few lanes train the last trials while the others are idle. Both follow from the
scheduler's rules, the number of lanes and the length of epochs, so nothing is fitted. In a simulation, each trial
follows the learning curve of a trial of this search that is drawn at random.
"""

import copy
import heapq
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from search.coordination.trial_progress import End, Phase, TrialProgress
from search.record.epochs import METRIC, EpochMetrics
from search.record.objectives import merits
from search.record.trials import State
from search.scheduling.scheduler import Scheduler, Verdict

NUM_SIMULATIONS = 8
"""Number of simulations for a search of up to 250 trials. A larger search gets fewer: each takes longer, the search
waits meanwhile, and they differ less."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of a search."""

    num_trials: int
    max_epochs: int
    num_lanes: int
    objectives: tuple[str, ...] = (METRIC,)
    default_trial: int | None = None
    """Number of the trial with the default configuration; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long a search will still take: the median, the shortest and the longest of the simulations."""

    seconds: float
    low_seconds: float
    high_seconds: float

    def after(self, seconds: float, *, at_most: float = math.inf) -> "Estimate":
        """Return the estimate after some more seconds have passed; no figure is above `at_most`."""
        left = (
            max(0.0, min(at_most, length - seconds)) for length in (self.seconds, self.low_seconds, self.high_seconds)
        )
        return Estimate(**dict(zip(("seconds", "low_seconds", "high_seconds"), left, strict=True)))


def estimate(
    trials: Mapping[int, TrialProgress],
    scheduler: Scheduler,
    plan: Plan,
    *,
    overhead_seconds: float = 0.0,
    under_way: Mapping[int, float] | None = None,
) -> Estimate | None:
    """Return how long the rest of the search will take.

    The estimate is None while there are no lanes, and until as many trials as there are lanes have ended an epoch.

    Args:
        overhead_seconds: What an epoch takes beside training and validation, such as its checkpoint.
        under_way: For each running trial, how long ago its current epoch began.
    """
    if not plan.num_lanes:  # the cluster has lost all its machines for a while
        return None
    models = [trial for trial in trials.values() if trial.epochs or trial.phase == Phase.ENDED]
    if sum(bool(trial.epochs) for trial in models) < min(plan.num_lanes, plan.num_trials):
        return None
    lengths = [
        _Simulation(trials, models, scheduler, plan, overhead_seconds, seed).run(under_way or {})
        for seed in range(max(2, min(NUM_SIMULATIONS, 2000 // plan.num_trials)))
    ]
    return Estimate(seconds=median(lengths), low_seconds=min(lengths), high_seconds=max(lengths))


@dataclass
class _SimulatedTrial:
    """A trial in a simulation."""

    epoch: int
    merits: tuple[float, ...]
    model: TrialProgress
    """The trial that it behaves like from here on."""

    seconds: float
    """Length of an epoch."""

    last_epoch: int
    """The epoch after which it ends unless the scheduler stops it."""


class _Simulation:
    """One simulation of the rest of a search."""

    def __init__(
        self,
        trials: Mapping[int, TrialProgress],
        models: Sequence[TrialProgress],
        scheduler: Scheduler,
        plan: Plan,
        overhead_seconds: float,
        seed: int,
    ) -> None:
        self._trials = trials
        self._random = random.Random(seed)
        # A bootstrap sample, because a few trials say little about the others.
        self._models = self._random.choices(models, k=len(models))
        self._scheduler = copy.deepcopy(scheduler)
        self._plan = plan
        self._overhead_seconds = overhead_seconds
        self._gains = _gains(models)
        self._usual_seconds = fmean(_seconds(trial) for trial in models if trial.epochs)
        self._num_begun = len(trials)
        self._simulated: dict[int, _SimulatedTrial] = {}
        self._waiting = [number for number, trial in trials.items() if trial.phase == Phase.INTERRUPTED]
        self._running: list[tuple[float, int]] = []
        """When the current epoch of each running trial ends, with the trial's number."""

    def run(self, under_way: Mapping[int, float]) -> float:
        """Return the seconds until nothing is left to train."""
        clock = 0.0
        for number, trial in self._trials.items():
            if trial.phase == Phase.RUNNING and trial.outcome is None:  # else only its last checkpoint is missing
                left = self._trial(number).seconds - under_way.get(number, 0.0)
                heapq.heappush(self._running, (max(0.0, left), number))
        while True:
            while len(self._running) < self._plan.num_lanes and (number := self._next()) is not None:
                heapq.heappush(self._running, (clock + self._trial(number).seconds, number))
            if not self._running:
                return clock
            clock, number = heapq.heappop(self._running)
            if self._end_epoch(number):
                heapq.heappush(self._running, (clock + self._trial(number).seconds, number))

    def _next(self) -> int | None:
        """Return the trial that is trained next, in the coordinator's order; None if there is none now."""
        if self._waiting:
            return self._waiting.pop()
        running = [self._trial(number).epoch for _, number in self._running]
        num_to_come = self._plan.num_trials - self._num_begun
        number = self._scheduler.next_promotable(num_to_come=num_to_come, running_epochs=running)
        if number is not None:
            self._scheduler.mark_promoted(number)
            return number
        if num_to_come <= 0:
            return None
        self._num_begun += 1
        return self._num_begun - 1

    def _end_epoch(self, number: int) -> bool:
        """Record the end of an epoch, and return whether the trial continues with the next one."""
        trial = self._trial(number)
        if trial.epoch >= trial.last_epoch:  # its model failed before an epoch ended
            return False
        trial.epoch += 1
        trial.merits = self._next_merits(trial)
        if trial.epoch >= trial.last_epoch:
            return False
        return self._scheduler.judge(number, trial.epoch, *trial.merits) == Verdict.CONTINUE

    def _trial(self, number: int) -> _SimulatedTrial:
        if number not in self._simulated:
            self._simulated[number] = self._begin(number)
        return self._simulated[number]

    def _begin(self, number: int) -> _SimulatedTrial:
        """Return a trial as it is now. Its model is drawn from the trials that have more epochs, or for a new trial
        from all."""
        trial = self._trials.get(number)
        epoch = max(trial.epochs, default=0) if trial else 0
        further = [model for model in self._models if max(model.epochs, default=0) > epoch] if epoch else self._models
        model = self._random.choice(further) if further else None
        known = next((one for one in (trial, model) if one and one.epochs), None)
        follows = model or trial
        assert follows is not None  # without a trial of this number, any model will do
        return _SimulatedTrial(
            epoch=epoch,
            merits=_merits(trial, epoch, self._plan.objectives) if trial and epoch else (),
            model=follows,
            seconds=(_seconds(known) if known else self._usual_seconds) + self._overhead_seconds,
            last_epoch=_last_epoch(model, self._plan.max_epochs),
        )

    def _next_merits(self, trial: _SimulatedTrial) -> tuple[float, ...]:
        """Return a trial's merits after its next epoch. Dice grows by its model's gain in that epoch, or by the median
        gain if that is unknown."""
        if not trial.merits:
            return _merits(trial.model, trial.epoch, self._plan.objectives)
        gain = _gain(trial.model, trial.epoch)
        return (trial.merits[0] + (self._gains.get(trial.epoch, 0.0) if gain is None else gain), *trial.merits[1:])


def _seconds(trial: TrialProgress) -> float:
    return fmean(epoch.seconds for epoch in trial.epochs.values())


def _last_epoch(model: TrialProgress | None, max_epochs: int) -> int:
    """Return the epoch after which a trial with this model ends unless the scheduler stops it: `max_epochs`, or the
    model's last epoch if the model ended by itself."""
    match model.outcome if model else None:
        case End(state=State.FAILED | State.COMPLETE) if model:
            return model.last_epoch
    return max_epochs


def _merits(trial: TrialProgress, epoch: int, objectives: Sequence[str]) -> tuple[float, ...]:
    return merits(trial.epochs.get(epoch) or EpochMetrics(epoch=epoch), objectives)


def _gain(trial: TrialProgress, epoch: int) -> float | None:
    dices = trial.dices
    return dices[epoch] - dices[epoch - 1] if epoch in dices and epoch - 1 in dices else None


def _gains(models: Sequence[TrialProgress]) -> dict[int, float]:
    """Return the median gain in Dice of each epoch, by epoch."""
    last = max(model.last_epoch for model in models)
    found = {epoch: [_gain(model, epoch) for model in models] for epoch in range(2, last + 1)}
    known = {epoch: [gain for gain in gains if gain is not None] for epoch, gains in found.items()}
    return {epoch: median(gains) for epoch, gains in known.items() if gains}
