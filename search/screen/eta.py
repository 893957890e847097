"""How long a search will still take: what is left of it, rehearsed with its own scheduler.

Most trials are pruned, and at the end a few lanes train the last ones while the others stand still. Both follow from
the scheduler's rules, the lanes and the epochs' lengths; so nothing is fitted: copies of the scheduler judge trials
that go on, or begin, like some trial of this search did. What differs between rehearsals is which one.
"""

import copy
import heapq
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from search.coordination.progress import Progress
from search.record.objectives import merits
from search.record.trials import METRIC, State
from search.scheduling.scheduler import Scheduler, Verdict

NUM_REHEARSALS = 8
"""Of a search of a few hundred trials; of a large one fewer, for it waits meanwhile, and its trials even out."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search was going to do."""

    num_trials: int
    max_epochs: int
    num_lanes: int
    objectives: tuple[str, ...] = (METRIC,)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long it will still take: the median of the rehearsals, the shortest and the longest."""

    seconds: float
    low_seconds: float
    high_seconds: float

    def after(self, seconds: float, *, at_most: float = math.inf) -> "Estimate":
        """Return what is left of it after a while, of a search that ends at the latest `at_most` seconds from then."""
        left = (max(0.0, min(at_most, one - seconds)) for one in (self.seconds, self.low_seconds, self.high_seconds))
        return Estimate(**dict(zip(("seconds", "low_seconds", "high_seconds"), left, strict=True)))


def estimate(
    trials: Mapping[int, Progress],
    scheduler: Scheduler,
    plan: Plan,
    *,
    overhead_seconds: float = 0.0,
    under_way: Mapping[int, float] | None = None,
) -> Estimate | None:
    """Return how long the rest will take; None without lanes, and before as many trials as lanes have ended an epoch.

    Args:
        overhead_seconds: What an epoch takes beside training and validation: its checkpoint, say.
        under_way: By running trial, how long its present epoch has been going on.
    """
    if not plan.num_lanes:  # all machines are gone, for a while
        return None
    models = [trial for trial in trials.values() if trial.epochs or trial.phase == "ended"]
    if sum(bool(trial.epochs) for trial in models) < min(plan.num_lanes, plan.num_trials):
        return None
    lengths = [
        _Rehearsal(trials, models, scheduler, plan, overhead_seconds, seed).run(under_way or {})
        for seed in range(max(2, min(NUM_REHEARSALS, 2000 // plan.num_trials)))
    ]
    return Estimate(seconds=median(lengths), low_seconds=min(lengths), high_seconds=max(lengths))


@dataclass
class _Actor:
    """A trial in a rehearsal."""

    epoch: int
    merits: tuple[float, ...]
    model: Progress
    """Whom it follows from here on."""

    seconds: float
    """Of an epoch."""

    last_epoch: int
    """After which it ends by itself."""


class _Rehearsal:
    """The rest of a search, once."""

    def __init__(
        self,
        trials: Mapping[int, Progress],
        models: Sequence[Progress],
        scheduler: Scheduler,
        plan: Plan,
        overhead_seconds: float,
        seed: int,
    ) -> None:
        self._trials = trials
        self._random = random.Random(seed)
        # A bootstrap: what a few trials can say of the others is in doubt itself.
        self._models = self._random.choices(models, k=len(models))
        self._scheduler = copy.deepcopy(scheduler)
        self._plan = plan
        self._overhead_seconds = overhead_seconds
        self._gains = _gains(models)
        self._usual_seconds = fmean(_seconds(trial) for trial in models if trial.epochs)
        self._num_begun = len(trials)
        self._actors: dict[int, _Actor] = {}
        self._waiting = [number for number, trial in trials.items() if trial.phase == "unfinished"]
        self._running: list[tuple[float, int]] = []
        """When the present epoch of each running trial ends."""

    def run(self, under_way: Mapping[int, float]) -> float:
        """Return the seconds until nothing is left to do."""
        clock = 0.0
        for number, trial in self._trials.items():
            if trial.phase == "running" and trial.outcome is None:  # else its leg is over but for the last checkpoint
                left = self._actor(number).seconds - under_way.get(number, 0.0)
                heapq.heappush(self._running, (max(0.0, left), number))
        while True:
            while len(self._running) < self._plan.num_lanes and (number := self._next()) is not None:
                heapq.heappush(self._running, (clock + self._actor(number).seconds, number))
            if not self._running:
                return clock
            clock, number = heapq.heappop(self._running)
            if self._goes_on(number):
                heapq.heappush(self._running, (clock + self._actor(number).seconds, number))

    def _next(self) -> int | None:
        """Return who trains next, as the coordinator chooses."""
        if self._waiting:
            return self._waiting.pop()
        running = [self._actor(number).epoch for _, number in self._running]
        num_to_come = self._plan.num_trials - self._num_begun
        number = self._scheduler.next_promotable(num_to_come=num_to_come, running_epochs=running)
        if number is not None:
            self._scheduler.mark_promoted(number)
            return number
        if num_to_come <= 0:
            return None
        self._num_begun += 1
        return self._num_begun - 1

    def _goes_on(self, number: int) -> bool:
        """Take the end of an epoch; return whether the trial goes on with the next."""
        actor = self._actor(number)
        if actor.epoch >= actor.last_epoch:  # its model failed before an epoch ended
            return False
        actor.epoch += 1
        actor.merits = self._merits_at(actor)
        if actor.epoch >= actor.last_epoch:
            return False
        return self._scheduler.judge(number, actor.epoch, *actor.merits) == Verdict.CONTINUE

    def _actor(self, number: int) -> _Actor:
        if number not in self._actors:
            self._actors[number] = self._cast(number)
        return self._actors[number]

    def _cast(self, number: int) -> _Actor:
        """Return a trial as it is now, with another that came further as its model; a new one begins as its model."""
        trial = self._trials.get(number)
        epoch = max(trial.epochs, default=0) if trial else 0
        further = [one for one in self._models if max(one.epochs, default=0) > epoch] if epoch else self._models
        model = self._random.choice(further) if further else None
        known = next((one for one in (trial, model) if one and one.epochs), None)
        return _Actor(
            epoch=epoch,
            merits=_merits(trial, epoch, self._plan.objectives) if epoch else (),
            model=model or trial,
            seconds=(_seconds(known) if known else self._usual_seconds) + self._overhead_seconds,
            last_epoch=_last_epoch(model, self._plan.max_epochs),
        )

    def _merits_at(self, actor: _Actor) -> tuple[float, ...]:
        """Return what an actor is worth now: it gains what its model gained, or else what trials usually do."""
        if not actor.merits:
            return _merits(actor.model, actor.epoch, self._plan.objectives)
        gain = _gain(actor.model, actor.epoch)
        return (actor.merits[0] + (self._gains.get(actor.epoch, 0.0) if gain is None else gain), *actor.merits[1:])


def _seconds(trial: Progress) -> float:
    return fmean(epoch["seconds"] for epoch in trial.epochs.values())


def _last_epoch(model: Progress | None, max_epochs: int) -> int:
    """Return after which epoch a trial ends by itself: one that was pruned would have gone on."""
    if model is None or model.outcome is None or model.outcome[0] not in (State.FAILED, State.COMPLETE):
        return max_epochs
    return max(model.epochs, default=0)


def _merits(trial: Progress, epoch: int, objectives: Sequence[str]) -> tuple[float, ...]:
    return merits(dict.fromkeys(objectives, math.nan) | trial.epochs.get(epoch, {}), objectives)


def _gain(trial: Progress, epoch: int) -> float | None:
    dices = trial.dices
    return dices[epoch] - dices[epoch - 1] if epoch in dices and epoch - 1 in dices else None


def _gains(models: Sequence[Progress]) -> dict[int, float]:
    """Return by how much trials' Dice usually grows in an epoch."""
    last = max(max(model.epochs, default=0) for model in models)
    found = {epoch: [_gain(model, epoch) for model in models] for epoch in range(2, last + 1)}
    known = {epoch: [gain for gain in gains if gain is not None] for epoch, gains in found.items()}
    return {epoch: median(gains) for epoch, gains in known.items() if gains}
