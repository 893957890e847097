"""The log of a search (events.jsonl): every decision and every epoch in order, one event on each line.

A search is resumed from its log (search/coordination/coordinator.py). The report of a running search is made from it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from data.errors import UserError
from search.record.codec import JsonObject, check_version, from_json, to_json
from search.record.epochs import EpochMetrics
from search.record.files import LOG_FILE, TABLE_FILE
from search.record.jsonl import append_line, read_records
from search.record.trials import Sample

VERSION = 1
"""Version of the log's lines. A line without a `version` has version 1."""


@dataclass(frozen=True, kw_only=True)
class Begin:
    """A configuration was suggested, and its trial begins."""

    number: int
    sample: Sample
    attrs: JsonObject = field(default_factory=dict)
    """Optuna attributes that the sampler needs after a restart (search/suggestion/searcher.py)."""


@dataclass(frozen=True, kw_only=True)
class LegStarted:
    """A leg of the trial was handed to a lane."""

    number: int


@dataclass(frozen=True, kw_only=True)
class EpochEnded:
    """An epoch of the trial ended, or its training raised."""

    number: int
    metrics: EpochMetrics
    finished: bool
    """Whether the training is over."""

    failure: str | None
    """Why the trial cannot continue; None if it can."""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The trial's worker group was lost, and its leg with it."""

    number: int
    error: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The trial ended with its last leg, and its last checkpoint is on disk."""

    number: int


@dataclass(frozen=True, kw_only=True)
class GivenUp:
    """The paused trial was ended to make room for checkpoints."""

    number: int
    reason: str | None


Event: TypeAlias = Begin | LegStarted | EpochEnded | Lost | Ended | GivenUp

NAMES: dict[type[Event], str] = {
    Begin: "begin",
    LegStarted: "leg",
    EpochEnded: "epoch",
    Lost: "lost",
    Ended: "end",
    GivenUp: "give_up",
}
"""The name of each event in the log."""

DURABLE = (LegStarted, Ended, GivenUp)
"""Events for which the disk is waited: a crash may lose only what happened since lanes were last given work, of which
checkpoints know the epochs, and must not bring back a trial whose checkpoints were removed because it had ended."""

KINDS: dict[str, type[Event]] = {name: kind for kind, name in NAMES.items()}


def append_event(path: Path, event: Event) -> None:
    """Add an event to the log. After events in DURABLE, the log until then survives a crash of the machine."""
    append_line(path, {"event": NAMES[type(event)], **to_json(event)}, durable=isinstance(event, DURABLE))


def read_events(path: Path) -> list[Event]:
    """Return the events of a log, first to last; [] if there is no file.

    Raises:
        UserError: A line is not an event of this version; the message names it.
    """
    return read_records(path, _event)


def check_log(folder: Path) -> None:
    """Check that an experiment with trials has the log from which they are continued.

    Raises:
        UserError: There is no log, or nothing in it, as where a folder was copied in part.
    """
    has_trials, has_log = (
        path.exists() and path.stat().st_size > 0 for path in (folder / TABLE_FILE, folder / LOG_FILE)
    )
    if has_trials and not has_log:
        raise UserError(
            f"{folder} has trials in {TABLE_FILE}, but not their events in {LOG_FILE}, from which a search continues: "
            "copy the whole folder again, or begin a new search"
        )


def _event(values: JsonObject, where: str) -> Event:
    check_version(values, VERSION, where)
    kind = KINDS.get(str(values.get("event")))
    if kind is None:
        name = values.get("event")
        raise UserError(f"{where} has an event that this version does not know: {name!r}; legal are {', '.join(KINDS)}")
    return from_json(kind, values, where)
