"""The model of a search as an artifact of its winner's run."""

from dataclasses import replace
from pathlib import Path

from model.manifest import read_manifest
from model.settings import ModelError
from search.record.trials import TrialRow
from search.space.space import Space
from search.tracking.connection import Connection, Patience
from search.tracking.outage import noted_outage
from search.tracking.runs import TrackedRun, Tracking, run_of_row

MODEL_PATIENCE = Patience(answer_seconds=20.0)
"""A person waits; the upload of the model itself is given time by its size."""


def track_model(
    best: Path, row: TrialRow, tracking: Tracking, *, space: Space, searcher: str, patience: Patience = MODEL_PATIENCE
) -> str | None:
    """Log the model; return in a sentence why that failed, or None. Without W&B, do nothing.

    It becomes an artifact of the winner's run, with the alias `best`. Nothing is raised, and the time is bounded.

    Args:
        best: The folder of the model, with its manifest, to which nothing is added any more.
    """
    if tracking.mode not in ("online", "offline"):
        return None
    if noted_outage(tracking.folder):
        tracking = replace(tracking, mode="offline")
    try:
        read_manifest(best)
        run = replace(run_of_row(tracking, row), model=best.resolve())  # `wandb sync` may run anywhere
        problem = _send(run, tracking, space, searcher, patience)
    except (TimeoutError, RuntimeError, OSError, ModelError) as error:
        problem = str(error)
    if problem is None:
        return None
    return (
        f"The model is in {best}, but not in W&B: {problem}. To send it later: wandb artifact put --type model "
        f"--alias best --name {tracking.project}/{tracking.group}-model {best}"
    )


def _send(run: TrackedRun, tracking: Tracking, space: Space, searcher: str, patience: Patience) -> str | None:
    connection = Connection(tracking, patience=patience)
    try:
        if tracking.mode == "online":
            connection.open_sweep(space, searcher=searcher)
        [outcome] = connection.send([run], jobs=1)
        return outcome.problem
    finally:
        connection.close()
