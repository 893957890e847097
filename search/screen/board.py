"""The data that the screen shows of a running search, kept up to date by the events of the search."""

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from search.coordination.trial_progress import Phase, TrialProgress
from search.record.epochs import EpochMetrics
from search.record.trials import Sample, State
from search.scheduling.scheduler import Scheduler
from search.screen.clock import Clock
from search.screen.eta import Estimate, Plan, estimate

ESTIMATE_SHARE = 0.02
"""Share of the driver's time that estimates may take. For a search of a thousand trials, one estimate takes 0.1 s."""


@dataclass(frozen=True, kw_only=True)
class RunningTrial:
    """What the table shows of a trial that is running."""

    number: int
    sample: Sample
    dices: tuple[float, ...]
    """Validation Dice after each epoch, first to last."""

    epoch: int
    """The last epoch that ended; 0 before the first."""

    left_seconds: float | None
    """Seconds until its last epoch ends, if it is not stopped earlier; None before its first epoch has ended."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The epoch with the best validation Dice so far."""

    number: int
    epoch: int
    dice: float
    sample: Sample


@dataclass(frozen=True, kw_only=True)
class View:
    """What the screen shows of a search at one moment."""

    elapsed_seconds: float
    plan: Plan
    counts: Mapping[State, int]
    """How many trials ended in each state."""

    num_paused: int
    best: Best | None
    running: tuple[RunningTrial, ...]
    left: Estimate | None
    waits_for: str = ""
    """What the search waits for while it has no lane."""

    default_dice: float = math.nan
    """The best Dice so far of the default configuration; nan if there is none."""

    @property
    def num_ended(self) -> int:
        """Number of trials that ended."""
        return sum(self.counts.values())


class Board:
    """Follows the events of a search, and returns what to show: trials, the best so far, and the time that is left."""

    def __init__(
        self, plan: Plan, scheduler: Scheduler, clock: Clock, *, time_budget_seconds: float | None = None
    ) -> None:
        self.plan = plan
        self.clock = clock
        self.counts: Counter[State] = Counter()
        self.best: Best | None = None
        self.waits_for = ""
        self._scheduler = scheduler
        self._time_budget_seconds = time_budget_seconds
        self._began = time.monotonic()
        self._trials: dict[int, TrialProgress] = {}
        self._since: dict[int, float] = {}
        """When the current epoch of each running trial began (monotonic time), by the trial's number."""
        self._starting: set[int] = set()
        """The first trial of each lane, whose first epoch includes the start of the worker group."""
        self._overheads: list[float] = []
        self._estimate: tuple[float, Estimate] | None = None
        """When the last estimate was made, and the estimate."""
        self._next_estimate = 0.0

    def restore(self, trials: Mapping[int, TrialProgress]) -> None:
        """Take over the trials of a search that is resumed."""
        self._trials.update(trials)
        for trial in trials.values():
            for epoch, dice in trial.dices.items():
                self._take_best(trial, epoch, dice)
        self._renew_estimate()

    def on_leg(self, trial: TrialProgress) -> None:
        """Record that a leg begins."""
        self._trials[trial.number] = trial
        if len(self._since) < self.plan.num_lanes:
            self._starting.add(trial.number)
        self._since[trial.number] = time.monotonic()

    def on_epoch(self, trial: TrialProgress, epoch: EpochMetrics) -> bool:
        """Record the end of an epoch, and return whether it is the best so far."""
        now = time.monotonic()
        if trial.number in self._starting:
            self._starting.remove(trial.number)
        elif trial.number in self._since:
            self._overheads.append(max(0.0, now - self._since[trial.number] - epoch.seconds))
        self._since[trial.number] = now
        is_best = self._take_best(trial, epoch.epoch, epoch.val_dice)
        if now >= self._next_estimate:
            self._renew_estimate()
        return is_best

    def on_loss(self, trial: TrialProgress) -> None:
        """Record that a leg was lost. Its time is not an epoch's: the next leg waits for a new worker group."""
        self._since.pop(trial.number, None)

    def on_end(self, trial: TrialProgress, state: State) -> None:
        """Record that a trial ended."""
        self._trials[trial.number] = trial
        self.counts[state] += 1

    @property
    def left(self) -> Estimate | None:
        """How long the search will still take; None while too little is known."""
        if self._estimate is None:
            return None
        now = time.monotonic()
        when, found = self._estimate
        return found.after(now - when, at_most=self._budget_seconds(now))

    @property
    def default_dice(self) -> float:
        """The best Dice so far of the default configuration; nan if there is none."""
        trial = self._trials.get(-1 if self.plan.default_trial is None else self.plan.default_trial)
        return max(trial.dices.values(), default=math.nan) if trial else math.nan

    def view(self) -> View:
        """Return what to show now. This is called from another thread, so every collection is copied first."""
        trials = list(self._trials.values())
        running = [trial for trial in trials if trial.phase == Phase.RUNNING]
        return View(
            elapsed_seconds=self.clock.elapsed_seconds,
            plan=self.plan,
            counts=dict(self.counts),
            num_paused=sum(trial.phase == Phase.PAUSED for trial in trials),
            best=self.best,
            running=tuple(self._row(trial) for trial in running),
            left=self.left,
            waits_for=self.waits_for,
            default_dice=self.default_dice,
        )

    def _take_best(self, trial: TrialProgress, epoch: int, dice: float) -> bool:
        is_best = math.isfinite(dice) and (self.best is None or dice > self.best.dice)
        if is_best:
            self.best = Best(number=trial.number, epoch=epoch, dice=dice, sample=trial.sample)
        return is_best

    def _row(self, trial: TrialProgress) -> RunningTrial:
        epochs = [epoch for _, epoch in sorted(list(trial.epochs.items()))]
        last = epochs[-1].epoch if epochs else 0
        seconds = [epoch.seconds for epoch in epochs]
        spent = time.monotonic() - self._since.get(trial.number, time.monotonic())
        return RunningTrial(
            number=trial.number,
            sample=trial.sample,
            dices=tuple(epoch.val_dice for epoch in epochs if epoch.has_dice),
            epoch=last,
            left_seconds=max(0.0, (self.plan.max_epochs - last) * fmean(seconds) - spent) if seconds else None,
        )

    def _budget_seconds(self, now: float) -> float:
        budget = self._time_budget_seconds
        return math.inf if budget is None else max(0.0, self._began + budget - now)

    def _renew_estimate(self) -> None:
        began = time.monotonic()
        found = estimate(
            self._trials,
            self._scheduler,
            self.plan,
            overhead_seconds=fmean(self._overheads) if self._overheads else 0.0,
            under_way={number: began - since for number, since in self._since.items()},
        )
        ended = time.monotonic()
        self._estimate = (began, found) if found else None
        self._next_estimate = ended + max(1.0, (ended - began) / ESTIMATE_SHARE)
