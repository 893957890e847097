"""The model of a search as an artifact of its winner's run."""

import threading
from pathlib import Path
from typing import Any

from search.tracking.wandb_run import INIT_TIMEOUT_SECONDS, WandbTracker
from search.trials import TrialRow

MODEL_TIMEOUT_SECONDS = 300.0
"""How long the model may take to reach a server, some hundred MB of it; the search is over, and a person waits."""


def track_model(
    best: Path, row: TrialRow, config: dict[str, Any], *, tracking: str, project: str, group: str, folder: Path
) -> str | None:
    """Return why the model could not be logged, in a sentence; None where it was, or where tracking is off.

    It becomes an artifact of the winner's run, with the alias `best`. An offline run is written anew for that, whole,
    as for every leg of a trial. Nothing is raised, and MODEL_TIMEOUT_SECONDS is the longest that this takes.

    Args:
        best: The folder of the model, with its manifest, to which nothing is added any more.
        config: What the trial's run has as its config: the fields of its UNetConfig and its TrainConfig.
        folder: The experiment's.
    """
    if tracking == "off":
        return None
    problems = ["W&B did not answer in time"]
    folder = folder.resolve()  # W&B's service process has a working directory of its own

    def log() -> None:
        # The end of the program waits as long once more, where the model did not get through.
        seconds = INIT_TIMEOUT_SECONDS
        tracker = WandbTracker(mode=tracking, project=project, group=group, folder=folder, finish_seconds=seconds)
        try:
            tracker.start(row.number, config, row.epochs)
            try:
                tracker.log_model(best, timeout_seconds=MODEL_TIMEOUT_SECONDS)
            finally:
                tracker.finish(row.state)
        except Exception as error:  # W&B's own, its transport's, its service process's, a full disk
            problems.append(" ".join(str(error).split()))
        else:
            problems.clear()

    # A thread of its own: of all that W&B may wait for, only some has a limit that can be set.
    thread = threading.Thread(target=log, name="model to W&B", daemon=True)
    thread.start()
    thread.join(MODEL_TIMEOUT_SECONDS)
    if not problems:
        return None
    return (
        f"The model is in {best}, but not in W&B: {problems[-1]}. To send it later: wandb artifact put --type model "
        f"--alias best --name {project}/{group}-model {best}"
    )
