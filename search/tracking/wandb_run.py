"""A trial as a Weights & Biases run."""

import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.manifest import read_manifest
from search.tracking.tracker import run_id
from search.trials import METRIC, State, trial_id

logger = logging.getLogger(__name__)

INIT_TIMEOUT_SECONDS = 15.0
"""How long a server may take to answer before a run goes offline; W&B's own 90 s would hold every trial."""


class WandbTracker:
    """One W&B run a trial, in one group an experiment; a trial that goes on after a restart goes on in its run."""

    def __init__(self, *, mode: str, project: str, group: str, folder: Path, finish_seconds: float = 0.0) -> None:
        self._mode = mode
        self._project = project
        self._group = group
        self._folder = folder
        self._finish_seconds = finish_seconds
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

    def log_model(self, best: Path, *, timeout_seconds: float) -> None:
        """Log the folder of a model as an artifact of the open run, with the alias `best`.

        Raises:
            RuntimeError: No run is open.
        """
        if self._run is None:
            raise RuntimeError("no run could be opened")
        import wandb

        best = best.resolve()  # `wandb sync` may run anywhere
        facts = {name: fact for name, fact in read_manifest(best).items() if name != "files"}
        artifact = wandb.Artifact(f"{self._group}-model", type="model", metadata=facts)
        for file in sorted(file for file in best.rglob("*") if file.is_file()):
            # The file itself, where `wandb sync` will look for it: W&B would keep copies in the user's home.
            artifact.add_file(str(file), file.relative_to(best).as_posix(), skip_cache=True, policy="immutable")
        logged = self._run.log_artifact(artifact, aliases=["best", "latest"])
        if self._mode == "online":
            logged.wait(timeout=math.ceil(timeout_seconds))  # else nobody would hear of an upload that failed

    def finish(self, state: str) -> None:
        """Close the run with the trial's state; nothing, if none is open."""
        if self._run is None:
            return
        self._run.summary["state"] = state
        self._run.finish(exit_code=1 if state == State.FAILED else 0)
        self._run = None

    def _open(self, number: int, config: dict[str, Any], mode: str) -> Any:
        import wandb  # where a trial runs, not where a search is planned

        name = run_id(self._group, number)
        if mode == "offline":  # the legs before are in this one
            for part in (self._folder / "wandb").glob(f"offline-run-*-{name}"):
                shutil.rmtree(part, ignore_errors=True)
        run = wandb.init(
            mode=mode,
            project=self._project,
            group=self._group,
            job_type="trial",
            id=name,
            resume="allow" if mode == "online" else None,
            name=trial_id(number),
            config=config,
            dir=self._folder,
            reinit="finish_previous",
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=INIT_TIMEOUT_SECONDS,
                finish_timeout=self._finish_seconds,
                finish_timeout_raises=True,
            ),
        )
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        return run


def _forget_connection() -> None:
    """End W&B's service process: it holds on to the name of the run that could not be opened."""
    import wandb

    wandb.teardown()
