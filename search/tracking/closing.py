"""The end of a search, said in the runs of its trials.

A lane does not know what becomes of a trial after its leg: it says what is true if nothing comes after. That is how
nearly all trials end. The others, which were cut off or lost, are corrected here, where it is known how they ended.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.record.trials import State, TrialRow
from search.space import SharedSettings
from search.tracking.errands import bounded
from search.tracking.outage import note_outage, noted_outage
from search.tracking.run_file import at_the_end, find_parts, read_records, write_records
from search.tracking.tracker import Tracking, row_epochs, row_reason, run_id, tracked_trial
from search.tracking.wandb_run import WandbRun, end_service

CLOSING_SECONDS = 6.0
"""How long corrections may take: a few ms a run offline, about a second online."""


def close_runs(rows: Sequence[TrialRow], fixed: SharedSettings, tracking: Tracking) -> str | None:
    """Return why some runs could not be corrected, in a sentence; None where all end as their rows say."""
    if tracking.mode not in ("online", "offline"):
        return None
    deadline = time.monotonic() + CLOSING_SECONDS
    problem = bounded(lambda: _close(rows, fixed, tracking, deadline), seconds=CLOSING_SECONDS, name="end of runs")
    if problem is None:
        return None
    note_outage(tracking.folder, problem)  # so that nobody waits for it again
    end_service()
    return f"some runs in W&B do not say how their trials ended: {problem}"


def _close(rows: Sequence[TrialRow], fixed: SharedSettings, tracking: Tracking, deadline: float) -> None:
    parts = find_parts(tracking.folder)
    for row in rows:
        files = parts.get(run_id(tracking.group, row.number))
        if not files:  # it never began
            continue
        end = {"state": row.state, "reason": row_reason(row, fixed.max_epochs)}
        file = max(files, key=lambda file: file.stat().st_mtime_ns)  # of the last leg
        records = list(read_records(file))
        if _said(records) == end:
            continue
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done in {CLOSING_SECONDS:g} seconds")
        if file.parent.name.startswith("offline-"):
            _end_offline(file, records, end)
        else:
            _end_online(row, end, fixed, tracking)


def _said(records: Sequence[Any]) -> dict[str, Any] | None:
    """Return the state and the reason that a run ends with; None if it does not end."""
    said: dict[str, Any] = {}
    for record in records:
        said |= {item.key: item.value_json for item in record.summary.update if item.key in ("state", "reason")}
    if not any(record.HasField("exit") for record in records):
        return None
    return {name: json.loads(value) for name, value in said.items()}


def _end_offline(file: Path, records: Sequence[Any], end: dict[str, Any]) -> None:
    """Write a file of a run anew, with another end."""
    new = file.with_suffix(".new")
    rest = [record for record in records if not record.HasField("exit")]
    write_records(new, at_the_end(rest, end, exit_code=int(end["state"] == State.FAILED)))
    new.replace(file)


def _end_online(row: TrialRow, end: dict[str, Any], fixed: SharedSettings, tracking: Tracking) -> None:
    """Open the run once more; where the server does not answer, an offline one takes its place."""
    if noted_outage(tracking.folder):
        tracking = replace(tracking, mode="offline")
    WandbRun(tracking, tracked_trial(row.number, row.sample, fixed), row_epochs(row)).end(row.state, end["reason"])
