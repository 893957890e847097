"""The model of a search as an artifact of its winner's run."""

from dataclasses import replace
from pathlib import Path

from search.record.trials import TrialRow
from search.space import SharedSettings
from search.tracking.errands import bounded
from search.tracking.outage import noted_outage
from search.tracking.tracker import Tracking, row_epochs, row_reason, tracked_trial
from search.tracking.wandb_run import WandbRun, end_service

MODEL_TIMEOUT_SECONDS = 20.0
"""How long a server may take to open the run and the artifact, and to close both; a person waits."""

UPLOAD_BYTES_PER_SECOND = 1e6
"""The slowest upload of the model, some 100 MB of it, that is waited for besides."""


def track_model(best: Path, row: TrialRow, fixed: SharedSettings, tracking: Tracking) -> str | None:
    """Return why the model could not be logged, in a sentence; None where it was, or where it goes nowhere.

    It becomes an artifact of the winner's run, with the alias `best`. An offline run is written anew for that, whole,
    as for every leg of a trial. Nothing is raised, and what it takes has a limit.

    Args:
        best: The folder of the model, with its manifest, to which nothing is added any more.
        fixed: What all trials of the search have in common.
    """
    if tracking.mode not in ("online", "offline"):
        return None
    if noted_outage(tracking.folder):
        tracking = replace(tracking, mode="offline")
    num_bytes = sum(file.stat().st_size for file in best.rglob("*") if file.is_file())
    seconds = MODEL_TIMEOUT_SECONDS + num_bytes / UPLOAD_BYTES_PER_SECOND

    def log() -> None:
        run = WandbRun(tracking, tracked_trial(row.number, row.sample, fixed), row_epochs(row))
        try:
            run.log_model(best, timeout_seconds=seconds)
        finally:
            run.end(row.state, row_reason(row, fixed.max_epochs))

    problem = bounded(log, seconds=seconds, name="model to W&B")
    if problem is None:
        return None
    end_service()  # else it would be waited for at the end of the program
    return (
        f"The model is in {best}, but not in W&B: {problem}. To send it later: wandb artifact put --type model "
        f"--alias best --name {tracking.project}/{tracking.group}-model {best}"
    )
