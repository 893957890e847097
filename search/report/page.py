"""The report: one HTML file that opens offline, drawn from what the experiment's folder says."""

import base64
import shlex
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from data.atomic import write
from search.formatting import DASH
from search.record.files import REPORT_FILE
from search.record.objectives import OBJECTIVES
from search.record.trial_errors import headline
from search.record.trials import INTERRUPTED, State, best_first
from search.report.axes import read_axes
from search.report.figures import best_figures, learning_curves, pareto_fronts, reliability
from search.report.importance import importance_figure, importances, needed_trials
from search.report.rungs import read_rungs, rungs_figure
from search.report.snapshot import Snapshot, read_snapshot
from search.report.space_figures import dice_along_axes, dice_over_pairs, parallel_coordinates
from search.report.style import Figure, render
from search.report.timeline import lay_out, shares, timeline_figure
from search.status import wall_seconds

NAMES = {"dice": "Dice", "iou": "IoU", "accuracy": "pixel accuracy", "hd95": "HD95", "assd": "ASSD"}
"""What metrics are called for people, where that is not their name."""

FILES = {
    "best/model.onnx": "the model: raw intensities in, probability and mask out",
    "best/card.md": "what must be known before it is used",
    "best/metrics.json": "all scores, a row a patient",
    "trials.jsonl": "the table of trials, with every epoch's metrics",
    "events.jsonl": "every decision and every epoch, as they came",
    "config.json": "what was asked, the split, versions",
    "optuna_journal.log": "the Optuna study",
}
"""What the page links to, as far as it is there."""

COST_NAMES = {"million_parameters": "parameters (M)", "latency_ms": "latency (ms)"}


def write_report(folder: Path, *, note: str | None = None, is_running: bool = False) -> Path:
    """Return the path of the report of what an experiment's folder says now, after writing it there.

    Args:
        note: What its reader must know first, such as why nothing was promoted.
        is_running: Somebody else searches or promotes there.

    Raises:
        ValueError: It is not an experiment of this version, or one of its files is damaged.
    """
    path = folder / REPORT_FILE
    record = read_snapshot(folder, is_running=is_running)
    write(path, make_page(record, note=note).encode())
    return path


def make_page(record: Snapshot, *, note: str | None = None) -> str:
    """Return the report's HTML."""
    metrics = record.metrics
    sections = {
        "dice": _dice_figures(record),
        "best": best_figures(record.rows),
        "space": _space_figures(record),
        "rungs": _present(rungs_figure(rungs := read_rungs(record.config, record.rows))),
        "time": _present(timeline_figure(stretches := _stretches(record), _num_lanes(record))),
        "test": _present(reliability(metrics)),
    }
    return render(
        "page.html",
        **vars(record),
        **_texts(record),
        notes=_notes(record, note),
        contents=_contents(record, bool(rungs)),
        figures=sections,
        has_figures=any(sections.values()),
        counts=Counter(str(row.state) for row in record.rows),
        num_epochs=sum(len(row.epochs) for row in record.rows),
        wall_seconds=wall_seconds(record.rows),
        rungs=rungs,
        num_brackets=len({rung.bracket for rung in rungs}),
        shares=shares(record.rows, stretches, _num_lanes(record)),
        num_lanes=_num_lanes(record),
        budget=record.config.budget(),
        table=best_first(record.rows) + [row for row in record.rows if not row.best_epoch],
        costs={
            name: label
            for name, label in COST_NAMES.items()
            if any(best.value(name) is not None for row in record.rows if (best := row.best_epoch))
        },
        failures=sorted(
            (row for row in record.rows if row.state == State.FAILED or row.error or record.losses[row.id]),
            key=lambda row: row.state != State.FAILED,
        ),
        pictures={
            caption: _inline(record.folder / picture)
            for caption, picture in (metrics.pictures.items() if metrics else ())
            if (record.folder / picture).exists()
        },
        files={name: meaning for name, meaning in FILES.items() if (record.folder / name).exists()},
        names=NAMES,
        score_names=list(metrics.test.by_metric) if metrics else [],
        headline=headline,
        dash=DASH,
    )


