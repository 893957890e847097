"""Decide what is trained next and how each trial ends, with the searcher, the scheduler and the log, without Ray.

A trial is trained in *legs*. A leg starts from the checkpoint of the leg before, on any worker group, and ends when the
scheduler pauses or stops the trial, or when its training is over.

The log of events (search/record/events.py) holds everything that decisions depend on. So a search whose driver died is
restored by replaying its log through the same methods: with the same suggestions, the same rungs and the same table.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from data.atomic import sync
from data.errors import UserError
from search.coordination.listener import Listener
from search.coordination.searcher import Searcher
from search.coordination.trial_progress import End, Leg, Pause, Phase, TrialProgress
from search.record import events
from search.record.epochs import METRIC, EpochMetrics
from search.record.events import Event, append_event, read_events
from search.record.objectives import merits
from search.record.trials import State
from search.scheduling.scheduler import Scheduler, Verdict
from search.suggestion.searcher import Observation


class Coordinator:
    """Hands out legs, and decides from their results how each trial continues or ends."""

    def __init__(
        self,
        searcher: Searcher,
        scheduler: Scheduler,
        *,
        num_trials: int,
        listener: Listener,
        objectives: Sequence[str] = (METRIC,),
        max_failures: int = 3,
        log: Path | None = None,
    ) -> None:
        """Begin without trials; a trial may lose its worker group `max_failures` times."""
        self._searcher = searcher
        self._scheduler = scheduler
        self._num_trials = num_trials
        self._listener = listener
        self._objectives = objectives
        self._max_failures = max_failures
        self._log = log
        self.trials: dict[int, TrialProgress] = {}
        self.active: dict[int, TrialProgress] = {}
        """The trials that are running or interrupted."""
        self._given_up: list[int] = []
        """Trials that are to end as soon as they are paused."""

    def next_leg(self) -> Leg | None:
        """Return what to train next; None if nothing can be trained now, or ever again (`is_finished`)."""
        interrupted = (trial for trial in self.active.values() if trial.phase == Phase.INTERRUPTED)
        trial = next(interrupted, None) or self._next_paused() or self._begin()
        if trial is None:
            return None
        self._write(events.LegStarted(number=trial.number))
        self._start_leg(trial)
        self._listener.on_leg(trial)
        return Leg(number=trial.number, sample=trial.sample)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is running and nothing is left to run."""
        if self.active or len(self.trials) < self._num_trials:
            return False
        return self._scheduler.next_promotable(num_to_come=0, running_epochs=[]) is None

    def report(self, number: int, epoch: EpochMetrics, *, finished: bool, failure: str | None) -> bool:
        """Return whether a trial continues after an epoch.

        Args:
            epoch: The metrics of the epoch; of epoch 0 if training raised before an epoch ended.
            finished: Whether the training is over.
            failure: Why the trial cannot continue; None if it can.
        """
        event = events.EpochEnded(number=number, metrics=epoch, finished=finished, failure=failure)
        self._write(event)
        trial = self.trials[number]
        self._take_epoch(trial, event)
        if epoch.epoch > 0:
            self._listener.on_epoch(trial, epoch)
            self._searcher.report(number, epoch.epoch, epoch.val_dice, costs=trial.costs(self._objectives))
        self._end_paused()
        return trial.outcome is None

    def lose(self, number: int, error: str) -> None:
        """Record that a trial lost its worker group. It continues from its newest checkpoint, or fails for good."""
        self._write(events.Lost(number=number, error=error))
        self._take_loss(self.trials[number], error)
        self._listener.on_loss(self.trials[number], error)

    def end_leg(self, number: int) -> None:
        """Record that a leg is over and its checkpoints are on disk. A leg without an outcome was cut off."""
        trial = self.trials[number]
        if trial.phase != Phase.RUNNING:
            return
        match trial.outcome:
            case None:
                trial.phase = Phase.INTERRUPTED
            case Pause():
                self._set_phase(trial, Phase.PAUSED)
            case End() as end:
                self._write(events.Ended(number=number))
                self._end(trial, end)

    def give_up_worst(self, reason: str) -> bool:
        """End the least promising paused trial, and return whether there was one."""
        if (number := self._scheduler.drop_worst()) is None:
            return False
        self._write(events.GivenUp(number=number, reason=reason))
        self._give_up(number, reason)
        self._end_paused()
        return True

    def stop(self, reason: str | None) -> None:
        """End every trial that has not ended. With a reason, the search was cut off, and `restore` continues them."""
        for trial in (trial for trial in self.trials.values() if trial.phase != Phase.ENDED):
            if reason is None:
                self._end(trial, End(state=State.PRUNED))
            else:
                self._searcher.end(trial.number, State.PRUNED)
                self._listener.on_end(trial, State.PRUNED, reason)

    def restore(self, last_epoch_on_disk: Callable[[int], int]) -> None:
        """Restore the trials, the scheduler and the searcher from the log. Trials that were running are interrupted.

        Args:
            last_epoch_on_disk: Returns the epoch of the newest checkpoint of the trial with a number.

        Raises:
            UserError: The log is damaged, or a newer version of the program wrote it.
        """
        assert self._log is not None
        for event in read_events(self._log):
            if event.number not in self.trials and not isinstance(event, events.Begin):
                raise UserError(f"{self._log} has an event of trial {event.number}, which never began")
            self._replay(event)
        self._given_up.clear()
        for trial in self.trials.values():
            self._settle(trial, last_epoch_on_disk(trial.number))

    def _next_paused(self) -> TrialProgress | None:
        running = [trial.last_epoch for trial in self.active.values()]
        to_come = self._num_trials - len(self.trials)
        number = self._scheduler.next_promotable(num_to_come=to_come, running_epochs=running)
        if number is None or self.trials[number].phase == Phase.RUNNING:  # its last checkpoint is still being written
            return None
        return self.trials[number]

    def _begin(self) -> TrialProgress | None:
        if len(self.trials) >= self._num_trials:
            return None
        suggestion = self._searcher.suggest()
        begin = events.Begin(number=suggestion.number, sample=suggestion.sample, attrs=suggestion.attrs)
        self._write(begin)
        return self._add(begin)

    def _add(self, begin: events.Begin) -> TrialProgress:
        trial = TrialProgress(number=begin.number, sample=begin.sample, attrs=begin.attrs)
        self.trials[trial.number] = self.active[trial.number] = trial
        return trial

    def _start_leg(self, trial: TrialProgress) -> None:
        if trial.phase == Phase.PAUSED or isinstance(trial.outcome, Pause):
            self._scheduler.mark_promoted(trial.number)
        trial.outcome = None
        self._set_phase(trial, Phase.RUNNING)

    def _take_epoch(self, trial: TrialProgress, event: events.EpochEnded) -> None:
        if (epoch := event.metrics).epoch > 0:
            trial.epochs[epoch.epoch] = epoch
        if event.failure or not epoch.has_dice:
            self._fail(trial, event.failure or f"{METRIC} is {epoch.val_dice}")
        elif event.finished:
            trial.outcome = End(state=State.COMPLETE)
        else:
            match self._scheduler.judge(trial.number, epoch.epoch, *merits(epoch, self._objectives)):
                case Verdict.PAUSE:
                    trial.outcome = Pause()
                case Verdict.STOP:
                    trial.outcome = End(state=State.PRUNED)
                case _:
                    trial.outcome = None
            for number in self._scheduler.drop_hopeless():
                self._give_up(number, None)

    def _take_loss(self, trial: TrialProgress, error: str) -> None:
        trial.num_losses += 1
        if trial.outcome == End(state=State.COMPLETE):  # its last checkpoint may be missing; other verdicts stay
            trial.outcome = None
        if trial.num_losses > self._max_failures:
            self._fail(trial, error)

    def _fail(self, trial: TrialProgress, error: str) -> None:
        trial.outcome = End(state=State.FAILED, error=error)
        self._scheduler.remove(trial.number)  # if it trained an epoch again, the scheduler may have paused it

    def _end(self, trial: TrialProgress, end: End) -> None:
        self._set_phase(trial, Phase.ENDED)
        self._searcher.end(trial.number, end.state)
        self._listener.on_end(trial, end.state, end.error)

    def _give_up(self, number: int, reason: str | None) -> None:
        self.trials[number].outcome = End(state=State.PRUNED, error=reason)
        self._given_up.append(number)

    def _end_paused(self) -> None:
        """End the given-up trials that are paused. One whose leg is not over yet ends with the leg."""
        if self._given_up and self._log is not None:
            sync(self._log)  # their checkpoints are removed, so no crash may undo what has ended them
        for number in self._given_up:
            trial = self.trials[number]
            if trial.phase == Phase.PAUSED and isinstance(trial.outcome, End):
                self._end(trial, trial.outcome)
        self._given_up.clear()

    def _set_phase(self, trial: TrialProgress, phase: Phase) -> None:
        trial.phase = phase
        if phase == Phase.RUNNING:
            self.active[trial.number] = trial
        else:
            self.active.pop(trial.number, None)

    def _replay(self, event: Event) -> None:
        match event:
            case events.Begin():
                self._add(event)
            case events.LegStarted():
                self._start_leg(self.trials[event.number])
            case events.EpochEnded():
                self._take_epoch(self.trials[event.number], event)
            case events.Ended():
                self.trials[event.number].has_ended_in_log = True
            case events.GivenUp():
                self._scheduler.drop_worst()
                self._give_up(event.number, event.reason)
            case events.Lost():
                self._take_loss(self.trials[event.number], event.error)

    def _settle(self, trial: TrialProgress, last_on_disk: int) -> None:
        """Set the phase of a restored trial, and tell the searcher about the trial."""
        known = {"values": trial.dices, "costs": trial.costs(self._objectives), "attrs": trial.attrs}
        self._searcher.restore(trial.number, Observation(sample=trial.sample, state=None, **known))
        needs_no_more = trial.has_ended_in_log or last_on_disk >= trial.last_epoch
        match trial.outcome:
            case End() as end if end.state != State.COMPLETE or needs_no_more:
                self._end(trial, end)
            case Pause():
                self._set_phase(trial, Phase.PAUSED)
            case _:
                trial.phase = Phase.INTERRUPTED

    def _write(self, event: Event) -> None:
        if self._log is not None:
            append_event(self._log, event)
