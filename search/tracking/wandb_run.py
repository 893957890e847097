"""A trial as a Weights & Biases run."""

import logging
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.manifest import read_manifest
from model.slices import PredictedSlices
from search.tracking.kept_slices import keep_slices, kept_slices
from search.tracking.outage import note_outage, noted_outage
from search.tracking.tracker import TrackedTrial, Tracking, run_id
from search.tracking.wandb_table import slices_table
from search.trials import METRIC, State, trial_id

logger = logging.getLogger(__name__)

INIT_TIMEOUT_SECONDS = 10.0
"""How long a server may take to answer before a run goes offline; W&B's own 90 s would hold every trial."""

FINISH_TIMEOUT_SECONDS = 3.0
"""How long the last of a run may take to reach a server. Tune gives a lane 5 s to end (search.engine)."""

SLICES = "validation_slices"
"""The table's name on W&B's pages."""


class WandbTracker:
    """One W&B run a trial, in one group an experiment; a trial that goes on after a restart goes on in its run."""

    wants_slices = True

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        self._run: Any = None
        self._trial: TrackedTrial
        self._epochs: list[dict[str, float]] = []
        self._num_sent = 0
        self._kept: tuple[int, PredictedSlices] | None = None

    def start(self, trial: TrackedTrial, history: Sequence[dict[str, float]] = ()) -> None:
        """Open the trial's run: an offline one where the server does not answer, or did not before."""
        if self._is_online and noted_outage(self._tracking.folder):
            self._go_offline()
        self._trial = trial
        self._epochs = []
        # An offline run is written anew, whole: of two parts under one id the server would keep one.
        self._num_sent = len(history) if self._is_online else 0
        self._kept = kept_slices(self._tracking.folder, trial.number)
        try:
            self._run = self._open()
        except Exception as error:  # W&B's own, its transport's, its service process's
            self._fall_back(error, history)
            return
        for metrics in history:
            self.log(metrics)

    def log(self, metrics: dict[str, float], slices: PredictedSlices | None = None) -> None:
        """Log an epoch, with `epoch` as the step axis."""
        if self._run is None:
            return
        self._epochs.append(metrics)
        try:
            if metrics["epoch"] > self._num_sent:
                self._run.log(metrics | self._table(metrics["epoch"], slices))
            if (best := _best(self._epochs)) is metrics:
                self._run.summary.update({f"best_{name}": best[name] for name in best if _is_score(name)})
        except Exception as error:  # as above: the service process may have died
            self._fall_back(error, self._epochs)

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
        artifact = wandb.Artifact(f"{self._tracking.group}-model", type="model", metadata=facts)
        for file in sorted(file for file in best.rglob("*") if file.is_file()):
            # The file itself, where `wandb sync` will look for it: W&B would keep copies in the user's home.
            artifact.add_file(str(file), file.relative_to(best).as_posix(), skip_cache=True, policy="immutable")
        logged = self._run.log_artifact(artifact, aliases=["best", "latest"])
        if self._is_online:
            logged.wait(timeout=math.ceil(timeout_seconds))  # else nobody would hear of an upload that failed

    def finish(self, state: State, reason: str) -> None:
        """Close the run with the trial's state; nothing, if none is open. What did not reach a server is on disk."""
        if self._run is None:
            return
        run, self._run = self._run, None
        try:
            run.summary.update({"state": state, "reason": reason} | _most(self._epochs))
            run.finish(exit_code=1 if state == State.FAILED else 0)
        except Exception as error:  # a server that is silent; or as above
            self._say_outage(error)
            if self._is_online:
                self._go_offline()

    @property
    def _is_online(self) -> bool:
        return self._tracking.mode == "online"

    def _open(self) -> Any:
        tracking, name = self._tracking, run_id(self._tracking.group, self._trial.number)
        folder = tracking.folder / "wandb"
        # What a table shows waits for its upload in a file each, and is copied then: not in the user's home.
        staged = folder / "staged" / trial_id(self._trial.number)
        os.environ |= {"WANDB_DATA_DIR": str(staged), "WANDB_CACHE_DIR": str(folder / "cache")}
        os.environ.setdefault("WANDB_SILENT", "true")  # it would say where it has found the key
        import wandb  # where a trial runs, not where a search is planned

        if not self._is_online:  # the legs before are in this one
            for part in (*folder.glob(f"offline-run-*-{name}"), staged):
                shutil.rmtree(part, ignore_errors=True)
        run = wandb.init(
            mode=tracking.mode,
            project=tracking.project,
            group=tracking.group,
            job_type="trial",
            id=name,
            resume="allow" if self._is_online else None,
            name=self._trial.name,
            config=tracking.facts | self._trial.config,
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
        try:
            if slices is not None:
                keep_slices(self._tracking.folder, self._trial.number, int(epoch), slices)
            elif self._kept and self._kept[0] == epoch:
                slices = self._kept[1]
            return {} if slices is None else {SLICES: slices_table(slices)}
        except Exception as error:  # a full disk, a picture that W&B does not take: pictures are worth no run
            logger.warning("validation slices are not shown: %r", error)
            return {}

    def _fall_back(self, error: Exception, history: Sequence[dict[str, float]]) -> None:
        """Go on offline, in a run with all epochs so far; where that does not work either, without."""
        self._run = None
        self._say_outage(error)
        if self._is_online:
            self._go_offline()
            self.start(self._trial, list(history))

    def _go_offline(self) -> None:
        self._tracking = replace(self._tracking, mode="offline")
        _forget_connection()

    def _say_outage(self, error: Exception) -> None:
        what, folder = " ".join(str(error).split()) or repr(error), self._tracking.folder
        if self._is_online:
            sentence = f"W&B cannot be reached, runs are kept offline in {folder / 'wandb'}: {what}"
        else:
            sentence = f"W&B does not work, the search goes on without it: {what}"
        logger.warning(sentence)
        note_outage(folder, sentence)


def _best(epochs: list[dict[str, float]]) -> dict[str, float] | None:
    """Return the metrics of the best epoch, the first among equals; None where none has a score."""
    scored = [metrics for metrics in epochs if math.isfinite(metrics.get(METRIC, math.nan))]
    return max(scored, key=lambda metrics: metrics[METRIC], default=None)


def _is_score(name: str) -> bool:
    return name in ("epoch", "train_loss") or name.startswith("val_")


def _most(epochs: list[dict[str, float]]) -> dict[str, float]:
    """Return the most memory of all epochs."""
    peaks = [metrics["peak_memory_mb"] for metrics in epochs if "peak_memory_mb" in metrics]
    return {"peak_memory_mb": max(peaks)} if peaks else {}


def _forget_connection() -> None:
    """End W&B's service process: it holds on to the name of the run that could not be opened."""
    import wandb

    wandb.teardown()
