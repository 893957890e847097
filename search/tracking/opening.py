"""The beginning of a search on W&B: its sweep, or nothing there for as long as the search goes on."""

import shlex
from dataclasses import replace
from pathlib import Path

from search.space import Space
from search.storage.working_folder import format_out
from search.tracking.outage import note_outage, noted_outage
from search.tracking.sweep import SWEEP_TIMEOUT_SECONDS, open_sweep, recorded_sweeps
from search.tracking.tracker import Tracking


def open_runs(
    tracking: Tracking, space: Space, *, searcher: str, silent_seconds: float = SWEEP_TIMEOUT_SECONDS
) -> Tracking:
    """Return the tracking with the sweep that its runs belong to; offline, where W&B does not make one in time.

    A server that cannot say yes now would hold every trial: the whole search goes without it then.
    """
    if tracking.mode != "online":
        return tracking
    try:
        sweep = open_sweep(
            tracking.folder,
            space,
            name=tracking.group,
            project=tracking.project,
            searcher=searcher,
            silent_seconds=silent_seconds,
        )
    except (TimeoutError, RuntimeError, OSError) as error:
        note_outage(
            tracking.folder,
            f"W&B does not take this search, which goes on offline ({error}); {how_to_send(tracking.folder)}",
        )
        return replace(tracking, mode="offline")
    return replace(tracking, sweep=sweep.id)


def how_to_send(folder: Path) -> str:
    """Return how offline runs reach a server later."""
    out = "" if folder.parent == Path("runs").resolve() else f" --out {shlex.quote(format_out(folder.parent))}"
    return f"to send its runs later: python -m search.sync {folder.name}{out}"


def where_runs_are(folder: Path) -> list[str]:
    """Return where the runs of an experiment can be looked at, a line each; none, where it has none on W&B."""
    lines = [line for sweep in recorded_sweeps(folder)[-1:] for line in (sweep.url, sweep.group_url)]
    if any((folder / "wandb").glob("offline-run-*")) and (not lines or noted_outage(folder)):
        lines.append(f"offline; {how_to_send(folder.resolve())}")
    return lines
