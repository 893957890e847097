"""Watch the lanes while Tune runs them, and tell the user about those that wait or leave their node."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from search.cluster.adapter import leg_config, preemption_of
from search.cluster.capacity.placement_groups import describe_waiting_groups, remove_orphaned_groups
from search.cluster.group.messages import find_report
from search.cluster.tune_internals import forget_results
from search.coordination.checkpoints import Checkpoints
from search.record.trials import trial_id
from search.screen.lines import Lines
from search.tracking.outage import noted_outage

ORPHAN_SECONDS = 120.0
"""How long after a loss to look for orphaned placement groups, once a second."""

WAIT_SECONDS = 5.0
"""How long a lane or its workers may wait for resources before the user is told."""


class LaneWatch(tune.Callback):
    """Tells the user about lanes that wait, leave their node or have another program, and removes old checkpoints and
    the placement groups of dead lanes."""

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
        self._changed: set[str] = set()
        self._ended: list[Any] = []

    def on_checkpoint(self, iteration: int, trials: list, trial: Any, checkpoint: Any, **info: Any) -> None:
        """Remove the checkpoints that the new one replaces."""
        self._on_kept()
        report = find_report(trial.last_result)
        assert report is not None
        self._checkpoints.saved(leg_config(trial).number, checkpoint.path, report.metrics)

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Print, once for each machine, that its program is not the one that the search began with."""
        report = find_report(result)
        for address in sorted(set(report.changed if report else ()) - self._changed):
            self._changed.add(address)
            self._screen.say(
                f"{trial_id(leg_config(trial).number)} trains on {address} with another version of this program than "
                "the search began with; its results, and later ones there, may differ for that reason"
            )

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Keep in mind that a leg is ending."""
        self._ended.append(trial)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Start looking for placement groups of the lost group; tell the user if the lane has left its node."""
        self._ended.append(trial)
        self._last_loss = time.monotonic()
        if preemption := preemption_of(trial):
            self._screen.say(f"{trial_id(leg_config(trial).number)} {preemption}")

    def on_step_begin(self, iteration: int, trials: list, **info: Any) -> None:
        """Once a second, look for room, orphaned placement groups, lanes that wait, and an outage of W&B, and free
        what Tune keeps of legs that have ended."""
        now = time.monotonic()
        if now < self._last_look + 1.0:
            return
        self._last_look = now
        while self._ended:
            forget_results(self._ended.pop())
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
