"""Where the runs of an experiment can be looked at."""

import shlex
from pathlib import Path

from search.storage.working_folder import format_out
from search.tracking.outage import noted_outage
from search.tracking.sweep import recorded_sweeps


def how_to_send(folder: Path) -> str:
    """Return how offline runs reach a server later."""
    out = "" if folder.parent == Path("runs").resolve() else f" --out {shlex.quote(format_out(folder.parent))}"
    return f"to send its runs later: python -m search.sync {folder.name}{out}"


def where_runs_are(folder: Path) -> list[str]:
    """Return where the runs of an experiment can be looked at, in one line each; none if W&B has none."""
    lines = [line for sweep in recorded_sweeps(folder)[-1:] for line in (sweep.url, sweep.group_url)]
    if any((folder / "wandb").glob("offline-run-*")) and (not lines or noted_outage(folder)):
        lines.append(f"offline; {how_to_send(folder.resolve())}")
    return lines
