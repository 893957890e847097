"""ASHA: trials that lag behind at a rung are stopped early.

Reference: Li et al. 2020, arXiv:1810.05934, in the stopping variant (a trial is judged when it reaches a rung, against
those that reached it before). Its resource is our own `epoch`: Tune's `training_iteration` restarts at 1 after a
restore. Unlike Ray's, the rungs can be filled from the table of trials, so that a resumed search stops what an
uninterrupted one would.
"""

import math
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.trials import METRIC, trial_id


class Rungs:
    """The values of all trials at the epochs where they are compared."""

    def __init__(self, *, max_epochs: int, grace_period: int, reduction_factor: int) -> None:
        self.reduction_factor = reduction_factor
        self.values: dict[int, dict[str, float]] = {}
        epoch = grace_period
        while epoch < max_epochs:  # at the last epoch there is nothing left to save
            self.values[epoch] = {}
            epoch *= reduction_factor

    def record(self, trial: str, epoch: int, value: float) -> bool:
        """Return whether a trial may go on after this epoch.

        It may if it is among the best 1 / reduction_factor of those that reached this rung, itself included, or the
        best of fewer than that. A value that is not finite never is.
        """
        rung = self.values.get(epoch)
        if rung is None:
            return True
        if not math.isfinite(value):
            return False
        rung[trial] = value  # by trial: an epoch that is done again after a loss counts once
        num_better = sum(other > value for other in rung.values())
        return num_better < max(1, len(rung) // self.reduction_factor)


class Asha(FIFOScheduler):
    """The rungs as Tune's scheduler."""

    def __init__(self, rungs: Rungs) -> None:
        super().__init__()
        self._rungs = rungs

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return STOP for a trial that lags behind, else CONTINUE."""
        name = trial_id(trial.config["number"])
        goes_on = self._rungs.record(name, result["epoch"], result.get(METRIC, math.nan))
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP
