"""Find the status of an experiment from its folder, without disturbing a process that writes there."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from data.errors import UserError
from search.record.experiment_record import ExperimentRecord
from search.record.files import BEST_FOLDER, CONFIG_FILE, LOCK_FILE, LOG_FILE, METRICS_FILE, TABLE_FILE
from search.record.trials import INTERRUPTED, TIME_SPENT, Trial, TrialRow
from search.storage.lock import is_being_written


class Status(StrEnum):
    """What has become of an experiment so far."""

    RUNNING = "running"
    """A process holds its folder, and searches or promotes."""

    INTERRUPTED = "interrupted"
    """Its search was ended, or killed, before its budget was spent; `--resume` continues it. Its best trial may have
    been promoted."""

    FINISHED = "finished"
    """Its search has ended, and nothing was promoted."""

    PROMOTED = "promoted"
    """Its search has ended, and its best trial was promoted into `best/`."""


def status_of(folder: Path, experiment: ExperimentRecord, rows: Sequence[TrialRow]) -> Status:
    """Return the status of an experiment, from its folder, its record and its table of trials."""
    if is_being_written(folder):
        return Status.RUNNING
    errors = {row.error for row in rows}
    time_budget = experiment.time_budget_seconds
    is_time_spent = TIME_SPENT in errors or (time_budget is not None and wall_seconds(rows) >= time_budget)
    if INTERRUPTED in errors or not (len(rows) >= experiment.num_trials or is_time_spent):
        return Status.INTERRUPTED
    return Status.PROMOTED if (folder / BEST_FOLDER / METRICS_FILE).exists() else Status.FINISHED


def wall_seconds(rows: Sequence[Trial]) -> float:
    """Return when the last epoch of these trials ended, in seconds since the search began.

    The time between an interruption and its resume does not count, nor does the promotion.
    """
    return max((epoch.elapsed_seconds or 0.0 for row in rows for epoch in row.epochs), default=0.0)


def experiment_names(out: Path) -> list[str]:
    """Return the names of the experiments in a folder, including damaged ones, in alphabetical order.

    Raises:
        UserError: `out` is not a folder that can be read.
    """
    try:
        folders = [path for path in out.iterdir() if path.is_dir()]
    except OSError as error:
        raise UserError(f"--out {out} cannot be read ({error}): give the folder of all experiments") from error
    marks = (CONFIG_FILE, LOCK_FILE, TABLE_FILE, LOG_FILE)
    return sorted(path.name for path in folders if any((path / mark).exists() for mark in marks))
