"""The report of a search: one HTML file that opens offline, made from the experiment's folder alone."""

import base64
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from data.atomic import write
from data.readers.image_header import FIRST_BYTES
from model.overlay import REGION_COLOURS, as_hex
from search.formatting import DASH
from search.record.codec import JsonObject
from search.record.files import REPORT_FILE
from search.record.objectives import OBJECTIVES
from search.record.trial_errors import headline
from search.record.trials import State, best_first
from search.report.axes import read_axes
from search.report.budget import budget_line
from search.report.figures import best_figures, learning_curves, pareto_fronts, region_curves, reliability
from search.report.importance import importance_figure, importances, needed_trials
from search.report.notes import notes_for_reader
from search.report.rungs import RungSummary, read_rungs, rungs_figure
from search.report.snapshot import Snapshot, label_of, read_snapshot
from search.report.space_figures import dice_along_axes, dice_over_pairs, parallel_coordinates
from search.report.style import Figure, render
from search.report.timeline import BusyPeriod, busy_periods, time_shares, timeline_figure
from search.report.trials_table import trials_table
from search.storage.status import wall_seconds

METRIC_NAMES = {"dice": "Dice", "iou": "IoU", "accuracy": "pixel accuracy", "hd95": "HD95", "assd": "ASSD"}
"""The names of metrics for people, where they differ from those in metrics.json."""

FILES = {
    "best/model.onnx": "the model, which takes raw intensities and returns probabilities and a mask",
    "best/card.md": "the model card: what to know before using the model",
    "best/metrics.json": "all scores, with those of each patient",
    "trials.jsonl": "the table of trials, with the metrics of every epoch",
    "events.jsonl": "every decision and every epoch in order",
    "config.json": "the options, the split of the patients, the versions",
    "optuna_journal.log": "the Optuna study",
}
"""The files that the page links to, where they exist."""


@dataclass(frozen=True, kw_only=True)
class SpaceFigures:
    """The figures of the search space."""

    num_scored: int
    """Trials that have a score."""

    num_needed: int
    """Trials that must have a score before importances and surfaces are shown."""

    coordinates: Figure
    along_axes: Figure
    importance: Figure | None
    over_pairs: list[Figure]


def write_report(folder: Path, *, note: str | None = None, is_running: bool = False) -> Path:
    """Write the report of an experiment as its folder is now, and return its path.

    Args:
        folder: The experiment's.
        note: What the reader must know first, such as why nothing was promoted.
        is_running: Whether a process searches or promotes there now.

    Raises:
        UserError: It is not an experiment of this version, or one of its files is damaged.
    """
    path = folder / REPORT_FILE
    html = make_page(read_snapshot(folder, is_running=is_running), note=note)
    write(path, html.encode(errors="replace"))  # names of files need not be valid text
    return path


def make_page(snapshot: Snapshot, *, note: str | None = None) -> str:
    """Return the HTML of the report."""
    rows, num_lanes = snapshot.rows, snapshot.experiment.num_lanes
    rungs, periods = read_rungs(snapshot.config, rows), busy_periods(rows, num_lanes)
    figures = _figures(snapshot, rungs, periods)
    return render(
        "page.html",
        **vars(snapshot),
        name=snapshot.folder.name,
        command=[*map(shlex.quote, ["python", "-m", "search.tune", *snapshot.experiment.provenance.command[1:]])],
        written=datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        notes=notes_for_reader(snapshot, note),
        contents=_contents(snapshot, rungs, periods),
        figures=figures,
        has_figures=any(figures.values()),
        counts=Counter(map(label_of, rows)),
        num_epochs=sum(len(row.epochs) for row in rows),
        wall_seconds=wall_seconds(rows),
        options=_options(snapshot.experiment.config),
        objectives=", ".join(OBJECTIVES[name].label for name in snapshot.config.objective),
        ranked=best_first(rows),
        trials=trials_table(rows, _axes(snapshot), snapshot.config.default_trial),
        rungs=rungs,
        num_brackets=len({rung.bracket for rung in rungs}),
        budget_line=budget_line(snapshot),
        shares=time_shares(rows, periods, num_lanes),
        num_lanes=num_lanes,
        skipped=snapshot.experiment.data.skipped,
        failures=sorted(
            (row for row in rows if row.state == State.FAILED or row.error or snapshot.losses[row.id]),
            key=lambda row: row.state != State.FAILED,
        ),
        pictures=_pictures(snapshot),
        files={name: meaning for name, meaning in FILES.items() if (snapshot.folder / name).exists()},
        metric_names=METRIC_NAMES,
        region_colours=[as_hex(colour) for colour in REGION_COLOURS],
        headline=headline,
        label_of=label_of,
        dash=DASH,
    )


