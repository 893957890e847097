"""What an experiment's folder says of its search, whether that has ended, was interrupted, or still runs."""

import json
import sys
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from data.errors import UserError
from search.config import SearchConfig
from search.coordination.coordinator import Coordinator
from search.coordination.progress import Progress
from search.experiment import recorded_config
from search.record.files import BEST_FOLDER, LOG_FILE, METRICS_FILE, SCORINGS_FILE, TABLE_FILE, read_experiment
from search.record.jsonl import read_lines
from search.record.trials import TrialRow, read_rows, trial_id
from search.scheduling.schedulers import SCHEDULERS


class Phase(StrEnum):
    """Where a trial stands that has no row in the table yet."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    """It waits on a rung for its turn."""

    UNFINISHED = "UNFINISHED"
    """Its search died; `--resume` goes on with it."""


@dataclass(frozen=True, kw_only=True)
class OpenTrial(TrialRow):
    """A trial that has not ended."""

    state: Phase


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that a report tells of."""

    folder: Path
    run: dict[str, Any]
    """config.json."""

    config: SearchConfig
    rows: list[TrialRow]
    """Every trial that has begun, by number."""

    losses: Counter[str]
    """How often each trial lost its worker group."""

    metrics: dict[str, Any] | None
    """best/metrics.json; None where nothing was promoted."""

    is_running: bool
    """Somebody searches or promotes there now."""

    went_on: bool
    """The search went on after its model was promoted."""


def read_snapshot(folder: Path, *, is_running: bool = False) -> Snapshot:
    """Return what the folder says now; nothing in it changes.

    Raises:
        ValueError: It is not an experiment of this version, or one of its files is damaged.
    """
    run, config = read_experiment(folder), recorded_config(folder)
    rows = read_rows(folder / TABLE_FILE)
    events = read_lines(folder / LOG_FILE)
    known = {row.number for row in rows}
    if any(event.get("event") == "begin" and event["number"] not in known for event in events):
        rows += [row for row in _from_log(config, folder, is_running=is_running) if row.number not in known]
    scorings = read_lines(folder / SCORINGS_FILE)
    return Snapshot(
        folder=folder,
        run=run,
        config=config,
        rows=sorted(rows, key=lambda row: row.number),
        losses=Counter(trial_id(event["number"]) for event in events if event.get("event") == "lost"),
        metrics=_read_metrics(folder / BEST_FOLDER / METRICS_FILE),
        is_running=is_running,
        went_on=bool(scorings and run.get("resumed") and run["resumed"][-1] > scorings[-1]["time"]),
    )


def _read_metrics(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): python -m search.promote writes it anew") from error


def _from_log(config: SearchConfig, folder: Path, *, is_running: bool) -> list[TrialRow]:
    """Return every trial as the log of events has it: what a search does that goes on, without doing anything."""
    nobody = _Nobody()
    coordinator = Coordinator(
        nobody,  # type: ignore[arg-type]
        SCHEDULERS[config.scheduler].make(config.budget()),
        num_trials=config.trials,
        listener=nobody,
        objectives=config.objective,
        max_failures=config.max_failures,
        log=folder / LOG_FILE,
    )
    coordinator.read_back(lambda number: sys.maxsize)
    return [_row(trial, is_running=is_running) for trial in coordinator.trials.values()]


def _row(trial: Progress, *, is_running: bool) -> TrialRow:
    epochs = [trial.epochs[epoch] for epoch in sorted(trial.epochs)]
    known = {"number": trial.number, "sample": trial.sample, "epochs": epochs}
    known["seconds"] = sum(epoch["seconds"] for epoch in epochs)
    if trial.phase == "ended":  # since the table was read
        return TrialRow(**known, state=trial.outcome[0], error=trial.outcome[1])
    cut_off = Phase.RUNNING if is_running else Phase.UNFINISHED
    return OpenTrial(**known, state=Phase.PAUSED if trial.phase == "paused" else cut_off)


class _Nobody:
    """A searcher and a listener to whom it is all the same."""

    def restore(self, *what: Any) -> None: ...

    def end(self, *what: Any) -> None: ...

    def on_end(self, *what: Any) -> None: ...
