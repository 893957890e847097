"""Runs that were tracked offline, or whose server went away, are sent to a W&B server: each once, however often asked.

What was sent, the experiment's folder remembers; and what the server has, the client asks it (client.py). So a sync
that was killed, at whatever moment, is completed by the next.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search.record.jsonl import append_line, read_lines
from search.record.trials import State, TrialRow
from search.tracking.apart import ask
from search.tracking.run_file import find_parts
from search.tracking.sweep import CLIENT, Sweep, record_sweep
from search.tracking.tracker import row_reason

SENT_FILE = "sent.jsonl"

SILENT_SECONDS = 60.0
"""How long nothing may move before a sync gives up."""


@dataclass(frozen=True, kw_only=True)
class OfflineRun:
    """A run as it lies on disk, and what the table says of its trial."""

    id: str
    parts: tuple[str, ...]
    """Its `.wandb` files, the earliest first."""

    summary: dict[str, str]
    """How the trial ended: a paused one does not know, in its file, that it is not taken up again."""

    exit_code: int

    @property
    def digest(self) -> str:
        """A hash of all that is to be sent, but for the media, which W&B's client writes once."""
        found = hashlib.sha256(json.dumps([self.id, self.summary, self.exit_code]).encode())
        for part in self.parts:
            found.update(Path(part).read_bytes())
        return found.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a run, or what is being done."""

    run: str | None = None
    problem: str | None = None
    """Why the run is not on the server, or not whole."""

    doing: str = ""


def find_runs(folder: Path, rows: Sequence[TrialRow], max_epochs: int) -> list[OfflineRun]:
    """Return the runs in an experiment's folder, by their ids, with the ends that the table of trials tells."""
    by_id = {row.id: row for row in rows}
    runs = []
    for name, parts in sorted(find_parts(folder).items()):
        row = by_id.get(name.rpartition("-")[2])
        summary = {} if row is None else {"state": str(row.state), "reason": row_reason(row, max_epochs)}
        # A trial without a row was killed with its search: to W&B it failed, until it is resumed.
        has_failed = row is None or row.state == State.FAILED
        parts = tuple(str(part.resolve()) for part in parts)
        runs.append(OfflineRun(id=name, parts=parts, summary=summary, exit_code=int(has_failed)))
    return runs


def unsent(folder: Path, runs: Sequence[OfflineRun], place: str) -> list[OfflineRun]:
    """Return the runs that are not at a place, or that have changed since they were sent there."""
    sent = {(line["place"], line["run"]): line["digest"] for line in read_lines(folder / SENT_FILE)}
    return [run for run in runs if sent.get((place, run.id)) != run.digest]


def upload(
    folder: Path,
    runs: Sequence[OfflineRun],
    sweep_question: dict[str, Any],
    *,
    jobs: int,
    silent_seconds: float = SILENT_SECONDS,
) -> Iterator[Outcome]:
    """Yield what becomes of each run, and between them what is being done; whatever is sent is remembered at once.

    Args:
        sweep_question: What must be known to find or make the sweep that they are attached to (sweep.py).
        jobs: Runs that are sent at a time.

    Raises:
        TimeoutError: Nothing moved for so long.
        RuntimeError: The server cannot be reached, or refuses all.
    """
    folder = folder.resolve()
    question = sweep_question | {"folder": str(folder), "jobs": jobs, "runs": [asdict(run) for run in runs]}
    digests = {run.id: run.digest for run in runs}
    place = ""
    for said in ask(CLIENT, question, silent_seconds=silent_seconds, folder=folder):
        if "sweep" in said:
            sweep = Sweep(**said["sweep"])
            record_sweep(folder, sweep)
            place = sweep.place
        elif "run" in said:
            if said["problem"] is None:
                line = {"place": place, "run": said["run"], "digest": digests[said["run"]]}
                append_line(folder / SENT_FILE, line, durable=True)
            yield Outcome(run=said["run"], problem=said["problem"])
        else:
            yield Outcome(doing="; ".join(said["doing"]))