def _contents(snapshot: Snapshot, rungs: Sequence[RungSummary], periods: Sequence[BusyPeriod]) -> list[tuple[str, str]]:
    """Return the id and the title of each section that the page has."""
    is_promoted = snapshot.metrics is not None
    sections = (
        ("result", "Result", True),
        ("dice", "Dice over time", True),
        ("space", "Search space", True),
        ("trials", "Trials", bool(snapshot.rows)),
        ("rungs", "Rungs", bool(rungs)),
        ("time", "Where the time went", bool(periods)),
        ("test", "Test patients", is_promoted),
        ("promotion", "Promotion", is_promoted),
        ("setup", "Setup", True),
        ("failures", "Failures and excluded files", True),
    )
    return [(id, title) for id, title, is_shown in sections if is_shown]


def _figures(
    snapshot: Snapshot, rungs: Sequence[RungSummary], periods: Sequence[BusyPeriod]
) -> dict[str, list[Figure] | SpaceFigures | None]:
    """Return the figures by section. To add one, add it to the list of its section."""
    rows, metrics = snapshot.rows, snapshot.metrics
    promoted = metrics.trial if metrics else None
    fronts = pareto_fronts(rows, snapshot.config.objective, promoted)
    return {
        "dice": [*fronts, *_present(learning_curves(rows, promoted)), *_present(region_curves(rows, promoted))],
        "best": best_figures(rows),
        "space": _space_figures(snapshot),
        "rungs": _present(rungs_figure(rungs)),
        "time": _present(timeline_figure(periods, snapshot.experiment.num_lanes)),
        "test": _present(reliability(metrics)),
    }


def _space_figures(snapshot: Snapshot) -> SpaceFigures | None:
    """Return the figures of the search space, the most important axes first; None for fewer than two scores."""
    scored = [row for row in snapshot.rows if row.best_epoch]
    axes = read_axes(snapshot.experiment.space, scored)
    if not axes or len(scored) < 2:
        return None
    found = importances(scored, axes)
    order = [one.name for one in found]
    by_importance = sorted(axes, key=lambda axis: order.index(axis.name) if axis.name in order else len(order))
    return SpaceFigures(
        num_scored=len(scored),
        num_needed=needed_trials(axes),
        coordinates=parallel_coordinates(scored, axes),
        along_axes=dice_along_axes(scored, by_importance),
        importance=importance_figure(found, len(scored)) if found else None,
        over_pairs=dice_over_pairs(scored, by_importance) if len(scored) >= needed_trials(axes) else [],
    )


def _axes(snapshot: Snapshot) -> list[str]:
    """Return the names of the axes, without what is the same in every trial."""
    sampled = {name for row in snapshot.rows for name in row.sample}
    return [name for name in snapshot.experiment.space if name in sampled]


def _options(config: JsonObject) -> dict[str, str]:
    """Return the options of config.json by their names on the command line, sorted."""
    groups = [value for value in config.values() if isinstance(value, dict)]
    options = {name: value for group in (config, *groups) for name, value in group.items()}
    return {name: _option(value) for name, value in sorted(options.items()) if not isinstance(value, dict)}


def _option(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _pictures(snapshot: Snapshot) -> dict[str, str]:
    """Return the pictures of test patients as data URLs, by caption."""
    pictures = snapshot.metrics.pictures if snapshot.metrics else {}
    found = {caption: _read_picture(snapshot.folder, name) for caption, name in pictures.items()}
    return {caption: _data_url(content) for caption, content in found.items() if content}


def _read_picture(folder: Path, name: str) -> bytes:
    """Return a PNG of an experiment; nothing if it has gone, is none, or is not in the folder.

    A folder may come from somebody else, and a report is shown to others. So neither a name such as `../../key` nor a
    link may bring another file into it.
    """
    path = folder / name
    if not os.path.isfile(path) or not path.resolve().is_relative_to(folder.resolve()):
        return b""
    content = path.read_bytes()
    return content if content.startswith(FIRST_BYTES["PNG"]) else b""


def _data_url(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def _present(figure: Figure | None) -> list[Figure]:
    return [figure] if figure else []
