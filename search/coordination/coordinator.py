"""What is trained next, and how each trial ends: searcher, scheduler and record in one place, without Ray.

A trial is trained in *legs*. A leg begins where the one before ended, from its checkpoint, on any worker group, and
ends when the scheduler pauses or stops the trial, or when its training is over.

Every decision follows from a log of events (EVENTS below), in their order. So a search whose driver died is read back
from its log by the same methods that wrote it, and goes on with the same searcher, the same rungs and the same table.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data.errors import UserError
from search.coordination.progress import Leg, Listener, Progress
from search.record.jsonl import append_line, read_lines
from search.record.objectives import merits
from search.record.trials import METRIC, State
from search.scheduling.scheduler import Scheduler, Verdict
from search.suggestion.searcher import Observation, OptunaSearcher, Suggestion

EVENTS = ("begin", "leg", "epoch", "lost", "give_up")
"""A configuration was suggested; a leg of a trial was handed out; an epoch ended; a trial's worker group was lost; a
paused trial had to make room."""


class Coordinator:
    """Hands out legs, and is told what came of them."""

    def __init__(
        self,
        searcher: OptunaSearcher,
        scheduler: Scheduler,
        *,
        num_trials: int,
        listener: Listener,
        objectives: Sequence[str] = (METRIC,),
        max_failures: int = 3,
        log: Path | None = None,
    ) -> None:
        self._searcher = searcher
        self._scheduler = scheduler
        self._num_trials = num_trials
        self._listener = listener
        self._objectives = objectives
        self._max_failures = max_failures
        self._log = log
        self.trials: dict[int, Progress] = {}
        self.active: dict[int, Progress] = {}
        """Those that are running or unfinished."""
        self._given_up: list[int] = []
        """Those that shall never go on, to be ended."""

    def next_leg(self) -> Leg | None:
        """Return what to train next; None if there is nothing now, or nothing more (`is_finished`)."""
        trial = self._next_unfinished() or self._next_paused() or self._begin()
        if trial is None:
            return None
        self._write({"event": "leg", "number": trial.number})
        self._start_leg(trial)
        self._listener.on_leg(trial)
        return Leg(number=trial.number, sample=trial.sample)

    @property
    def is_finished(self) -> bool:
        """Nothing is running, and nothing will be."""
        if self.active or len(self.trials) < self._num_trials:
            return False
        return self._scheduler.next_promotable(num_to_come=0, running_epochs=[]) is None

    def report(self, number: int, epoch: dict[str, Any], *, finished: bool, failure: str | None) -> bool:
        """Return whether a trial goes on after an epoch.

        Args:
            epoch: Its metrics; `epoch` 0 if training raised before it ended one.
            finished: Its training is over.
            failure: Why it cannot go on.
        """
        self._write({"event": "epoch", "number": number, "metrics": epoch, "finished": finished, "failure": failure})
        trial = self.trials[number]
        self._take_epoch(trial, epoch, finished=finished, failure=failure)
        if epoch["epoch"] > 0:
            self._listener.on_epoch(trial, epoch)
            self._searcher.report(
                number, epoch["epoch"], epoch.get(METRIC, math.nan), costs=trial.costs(self._objectives)
            )
        self._end_paused()
        return trial.outcome is None

    def lose(self, number: int, error: str) -> None:
        """A trial's worker group was lost with its leg: it goes on from its newest checkpoint, unless that is usual."""
        self._write({"event": "lost", "number": number, "error": error})
        self._take_loss(self.trials[number], error)
        self._listener.on_loss(self.trials[number], error)

    def end_leg(self, number: int) -> None:
        """A leg is over, its checkpoints on disk. Without an outcome it was cut off: a loss, or the search's end."""
        trial = self.trials[number]
        if trial.phase != "running":
            return
        match trial.outcome:
            case None:
                trial.phase = "unfinished"
            case (Verdict.PAUSE, _):
                self._set_phase(trial, "paused")
            case (State() as state, error):
                self._write({"event": "end", "number": number})
                self._end(trial, state, error)

    def give_up_worst(self, reason: str) -> bool:
        """End the least promising paused trial; return whether there was one."""
        number = self._scheduler.drop_worst()
        if number is None:
            return False
        self._write({"event": "give_up", "number": number, "reason": reason})
        self._give_up(number, reason)
        self._end_paused()
        return True

    def stop(self, reason: str | None) -> None:
        """End what has not ended: with a reason, it was cut off, and `read_back` would go on with it."""
        for trial in self.trials.values():
            if trial.phase != "ended" and reason is None:
                self._end(trial, State.PRUNED, None)
            elif trial.phase != "ended":
                self._searcher.end(trial.number, State.PRUNED)
                self._listener.on_end(trial, State.PRUNED, reason)

    def read_back(self, last_epoch_on_disk: Callable[[int], int]) -> None:
        """Become what the writer of the log was when it died; trials in a leg become unfinished.

        Args:
            last_epoch_on_disk: Of a trial, by number: the epoch of its newest checkpoint.

        Raises:
            ValueError: The log is not one of this program.
        """
        assert self._log is not None
        for event in read_lines(self._log):
            self._replay(event)
        self._given_up.clear()
        for trial in self.trials.values():
            self._settle(trial, last_epoch_on_disk(trial.number))

    def _next_unfinished(self) -> Progress | None:
        return next((trial for trial in self.active.values() if trial.phase == "unfinished"), None)

    def _next_paused(self) -> Progress | None:
        running = [max(trial.epochs, default=0) for trial in self.active.values()]
        num_to_come = self._num_trials - len(self.trials)
        number = self._scheduler.next_promotable(num_to_come=num_to_come, running_epochs=running)
        if number is None or self.trials[number].phase == "running":  # its last checkpoint is still being written
            return None
        return self.trials[number]

    def _begin(self) -> Progress | None:
        if len(self.trials) >= self._num_trials:
            return None
        suggestion = self._searcher.suggest()
        event = {"number": suggestion.number, "sample": suggestion.sample, "attrs": suggestion.attrs}
        self._write({"event": "begin"} | event)
        return self._add(suggestion)

    def _add(self, suggestion: Suggestion) -> Progress:
        trial = Progress(number=suggestion.number, sample=suggestion.sample, attrs=suggestion.attrs)
        self.trials[trial.number] = self.active[trial.number] = trial
        return trial

    def _start_leg(self, trial: Progress) -> None:
        if trial.phase == "paused" or (trial.outcome and trial.outcome[0] == Verdict.PAUSE):
            self._scheduler.mark_promoted(trial.number)
        trial.outcome = None
        self._set_phase(trial, "running")

    def _take_epoch(self, trial: Progress, epoch: dict[str, Any], *, finished: bool, failure: str | None) -> None:
        if epoch["epoch"] > 0:
            trial.epochs[epoch["epoch"]] = epoch
        value = epoch.get(METRIC, math.nan)
        if failure or not math.isfinite(value):
            self._fail(trial, failure or f"{METRIC} is {value}")
        elif finished:
            trial.outcome = (State.COMPLETE, None)
        else:
            verdict = self._scheduler.judge(trial.number, epoch["epoch"], *merits(epoch, self._objectives))
            outcomes = {Verdict.PAUSE: (Verdict.PAUSE, None), Verdict.STOP: (State.PRUNED, None)}
            trial.outcome = outcomes.get(verdict)
            for hopeless in self._scheduler.drop_hopeless():
                self._give_up(hopeless, None)

    def _take_loss(self, trial: Progress, error: str) -> None:
        trial.num_losses += 1
        trial.outcome = None
        if trial.num_losses > self._max_failures:
            self._fail(trial, error)

    def _fail(self, trial: Progress, error: str) -> None:
        trial.outcome = (State.FAILED, error)
        self._scheduler.remove(trial.number)  # it may wait there, if it did an epoch again

    def _end(self, trial: Progress, state: State, error: str | None) -> None:
        self._set_phase(trial, "ended")
        self._searcher.end(trial.number, state)
        self._listener.on_end(trial, state, error)

    def _give_up(self, number: int, reason: str | None) -> None:
        self.trials[number].outcome = (State.PRUNED, reason)
        self._given_up.append(number)

    def _end_paused(self) -> None:
        """End the given-up trials that wait; those whose leg is not over yet end with it."""
        for number in self._given_up:
            trial = self.trials[number]
            if trial.phase == "paused":
                self._end(trial, *trial.outcome)
        self._given_up.clear()

    def _set_phase(self, trial: Progress, phase: str) -> None:
        trial.phase = phase
        if phase == "running":
            self.active[trial.number] = trial
        else:
            self.active.pop(trial.number, None)

    def _replay(self, event: dict[str, Any]) -> None:
        match event:
            case {"event": "begin", "number": number, "sample": sample, "attrs": attrs}:
                self._add(Suggestion(number=number, sample=sample, attrs=attrs))
            case {"event": "leg", "number": number}:
                self._start_leg(self.trials[number])
            case {"event": "epoch", "number": number, "metrics": epoch, "finished": finished, "failure": failure}:
                self._take_epoch(self.trials[number], epoch, finished=finished, failure=failure)
            case {"event": "end", "number": number}:
                self.trials[number].is_over = True
            case {"event": "give_up", "number": number, "reason": reason}:
                self._scheduler.drop_worst()
                self._give_up(number, reason)
            case {"event": "lost", "number": number, "error": error}:
                self._take_loss(self.trials[number], error)
            case _:
                raise UserError(f"{self._log} has an event that this version does not know: {event}")

    def _settle(self, trial: Progress, last_on_disk: int) -> None:
        """Put a trial that was read back where it belongs, and tell the searcher of it."""
        state, error = None, None
        if trial.outcome and isinstance(trial.outcome[0], State):
            state, error = trial.outcome
        known = {"values": trial.dices, "costs": trial.costs(self._objectives), "attrs": trial.attrs}
        self._searcher.restore(trial.number, Observation(sample=trial.sample, state=None, **known))
        ended = trial.is_over or last_on_disk >= max(trial.epochs, default=0)
        if state in (State.FAILED, State.PRUNED) or (state and ended):
            self._end(trial, state, error)
        elif state is None and trial.outcome:
            self._set_phase(trial, "paused")
        else:
            trial.phase = "unfinished"

    def _write(self, event: dict[str, Any]) -> None:
        if self._log is not None:
            append_line(self._log, event)
