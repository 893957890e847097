"""A trial as a Weights & Biases run. Whatever W&B raises comes out: see search.tracking.wandb_tracker."""

import logging
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.manifest import FORMAT, read_manifest
from model.training.sample_slices import PredictedSlices
from search.record.epochs import EpochMetrics
from search.record.trials import State, trial_id
from search.tracking.errands import bounded
from search.tracking.kept_slices import kept_slices
from search.tracking.tracker import TrackedTrial, Tracking, run_id
from search.tracking.wandb_table import slices_table

logger = logging.getLogger(__name__)

INIT_TIMEOUT_SECONDS = 10.0
"""How long a server may take to answer; W&B's own 90 s are too many."""

FINISH_TIMEOUT_SECONDS = 8.0
"""How long the last of a run may take to reach a server."""

TEARDOWN_SECONDS = 3.0
"""How long W&B's client may take to forget its service process; that is a matter of ms."""

SLICES = "validation_slices"
"""The table's name on W&B's pages."""


class WandbRun:
    """A trial's run that is open; one that goes on after a restart goes on in its run."""

    def __init__(self, tracking: Tracking, trial: TrackedTrial, history: Sequence[EpochMetrics] = ()) -> None:
        self._tracking = tracking
        self._trial = trial
        self._epochs: list[EpochMetrics] = []
        self._kept = kept_slices(tracking.folder, trial.number)
        self._run = self._open()
        # An offline run is written anew, whole: of two parts under one id the server would keep one.
        self._num_sent = len(history) if self._run.resumed else 0
        for epoch in history:
            self.log(epoch)

    def log(self, epoch: EpochMetrics, slices: PredictedSlices | None = None) -> None:
        """Log an epoch, with `epoch` as the step axis."""
        self._epochs.append(epoch)
        metrics = epoch.to_json()
        if epoch.epoch > self._num_sent:
            self._run.log(metrics | self._table(epoch.epoch, slices))
        if _best(self._epochs) is epoch:
            self._run.summary.update({f"best_{name}": metrics[name] for name in metrics if _is_score(name)})

    def log_model(self, best: Path, *, timeout_seconds: float) -> None:
        """Log the folder of a model as an artifact of the run, with the alias `best`."""
        import wandb

        best = best.resolve()  # `wandb sync` may run anywhere
        facts = {"format": FORMAT, **read_manifest(best).provenance.known()}
        artifact = wandb.Artifact(f"{self._tracking.group}-model", type="model", metadata=facts)
        for file in sorted(file for file in best.rglob("*") if file.is_file()):
            # The file itself, where `wandb sync` will look for it: W&B would keep copies in the user's home.
            artifact.add_file(str(file), file.relative_to(best).as_posix(), skip_cache=True, policy="immutable")
        logged = self._run.log_artifact(artifact, aliases=["best", "latest"])
        if self._tracking.mode == "online":
            logged.wait(timeout=math.ceil(timeout_seconds))  # else nobody would hear of an upload that failed

    def end(self, state: State, reason: str) -> None:
        """Close the run with the trial's state."""
        self._run.summary.update({"state": state, "reason": reason} | _most(self._epochs))
        self._run.finish(exit_code=1 if state == State.FAILED else 0)

    def _open(self) -> Any:
        tracking, trial = self._tracking, self._trial
        is_online = tracking.mode == "online"
        # What a table shows waits for its upload in a file each, and is copied then: not in the user's home.
        staged = tracking.folder / "wandb" / "staged" / trial_id(trial.number)
        os.environ |= {"WANDB_DATA_DIR": str(staged), "WANDB_CACHE_DIR": str(tracking.folder / "wandb" / "cache")}
        os.environ.setdefault("WANDB_SILENT", "true")  # it would say where it has found the key
        # Its telemetry holds the program's end where the server is gone, and complains on the screen.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb  # where a trial runs, not where a search is planned

        if not is_online:  # the legs before are in this one
            for part in (*run_folders(tracking, trial.number, kind="offline-"), staged):
                shutil.rmtree(part, ignore_errors=True)
        run = wandb.init(
            mode=tracking.mode,
            project=tracking.project,
            group=tracking.group,
            job_type="trial",
            id=run_id(tracking.group, trial.number),
            resume="allow" if is_online else None,
            name=trial.name,
            config=tracking.facts | trial.config,
            dir=tracking.folder,
            reinit="finish_previous",
            settings=wandb.Settings(
                silent=True,
                console="off",
                sweep_id=tracking.sweep,
                init_timeout=INIT_TIMEOUT_SECONDS,
                finish_timeout=FINISH_TIMEOUT_SECONDS,
                finish_timeout_raises=True,
            ),
        )
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        return run

    def _table(self, epoch: float, slices: PredictedSlices | None) -> dict[str, Any]:
        """Return the table of an epoch's slices, which may have been kept, by its name."""
        if slices is None and self._kept and self._kept[0] == epoch:
            slices = self._kept[1]
        try:
            return {} if slices is None else {SLICES: slices_table(slices)}
        except Exception as error:  # a picture that W&B does not take: pictures are worth no run
            logger.warning("validation slices are not shown: %r", error)
            return {}


def run_folders(tracking: Tracking, number: int, *, kind: str = "") -> list[Path]:
    """Return the folders of a trial's run, one for each time that it was opened; of kind "offline-", offline."""
    return list((tracking.folder / "wandb").glob(f"{kind}run-*-{run_id(tracking.group, number)}"))


def end_service() -> None:
    """End W&B's service process at once, and what its client has to do with it, so that it can be started anew.

    It holds on to the name of a run that could not be opened, or closed, and asked to end it waits for ever for an
    artifact that is under way.
    """
    bounded(_end_service, seconds=TEARDOWN_SECONDS, name="end of W&B")


def _end_service() -> None:
    import wandb
    from wandb.sdk import wandb_setup

    service = getattr(wandb_setup.singleton(), "_connection", None)
    if service and service._proc:
        service._proc._process.kill()
        service._proc._process.wait()
    watch = getattr(wandb.run, "_run_status_checker", None)
    if watch:
        watch.join()
    wandb.teardown()


def _best(epochs: list[EpochMetrics]) -> EpochMetrics | None:
    """Return the best epoch, the first among equals; None where none has a score."""
    return max((epoch for epoch in epochs if epoch.has_dice), key=lambda epoch: epoch.val_dice, default=None)


def _is_score(name: str) -> bool:
    return name in ("epoch", "train_loss") or name.startswith("val_")


def _most(epochs: list[EpochMetrics]) -> dict[str, float]:
    """Return the most memory of all epochs."""
    peaks = [epoch.peak_memory_mb for epoch in epochs if epoch.peak_memory_mb is not None]
    return {"peak_memory_mb": max(peaks)} if peaks else {}
