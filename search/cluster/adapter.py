"""Connect the coordinator to Ray Tune, with a Tune searcher and a scheduler.

To Tune, each leg is a trial of its own that is never retried. So Tune knows nothing about pauses, rungs, losses and
resumed searches. A leg is handed out only when a lane has room to start.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from data.errors import MachineError
from data.machine.disk_errors import is_disk_error
from search.cluster.capacity.draining import Preempted
from search.cluster.capacity.lane_capacity import LaneCapacity
from search.cluster.group.messages import LEG, LaneReport, LegConfig, find_report
from search.cluster.stop_request import StopRequest
from search.cluster.tune_internals import read_trial_error
from search.coordination.checkpoints import Checkpoints
from search.coordination.coordinator import Coordinator
from search.coordination.trial_progress import Phase
from search.record.epochs import METRIC
from search.screen.clock import Clock


class LegSearcher(Searcher):
    """Gives Tune the next leg as its next trial."""

    def __init__(
        self,
        coordinator: Coordinator,
        checkpoints: Checkpoints,
        *,
        checkpoints_gb: float | None,
        capacity: LaneCapacity | None = None,
        stop: StopRequest | None = None,
    ) -> None:
        """Begin with no leg handed out.

        Args:
            capacity: Tells how many lanes have room; None: Tune limits their number.
            stop: Tells whether the search ends early. Tune asks it only while a leg runs, so it is asked here too.
        """
        super().__init__(metric=METRIC, mode="max")
        self._capacity = capacity
        self._stop = stop or StopRequest(None)
        self._coordinator = coordinator
        self._checkpoints = checkpoints
        self._checkpoints_gb = math.inf if checkpoints_gb is None else checkpoints_gb
        self._numbers: dict[str, int] = {}
        self._best_dice = -math.inf
        for number in coordinator.trials:
            self._update_best_dice(number)

    # Searcher's annotation forgets Searcher.FINISHED, which is a string.
    def suggest(self, trial_id: str) -> dict[str, LegConfig] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the config of the next leg, None if there is none yet, or FINISHED."""
        if self._stop.reason:
            return Searcher.FINISHED
        if not self.has_room():
            return None
        found = self._stop.guard(partial(self._next, trial_id))
        return Searcher.FINISHED if self._stop.failure else found

    def _next(self, trial_id: str) -> dict[str, LegConfig] | str | None:
        for number in self._numbers.values():
            self._update_best_dice(number)
        leg = self._coordinator.next_leg()
        if leg is None:
            return Searcher.FINISHED if self._coordinator.is_finished else None
        self._numbers[trial_id] = leg.number
        newest = self._checkpoints.newest(leg.number)
        config = LegConfig(
            number=leg.number,
            sample=leg.sample,
            folder=self._checkpoints.next_leg(leg.number),
            checkpoint=str(newest) if newest else None,
            best_dice=self._best_dice,
        )
        return {LEG: config}

    def has_room(self) -> bool:
        """Return whether there is room for another lane, and request machines while there is none."""
        if self._capacity is None:
            return True
        unfinished = sum(trial.phase == Phase.INTERRUPTED for trial in self._coordinator.active.values())
        return self._capacity.has_room(
            num_busy=len(self._numbers), num_begun=len(self._coordinator.trials), num_unfinished=unfinished
        )

    def on_trial_complete(self, trial_id: str, result: Mapping[str, object] | None = None, error: bool = False) -> None:
        """Tell the coordinator that a leg has ended. Its last checkpoint is written by now."""
        if trial_id in self._numbers:
            self._stop.guard(partial(self._end_leg, self._numbers.pop(trial_id)))

    def _end_leg(self, number: int) -> None:
        self._update_best_dice(number)
        self._checkpoints.tidy(number, keep_newest=True)
        self._coordinator.end_leg(number)
        reason = f"its checkpoints made room: all together they may take {self._checkpoints_gb:g} GB (checkpoints_gb)"
        while self._checkpoints.total_bytes > self._checkpoints_gb * 1e9:
            if not self._coordinator.give_up_worst(reason):
                return

    def _update_best_dice(self, number: int) -> None:
        self._best_dice = max(self._best_dice, *self._coordinator.trials[number].dices.values(), -math.inf)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the coordinator's log is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the coordinator's log is the record."""


class LegScheduler(FIFOScheduler):
    """Reports a leg's epochs to the coordinator, and tells Tune whether the leg continues."""

    def __init__(
        self,
        coordinator: Coordinator,
        clock: Clock,
        keep_slices: Callable[[int, int, bytes], None] = lambda number, epoch, content: None,
        stop: StopRequest | None = None,
    ) -> None:
        """Begin without a leg.

        Args:
            keep_slices: Keeps the packed slices of a trial's epoch.
            stop: Ends the search where something is wrong with a machine.
        """
        super().__init__()
        self._coordinator = coordinator
        self._clock = clock
        self._keep_slices = keep_slices
        self._stop = stop or StopRequest(None)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, object]) -> str:
        """Return STOP if the leg ends with this epoch, else CONTINUE."""
        report = find_report(result)
        assert report is not None
        return TrialScheduler.CONTINUE if self._report(trial, report) else TrialScheduler.STOP

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Mapping[str, object]) -> None:
        """Report the last epoch of a trial, for which Tune does not call `on_trial_result`."""
        report = find_report(result)
        if report is not None and report.finished:
            self._report(trial, report)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Report a leg whose worker group was lost. Preemption, a full disk and a machine that cannot take part are
        no loss: the trial goes on elsewhere or later."""
        self._stop.guard(partial(self._lose, trial))

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Return None, which leaves the choice to Tune's queue. At most one leg waits, and a search takes time."""
        return

    def _lose(self, trial: Any) -> None:
        error = read_trial_error(trial)
        if isinstance(error.cause, MachineError) or (isinstance(error.cause, OSError) and is_disk_error(error.cause)):
            raise error.cause
        if not isinstance(error.cause, Preempted):
            self._coordinator.lose(leg_config(trial).number, error.text or "lost without a message")

    def _report(self, trial: Any, report: LaneReport) -> bool:
        return bool(self._stop.guard(partial(self._take, trial, report)))

    def _take(self, trial: Any, report: LaneReport) -> bool:
        number, epoch = leg_config(trial).number, report.metrics.at(self._clock.elapsed_seconds)
        if report.slices:
            self._keep_slices(number, epoch.epoch, report.slices)  # before listeners look for them
        return self._coordinator.report(number, epoch, finished=report.finished, failure=report.failure)


def leg_config(trial: Any) -> LegConfig:
    """Return the leg that one of Tune's trials is."""
    return trial.config[LEG]


def preemption_of(trial: Any) -> Preempted | None:
    """Return the exception with which a lane left its node; None if the leg was lost."""
    cause = read_trial_error(trial).cause
    return cause if isinstance(cause, Preempted) else None
