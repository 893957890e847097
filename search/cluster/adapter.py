"""Connect the coordinator to Ray Tune, with a Tune searcher, a scheduler, and a callback that watches the lanes.

To Tune, each leg is a trial of its own that is never retried. So Tune knows nothing about pauses, rungs, losses and
resumed searches. A leg is handed out only when a lane has room to start.
"""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.cluster.capacity.draining import Preempted
from search.cluster.capacity.lane_capacity import LaneCapacity
from search.cluster.capacity.placement_groups import describe_waiting_groups, remove_orphaned_groups
from search.cluster.group.messages import LEG, LaneReport, LegConfig, find_report
from search.cluster.ray_internals import read_trial_error
from search.cluster.stop_request import StopRequest
from search.coordination.checkpoints import Checkpoints
from search.coordination.coordinator import Coordinator
from search.coordination.trial_progress import Phase
from search.record.epochs import METRIC
from search.record.trials import trial_id
from search.screen.clock import Clock
from search.screen.lines import Lines
from search.tracking.outage import noted_outage

ORPHAN_SECONDS = 120.0
"""How long after a loss to look for orphaned placement groups, once a second."""

WAIT_SECONDS = 5.0
"""How long a lane or its workers may wait for resources before the user is told."""


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
        self._stop = stop
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
        if self._stop is not None and self._stop.reason:
            return Searcher.FINISHED
        if not self.has_room():
            return None
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
        if trial_id not in self._numbers:
            return
        number = self._numbers.pop(trial_id)
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
    ) -> None:
        """Begin without a leg.

        Args:
            keep_slices: Keeps the packed slices of a trial's epoch.
        """
        super().__init__()
        self._coordinator = coordinator
        self._clock = clock
        self._keep_slices = keep_slices

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
        """Report a leg whose worker group was lost. A preempted leg is no loss: its trial continues elsewhere."""
        if _preemption_of(trial) is None:
            self._coordinator.lose(leg_config(trial).number, _error_of(trial))

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Return None, which leaves the choice to Tune's queue. At most one leg waits, and a search takes time."""
        return

    def _report(self, trial: Any, report: LaneReport) -> bool:
        number, epoch = leg_config(trial).number, report.metrics.at(self._clock.elapsed_seconds)
        if report.slices:
            self._keep_slices(number, epoch.epoch, report.slices)  # before listeners look for them
        return self._coordinator.report(number, epoch, finished=report.finished, failure=report.failure)


class LaneWatch(tune.Callback):
    """Tells the user about lanes that wait or leave their node, and removes old checkpoints and the placement groups
    of dead lanes."""

    def __init__(
        self,
        screen: Lines,
        checkpoints: Checkpoints,
        folder: Path,
        look: Callable[[], Any] = lambda: None,
        on_kept: Callable[[], Any] = lambda: None,
    ) -> None:
        """Begin with nothing observed.

        Args:
            on_kept: Called after every checkpoint.
            look: Called once a second to look for room. While a leg waits to be placed, Tune does not ask for another
                one; yet the resources that requests for machines hold must be released for the leg that waits.
        """
        self._look, self._on_kept = look, on_kept
        self._screen = screen
        self._checkpoints = checkpoints
        self._folder = folder
        self._last_loss = self._last_look = self._last_waiting = -math.inf
        self._waiting_since: float | None = None
        self._has_said = False
        self._has_said_outage = False

    def on_checkpoint(self, iteration: int, trials: list, trial: Any, checkpoint: Any, **info: Any) -> None:
        """Remove the checkpoints that the new one replaces."""
        self._on_kept()
        report = find_report(trial.last_result)
        assert report is not None
        self._checkpoints.saved(leg_config(trial).number, checkpoint.path, report.metrics)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Start looking for placement groups of the lost group; tell the user if the lane has left its node."""
        self._last_loss = time.monotonic()
        if preemption := _preemption_of(trial):
            self._screen.say(f"{trial_id(leg_config(trial).number)} {preemption}")

    def on_step_begin(self, iteration: int, trials: list, **info: Any) -> None:
        """Once a second, look for room, orphaned placement groups, lanes that wait, and an outage of W&B."""
        now = time.monotonic()
        if now < self._last_look + 1.0:
            return
        self._last_look = now
        self._look()
        if now < self._last_loss + ORPHAN_SECONDS:
            remove_orphaned_groups()
        self._say_who_waits(now)
        self.say_outage()

    def say_outage(self) -> None:
        """Print, once, that W&B could not be reached."""
        if not self._has_said_outage and (outage := noted_outage(self._folder)):
            self._has_said_outage = True
            self._screen.say(outage)

    def _say_who_waits(self, now: float) -> None:
        if waiting := describe_waiting_groups():
            self._last_waiting = now
            self._waiting_since = self._waiting_since or now
        elif now > self._last_waiting + WAIT_SECONDS:  # Ray Train withdraws its request once a minute and repeats it
            self._waiting_since, self._has_said = None, False
        since = self._waiting_since
        if waiting and since is not None and now > since + WAIT_SECONDS and not self._has_said:
            self._has_said = True
            self._screen.say(f"waiting for resources: {'; '.join(waiting)}")


def leg_config(trial: Any) -> LegConfig:
    """Return the leg that one of Tune's trials is."""
    return trial.config[LEG]


def _error_of(trial: Any) -> str:
    return read_trial_error(trial).text or "lost without a message"


def _preemption_of(trial: Any) -> Preempted | None:
    """Return the exception with which a lane left its node; None if the leg was lost."""
    cause = read_trial_error(trial).cause
    return cause if isinstance(cause, Preempted) else None