def _texts(record: Snapshot) -> dict[str, Any]:
    """Return what was asked, in words."""
    experiment, config = record.experiment, record.experiment.config
    options = {
        **config,
        **{name: value for group in config.values() if isinstance(group, dict) for name, value in group.items()},
    }
    return {
        "name": record.folder.name,
        "command": shlex.join(["python", "-m", "search.tune", *experiment.provenance.command[1:]]),
        "written": datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        "options": {name: _plain(value) for name, value in sorted(options.items()) if not isinstance(value, dict)},
        "objectives": ", ".join(OBJECTIVES[name].label for name in record.config.objective),
        "skipped": experiment.data.skipped,
    }


def _notes(record: Snapshot, note: str | None) -> list[str]:
    """Return what the reader must know first."""
    name, rows = record.folder.name, record.rows
    notes = [note] if note else []
    if note and record.metrics:
        notes.append("The scores below are those of the model that was promoted before.")
    if record.is_running:
        notes.append("The search is running, or its model is being promoted: this is what the folder says so far.")
    elif record.metrics is None and not note:
        scored = sum(row.best_epoch is not None for row in rows)
        notes.append(
            f"Nothing was promoted: {f'python -m search.promote {name} does it' if scored else 'no trial has a score'}."
        )
    if not record.is_running and any(row.error == INTERRUPTED or row.state == "UNFINISHED" for row in rows):
        notes.append(f"The search was interrupted: python -m search.tune --resume {name} goes on with it.")
    if record.went_on:
        notes.append(
            f"The search went on after this model was promoted: python -m search.promote {name} does it again."
        )
    if record.metrics and (scorings := record.metrics.num_test_scorings) > 1:
        notes.append(
            f"The test patients were scored {scorings} times in this experiment: whoever chooses among those scores "
            "makes them too good."
        )
    if skipped := record.experiment.data.skipped:
        notes.append(f"{len(skipped)} file(s) could not be used and were left out; they are listed at the end.")
    return notes


def _contents(record: Snapshot, has_rungs: bool) -> list[tuple[str, str]]:
    """Return the sections that the page has, by the id of each."""
    wanted = {
        "result": ("The result", True),
        "asked": ("What was asked", True),
        "dice": ("Dice over time", True),
        "space": ("The search space", True),
        "trials": ("Trials", bool(record.rows)),
        "rungs": ("Rungs", has_rungs),
        "time": ("Where the time went", bool(_stretches(record))),
        "test": ("Test patients", record.metrics is not None),
        "promotion": ("Promotion", record.metrics is not None),
        "failures": ("Failures and what was left out", True),
    }
    return [(id_, title) for id_, (title, is_there) in wanted.items() if is_there]


def _dice_figures(record: Snapshot) -> list[Figure]:
    promoted = record.metrics.trial if record.metrics else None
    return [
        *pareto_fronts(record.rows, record.config.objective, promoted),
        *_present(learning_curves(record.rows, promoted)),
    ]


def _space_figures(record: Snapshot) -> dict[str, Any]:
    """Return the figures of the space, and how many trials its importances need."""
    scored = [row for row in record.rows if row.best_epoch]
    axes = read_axes(record.experiment.space, scored)
    if not axes or len(scored) < 2:
        return {}
    found = importances(scored, axes)
    order = [one.name for one in found]
    by_importance = sorted(axes, key=lambda axis: order.index(axis.name) if axis.name in order else len(order))
    return {
        "coordinates": parallel_coordinates(scored, axes),
        "importance": importance_figure(found, len(scored)) if found else None,
        "needed": needed_trials(axes),
        "slices": dice_along_axes(scored, by_importance),
        "surfaces": dice_over_pairs(scored, by_importance) if len(scored) >= needed_trials(axes) else [],
        "num_scored": len(scored),
    }


def _stretches(record: Snapshot) -> list[Any]:
    return lay_out(record.rows, _num_lanes(record))


def _num_lanes(record: Snapshot) -> int:
    return record.experiment.num_lanes


def _present(figure: Figure | None) -> list[Figure]:
    return [figure] if figure else []


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _inline(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
