"""The coordinator in Ray Tune's words: its searcher, its scheduler, and a callback that watches the lanes.

To Tune, every leg is a trial of its own, and never tried again. So Tune needs to know nothing of pauses, rungs, losses
or resumed searches. A leg is given out when there is a place for it.
"""

import math
import time
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.checkpoints import Checkpoints
from search.coordinator import Coordinator
from search.placement import remove_orphans, waiting_groups
from search.places import Places
from search.recorder import Recorder, last_line
from search.trials import METRIC, trial_id

ORPHAN_SECONDS = 120.0
"""How long after a loss orphaned placement groups are looked for, once a second."""

WAIT_SECONDS = 5.0
"""How long a lane or its workers may wait for a place before a person is told."""


class LegSearcher(Searcher):
    """Gives Tune the next leg as its next trial."""

    def __init__(
        self,
        coordinator: Coordinator,
        checkpoints: Checkpoints,
        *,
        checkpoints_gb: float | None,
        places: Places | None = None,
    ) -> None:
        """Begin with nothing given out.

        Args:
            places: Says how many legs may be out; None: that is Tune's affair.
        """
        super().__init__(metric=METRIC, mode="max")
        self._places = places
        self._coordinator = coordinator
        self._checkpoints = checkpoints
        self._checkpoints_gb = math.inf if checkpoints_gb is None else checkpoints_gb
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the config of a leg."""
        busy, begun = len(self._numbers), len(self._coordinator.trials)
        if self._places is not None and not self._places.has_room(num_busy=busy, num_begun=begun):
            return None
        leg = self._coordinator.next_leg()
        if leg is None:
            return Searcher.FINISHED if self._coordinator.is_finished else None
        self._numbers[trial_id] = leg.number
        newest = self._checkpoints.newest(leg.number)
        return {
            "number": leg.number,
            "sample": leg.sample,
            "leg": self._checkpoints.next_leg(leg.number),
            "checkpoint": str(newest) if newest else None,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the coordinator; the last checkpoint is on disk by now."""
        if trial_id not in self._numbers:
            return
        self._coordinator.end_leg(self._numbers.pop(trial_id))
        reason = f"its checkpoints made room: all together they may take {self._checkpoints_gb:g} GB (checkpoints_gb)"
        while self._checkpoints.total_bytes > self._checkpoints_gb * 1e9:
            if not self._coordinator.give_up_worst(reason):
                return

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the coordinator's log is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the coordinator's log is the record."""


class LegScheduler(FIFOScheduler):
    """Tells the coordinator what comes out of a leg, and Tune whether it goes on."""

    def __init__(self, coordinator: Coordinator, recorder: Recorder) -> None:
        super().__init__()
        self._coordinator = coordinator
        self._recorder = recorder

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return STOP for a leg that ends, else CONTINUE."""
        return TrialScheduler.CONTINUE if self._report(trial, result) else TrialScheduler.STOP

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Report the last epoch of a training, which Tune shows to nobody before."""
        if result.get("finished"):
            self._report(trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Report a leg whose worker group was lost."""
        number, error = trial.config["number"], _error_of(trial)
        reason = last_line(error).split(". ")[0]  # Ray's goes on with what it may have been
        self._recorder.say(f"{trial_id(number)} lost its worker group ({reason})")
        self._coordinator.lose(number, error)

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Leave the choice to Tune's queue: there is at most one leg that waits, and looking for it costs time."""
        return

    def _report(self, trial: Any, result: dict[str, Any]) -> bool:
        prefix = "metrics/"  # Tune flattens results
        epoch = {key.removeprefix(prefix): value for key, value in result.items() if key.startswith(prefix)}
        return self._coordinator.report(
            trial.config["number"],
            epoch | {"elapsed_seconds": self._recorder.elapsed_seconds},
            finished=result["finished"],
            failure=result["failure"],
        )


class LaneWatch(tune.Callback):
    """Says when a trial waits for a place, and clears up: useless checkpoints, and what killed lanes left behind."""

    def __init__(self, recorder: Recorder, checkpoints: Checkpoints) -> None:
        self._recorder = recorder
        self._checkpoints = checkpoints
        self._last_loss = self._last_look = -math.inf
        self._waiting_since: float | None = None
        self._has_said = False

    def on_checkpoint(self, iteration: int, trials: list, trial: Any, checkpoint: Any, **info: Any) -> None:
        """Remove the checkpoints that the new one makes useless."""
        self._checkpoints.tidy(trial.config["number"], goes_on=True)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Begin to look for what the lost group left behind."""
        self._last_loss = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list, **info: Any) -> None:
        """Once a second, look for what waits; Ray needs a while to see that a killed lane's Train run is dead."""
        now = time.monotonic()
        if now < self._last_look + 1.0:
            return
        self._last_look = now
        if now < self._last_loss + ORPHAN_SECONDS:
            remove_orphans()
        self._say_who_waits(now)

    def _say_who_waits(self, now: float) -> None:
        waiting = waiting_groups()
        if not waiting:
            self._waiting_since, self._has_said = None, False
            return
        self._waiting_since = self._waiting_since or now
        if now > self._waiting_since + WAIT_SECONDS and not self._has_said:
            self._has_said = True
            self._recorder.say(f"waiting for a place: {'; '.join(waiting)}")


def _error_of(trial: Any) -> str:
    file = Path(trial.error_file)  # here; Tune copies it to the experiment's folder later
    return file.read_text() if file.exists() else "lost without a message"
