"""Where a trial's metrics go besides the table: a Weights & Biases run, or nowhere. The only file that knows W&B.

A tracker lives where the trial runs and must never harm it: whatever W&B raises is said once and tracking goes on
offline, or stops.
"""

import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from search.trials import METRIC, State, trial_id

logger = logging.getLogger(__name__)

INIT_TIMEOUT_SECONDS = 15.0
"""How long a server may take to answer before a run goes offline; W&B's own 90 s would hold every trial."""


class Tracker(Protocol):
    """What a lane says of its trials."""

    def start(self, number: int, config: dict[str, Any], history: Sequence[dict[str, float]] = ()) -> None:
        """A trial begins, or goes on after the epochs of its history."""

    def log(self, metrics: dict[str, float]) -> None:
        """An epoch of it ended."""

    def finish(self, state: str) -> None:
        """It ended."""


class NoTracker:
    """Says nothing to anyone."""

    def start(self, number: int, config: dict[str, Any], history: Sequence[dict[str, float]] = ()) -> None: ...

    def log(self, metrics: dict[str, float]) -> None: ...

    def finish(self, state: str) -> None: ...


class WandbTracker:
    """One W&B run a trial, in one group an experiment; a trial that goes on after a restart goes on in its run."""

    def __init__(self, *, mode: str, project: str, group: str, folder: Path) -> None:
        self._mode = mode
        self._project = project
        self._group = group
        self._folder = folder
        self._run: Any = None
        self._best = -math.inf
        self._num_sent = 0

    def start(self, number: int, config: dict[str, Any], history: Sequence[dict[str, float]] = ()) -> None:
        """Open the trial's run; where the server does not answer, an offline one."""
        self._best = -math.inf
        # An offline run is written anew, whole: of two parts under one id the server would keep one.
        self._num_sent = 0 if self._mode == "offline" else len(history)
        try:
            self._run = self._open(number, config, self._mode)
        except Exception as error:  # W&B's own, its transport's, its service process's
            if self._mode == "offline":
                logger.warning("W&B does not work, the search goes on without it: %s", error)
                return
            logger.warning("W&B cannot be reached, runs are kept offline in %s: %s", self._folder / "wandb", error)
            self._mode = "offline"
            _forget_connection()
            self.start(number, config, history)
            return
        for metrics in history:
            self.log(metrics)

    def log(self, metrics: dict[str, float]) -> None:
        """Log an epoch, with `epoch` as the step axis."""
        if self._run is None:
            return
        if metrics["epoch"] > self._num_sent:
            self._run.log(metrics)
        if metrics.get(METRIC, -math.inf) > self._best:
            self._best = metrics[METRIC]
            self._run.summary.update({f"best_{METRIC}": self._best, "best_epoch": metrics["epoch"]})

    def finish(self, state: str) -> None:
        """Close the run with the trial's state; nothing, if none is open."""
        if self._run is None:
            return
        self._run.summary["state"] = state
        self._run.finish(exit_code=1 if state == State.FAILED else 0)
        self._run = None

    def _open(self, number: int, config: dict[str, Any], mode: str) -> Any:
        import wandb  # where a trial runs, not where a search is planned

        run_id = f"{self._group}-{trial_id(number)}"
        if mode == "offline":  # the legs before are in this one
            for part in (self._folder / "wandb").glob(f"offline-run-*-{run_id}"):
                shutil.rmtree(part, ignore_errors=True)
        run = wandb.init(
            mode=mode,
            project=self._project,
            group=self._group,
            job_type="trial",
            id=run_id,
            resume="allow" if mode == "online" else None,
            name=trial_id(number),
            config=config,
            dir=self._folder,
            reinit="finish_previous",
            settings=wandb.Settings(silent=True, console="off", init_timeout=INIT_TIMEOUT_SECONDS),
        )
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        return run


def _forget_connection() -> None:
    """End W&B's service process: it holds on to the name of the run that could not be opened."""
    import wandb

    wandb.teardown()


def make_tracker(tracking: str, *, project: str, group: str, folder: Path) -> Tracker:
    """Return the tracker of a name: 'offline', 'online' or 'off'."""
    if tracking == "off":
        return NoTracker()
    return WandbTracker(mode=tracking, project=project, group=group, folder=folder)
