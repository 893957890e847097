"""How an experiment stands, seen from outside: its folder is read, and whoever writes there is not disturbed."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from data.errors import UserError
from search.formatting import format_duration as format_duration
from search.record.files import BEST_FOLDER, CONFIG_FILE, LOCK_FILE, LOG_FILE, METRICS_FILE, TABLE_FILE
from search.record.trials import INTERRUPTED, TIME_SPENT, TrialRow
from search.storage.lock import is_being_written


class Standing(StrEnum):
    """What has become of an experiment so far."""

    RUNNING = "running"
    """A process holds its folder: it searches, or promotes."""

    INTERRUPTED = "interrupted"
    """Its search was ended, or killed, before its budget was spent: `--resume` goes on. (Its best may be promoted.)"""

    FINISHED = "finished"
    """Its search has ended, and nothing was promoted."""

    PROMOTED = "promoted"
    """Its search has ended, and its best is in `best/`."""


def standing(folder: Path, config: dict[str, Any], rows: Sequence[TrialRow]) -> Standing:
    """Return how an experiment stands, from its folder, config.json's `config` and its table of trials."""
    if is_being_written(folder):
        return Standing.RUNNING
    errors = {row.error for row in rows}
    time_budget = config.get("time_budget_seconds")
    is_time_spent = TIME_SPENT in errors or (time_budget is not None and wall_seconds(rows) >= time_budget)
    if INTERRUPTED in errors or not (len(rows) >= config["trials"] or is_time_spent):
        return Standing.INTERRUPTED
    return Standing.PROMOTED if (folder / BEST_FOLDER / METRICS_FILE).exists() else Standing.FINISHED


def wall_seconds(rows: Sequence[TrialRow]) -> float:
    """Return when the last epoch of the trials that ended was known, in seconds since the search began.

    The time in which it was dead is left out, that of a promotion too.
    """
    return max((epoch.get("elapsed_seconds", 0.0) for row in rows for epoch in row.epochs), default=0.0)


def experiment_names(out: Path) -> list[str]:
    """Return the folders of experiments, damaged ones too, by name.

    Raises:
        ValueError: `out` is no folder that can be read.
    """
    try:
        folders = [path for path in out.iterdir() if path.is_dir()]
    except OSError as error:
        raise UserError(f"--out {out} cannot be read ({error}): give the folder of all experiments") from error
    marks = (CONFIG_FILE, LOCK_FILE, TABLE_FILE, LOG_FILE)
    return sorted(path.name for path in folders if any((path / mark).exists() for mark in marks))
