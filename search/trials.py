"""The table of trials: what promotion, report and comparison read, and all they read. One JSON object a line."""

import json
import math
import os
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

METRIC = "val_dice"
"""What is searched for: the mean over validation patients of the volumetric Dice."""

STATE_FILE = "checkpoint.pt"
METRICS_FILE = "metrics.json"
"""In every checkpoint folder: the training's state, and the metrics of the epoch that it was taken after."""


class State(StrEnum):
    """How a trial ended."""

    COMPLETE = "COMPLETE"
    """Trained to the end of its schedule, or until it stopped improving."""

    PRUNED = "PRUNED"
    """Stopped before, by the scheduler, the time budget, or a person."""

    FAILED = "FAILED"
    """Raised, turned non-finite, or lost its workers too often; `error` says which."""


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial of a search."""

    number: int
    state: State
    sample: dict[str, Any]
    """Hyperparameters, by the names of the search space."""

    epochs: list[dict[str, float]]
    """Every epoch's metrics, first to last; `elapsed_seconds` is when it was known, since the search began."""

    seconds: float
    """Wall clock of its epochs: training and validation, without waiting for a worker group."""

    error: str | None = None
    """Why it is PRUNED or FAILED, in a line; None where nothing needs saying."""

    checkpoint: str | None = None
    """Its best epoch's checkpoint file, relative to the experiment's folder."""

    @property
    def id(self) -> str:
        """The name of the trial everywhere: folder, W&B run, table."""
        return trial_id(self.number)

    @property
    def best_epoch(self) -> dict[str, float] | None:
        """The metrics of the epoch with the best validation Dice; None if none has a finite one."""
        scored = [epoch for epoch in self.epochs if math.isfinite(epoch.get(METRIC, math.nan))]
        return max(scored, key=lambda epoch: epoch[METRIC], default=None)

    @property
    def best_dice(self) -> float:
        """The best validation Dice of all epochs; nan if none is finite."""
        return self.best_epoch[METRIC] if self.best_epoch else math.nan


def trial_id(number: int) -> str:
    """Return a name that sorts as the number does, up to a thousand trials and readable beyond."""
    return f"t{number:03d}"


def ended_state(result: dict[str, Any] | None, *, error: bool) -> State:
    """Return how a trial ended, from its last result and whether its worker group was lost for good."""
    if error or not result or result.get("failure"):
        return State.FAILED
    if not math.isfinite(result[METRIC]):  # nobody to compare it by; such a validation set is refused before
        return State.FAILED
    return State.COMPLETE if result["finished"] else State.PRUNED


def count_states(rows: list[TrialRow]) -> dict[State, int]:
    """Return how many trials ended in each state."""
    return {state: sum(row.state == state for row in rows) for state in State}


def append_row(path: Path, row: TrialRow) -> None:
    """Add a trial to the table, and wait until the disk has it; a last line that a crash cut off makes room."""
    line = json.dumps({"id": row.id, **asdict(row)}) + "\n"
    with path.open("ab+") as file:
        _cut_torn_line(file)
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: Path) -> list[TrialRow]:
    """Return the trials by number; none where there is no table yet.

    A last line that was cut off by a crash is left out; a trial with several rows (a crash between two writes) has its
    last.
    """
    if not path.exists():
        return []
    rows: dict[int, TrialRow] = {}
    lines = path.read_text().split("\n")
    for place, line in enumerate(lines):
        if not line:
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            if place == len(lines) - 1:
                continue
            raise ValueError(f"{path}, line {place + 1}, is not a trial: {error}") from error
        del values["id"]
        rows[values["number"]] = TrialRow(**values | {"state": State(values["state"])})
    return [rows[number] for number in sorted(rows)]


def best_first(rows: list[TrialRow]) -> list[TrialRow]:
    """Return the trials that have a score, the best validation Dice first, the earlier trial first among equals."""
    scored = [row for row in rows if row.best_epoch]
    return sorted(scored, key=lambda row: (-row.best_dice, row.number))


def find_best_checkpoint(trial_folder: Path) -> Path | None:
    """Return the state file of the best epoch that is still on disk, the earlier one among equals."""
    scored = []
    for file in sorted(trial_folder.glob(f"checkpoint_*/{METRICS_FILE}")):
        try:
            epoch = json.loads(file.read_text())
        except json.JSONDecodeError:  # it was cut off while it was written
            continue
        if file.with_name(STATE_FILE).exists() and math.isfinite(epoch.get(METRIC, math.nan)):
            scored.append((-epoch[METRIC], epoch["epoch"], file.with_name(STATE_FILE)))
    return min(scored)[2] if scored else None


def _cut_torn_line(file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read() == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
