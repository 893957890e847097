"""Figures of the trials and the model: learning curves, best Dice so far, Pareto fronts, reliability."""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from model.overlay import REGION_COLOURS
from search.formatting import format_score, format_value
from search.record.efficiency import Step, best_so_far
from search.record.model_metrics import ModelMetrics
from search.record.objectives import OBJECTIVES, costs, pareto_front
from search.record.trials import State, Trial
from search.report.snapshot import label_of
from search.report.style import BEST_COLOUR, COLOURS, NEUTRAL_COLOUR, Figure, styled, whole_numbers

LABEL_COLOURS: dict[str, str] = {
    "PRUNED": COLOURS[State.PRUNED],
    "FAILED": COLOURS[State.FAILED],
    "RUNNING": "#e69f00",
    "PAUSED": "#cc79a7",
    "INTERRUPTED": "#e69f00",
    "COMPLETE": COLOURS[State.COMPLETE],
}
"""The colours of trials by their labels (see `label_of`), those that are drawn on top last."""

FEW_POINTS = 1500
"""Maximum number of epochs that are all drawn as markers: more would cover each other and take a browser seconds."""

TRACE_TRIALS = 60
"""Maximum number of trials in a trace. The lines of one trace hide each other instead of showing where many lie."""

TRIAL_ID = "t%{customdata:03d}"


def learning_curves(rows: Sequence[Trial], promoted: str | None) -> Figure | None:
    """Return a figure of every trial's validation Dice; None where no trial has one.

    The curve of the promoted trial, or else of the best one, is on top.
    """
    scored = [row for row in rows if row.best_epoch]
    if not scored:
        return None
    top = next((row for row in scored if row.id == promoted), None) or max(scored, key=lambda row: row.best_dice)
    few = sum(len(row.epochs) for row in scored) <= FEW_POINTS
    figure = go.Figure()
    for label, colour in LABEL_COLOURS.items():
        group = [row for row in scored if label_of(row) == label and row is not top]
        for start in range(0, len(group), TRACE_TRIALS):
            trace = _curves(group[start : start + TRACE_TRIALS], label, colour, few=few)
            opacity = 0.85 if len(group) <= TRACE_TRIALS else 0.4
            figure.add_trace(
                trace.update(opacity=opacity if few or label != "PRUNED" else 0.6 * opacity, showlegend=not start)
            )
    name = f"{top.id}, {'promoted' if top.id == promoted else 'the best'}"
    figure.add_trace(_curves([top], name, BEST_COLOUR, few=True).update(line_width=3.5))
    return Figure(
        id="curves",
        title="Validation Dice of every trial",
        plot=styled(figure, "epoch", "validation Dice", legend=True).update_layout(
            height=460, hovermode="closest", xaxis=whole_numbers(max(row.epochs[-1].epoch for row in scored))
        ),
        alt=f"Learning curves of {len(scored)} trials. {top.id} reaches {top.best_dice:.4f} at epoch "
        f"{top.best_epoch_number}. The table of trials has the numbers.",
        note="Mean Dice over the validation patients after every epoch. Trials that were stopped early are grey.",
    )


def region_curves(rows: Sequence[Trial], promoted: str | None) -> Figure | None:
    """Return a figure of the validation Dice of each region in the promoted, or else the best, trial; None with one
    region."""
    scored = [row for row in rows if row.best_epoch]
    top = next((row for row in scored if row.id == promoted), None) or max(
        scored, key=lambda row: row.best_dice, default=None
    )
    names = list(top.epochs[0].dice_by_region) if top else []
    if not top or not names:
        return None
    figure = go.Figure()
    values = {name: [epoch.dice_by_region.get(name, math.nan) for epoch in top.epochs] for name in names}
    for name, colour in zip(names, REGION_COLOURS, strict=False):
        figure.add_trace(
            go.Scatter(
                x=[epoch.epoch for epoch in top.epochs],
                y=values[name],
                mode="lines+markers",
                name=name,
                line={"color": f"rgb{colour}", "width": 2.5},
            )
        )
    best = ", ".join(
        f"{name} {format_score(max(filter(math.isfinite, found), default=math.nan))}" for name, found in values.items()
    )
    return Figure(
        id="region_curves",
        title=f"Validation Dice of each region in {top.id}",
        plot=styled(figure, "epoch", "validation Dice", legend=True).update_layout(
            height=360, xaxis=whole_numbers(top.epochs[-1].epoch)
        ),
        alt=f"Learning curves of the regions in {top.id}; the highest Dice of each is {best}.",
        note="Mean Dice over the validation patients after every epoch. The search maximises the mean over regions.",
    )


def _curves(rows: Sequence[Trial], name: str, colour: str, *, few: bool) -> go.Scatter:
    """Return one trace of several trials with a gap after each; a thousand traces would take a browser a minute."""
    points = [(epoch.epoch, epoch.val_dice, row.number) for row in rows for epoch in row.epochs]
    ends = np.cumsum([len(row.epochs) for row in rows])
    epochs, dices, numbers = (np.array(column) for column in zip(*points, strict=True))
    last = np.isin(np.arange(len(points)), ends - 1)
    return go.Scatter(
        x=np.insert(epochs.astype(np.float32), ends, np.nan),
        y=np.insert(dices.astype(np.float32), ends, np.nan),
        customdata=np.insert(numbers.astype(np.int32), ends, 0),
        mode="lines+markers",
        name=name,
        legendgroup=name,
        line={"color": colour, "width": 1.4 if few else 0.8},
        marker={
            "line": {"width": 0},
            "size": np.insert(np.where(few | last, 5 if few else 3, 0), ends, 0).astype(np.uint8),
        },
        hovertemplate=TRIAL_ID + " epoch %{x}: %{y:.4f}<extra></extra>",
    )


def best_figures(rows: Sequence[Trial]) -> list[Figure]:
    """Return figures of the best Dice over epochs and, where the table has the times, over wall clock."""
    steps = best_so_far(rows)
    if not steps:
        return []
    last = steps[-1]
    is_timed = last.seconds > 0
    spent = Figure(
        id="best-epochs",
        title="Best validation Dice over epochs",
        plot=_steps(steps, [step.epochs for step in steps], "epochs of all trials together"),
        alt=f"The best validation Dice rises to {last.dice:.4f} within {last.epochs} epochs.",
        note="" if is_timed else "The table of trials has no times, so epochs are in the order of the trials.",
    )
    if not is_timed:
        return [spent]
    unit, name = time_unit(last.seconds)
    clock = Figure(
        id="best-clock",
        title="Best validation Dice over wall clock",
        plot=_steps(steps, [step.seconds / unit for step in steps], f"{name} since the search started"),
        alt=f"The best validation Dice rises to {last.dice:.4f} within {format_value(last.seconds / unit)} {name}.",
    )
    return [spent, clock]


def time_unit(seconds: float) -> tuple[int, str]:
    """Return the unit of a time axis of this length: how many seconds it has, and its name."""
    units = (3600, "hours"), (60, "minutes")
    return next((unit for unit in units if seconds > 2 * unit[0]), (1, "seconds"))


def _steps(steps: Sequence[Step], xs: list[float], label: str) -> go.Figure:
    figure = go.Figure(
        go.Scatter(
            x=xs,
            y=[step.dice for step in steps],
            text=[step.trial for step in steps],
            mode="lines+markers",
            line={"shape": "hv", "color": BEST_COLOUR, "width": 3},
            marker={"size": 7},
            hovertemplate="%{text}: %{y:.4f} at %{x:.4g}<extra></extra>",
        )
    )
    return styled(figure, label, "best validation Dice").update_layout(height=320, xaxis_rangemode="tozero")


def pareto_fronts(rows: Sequence[Trial], objectives: Sequence[str], promoted: str | None) -> list[Figure]:
    """Return a figure of the Dice against each other objective; none where Dice is the only objective."""
    names = costs(objectives)
    scored = [row for row in rows if row.best_epoch and all(_cost(row, name) is not None for name in names)]
    return [_pareto_front(scored, objectives, name, promoted) for name in names if scored]


def _pareto_front(rows: list[Trial], objectives: Sequence[str], cost: str, promoted: str | None) -> Figure:
    front = sorted(pareto_front(rows, objectives), key=lambda row: _cost(row, cost) or 0.0)
    dominated = [row for row in rows if row not in front]
    figure = go.Figure(
        [
            _front_trace(dominated, cost, promoted, name="dominated", mode="markers", colour=COLOURS[State.PRUNED]),
            _front_trace(front, cost, promoted, name="Pareto front", mode="lines+markers", colour=BEST_COLOUR),
        ]
    )
    label = OBJECTIVES[cost].label
    return Figure(
        id=f"front-{cost}",
        title=f"Validation Dice against {label}",
        plot=styled(figure, label, "best validation Dice", legend=True),
        alt=f"{len(front)} of {len(rows)} trials are on the Pareto front: {', '.join(row.id for row in front[:20])}.",
        note="A trial is on the Pareto front if no other is at least as good in every objective and better in one. "
        "The star marks the promoted trial.",
    )


def _front_trace(
    rows: Sequence[Trial], cost: str, promoted: str | None, *, name: str, mode: str, colour: str
) -> go.Scatter:
    return go.Scatter(
        x=[_cost(row, cost) for row in rows],
        y=[row.best_dice for row in rows],
        mode=mode,
        name=name,
        text=[row.id for row in rows],
        line={"color": colour, "shape": "hv"},
        marker={
            "color": colour,
            "size": [16 if row.id == promoted else 8 for row in rows],
            "symbol": ["star" if row.id == promoted else "circle" for row in rows],
        },
        hovertemplate=f"%{{text}}: Dice %{{y:.4f}}, {cost} %{{x:.4g}}<extra></extra>",
    )


def _cost(row: Trial, name: str) -> float | None:
    return row.best_epoch.value(name) if row.best_epoch else None


def reliability(metrics: ModelMetrics | None) -> Figure | None:
    """Return a figure of the reliability curve of the test patients; None where it was not measured."""
    calibration = metrics.assessment.calibration if metrics else None
    bins = [one for one in calibration.bins if one.num_pixels] if calibration else []
    if not calibration or not bins:
        return None
    figure = go.Figure(
        go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": NEUTRAL_COLOUR, "dash": "dot"}, hoverinfo="skip")
    )
    figure.add_scatter(
        x=[one.mean_probability for one in bins],
        y=[one.tumour_share for one in bins],
        mode="lines+markers",
        text=[f"{one.num_pixels:,} pixels" for one in bins],
        line={"color": BEST_COLOUR, "width": 3},
        hovertemplate="probability %{x:.3f}, tumour in %{y:.3f} of %{text}<extra></extra>",
    )
    error = format_value(calibration.ece)
    return Figure(
        id="reliability",
        title="Reliability",
        plot=styled(figure, "predicted probability", "fraction of pixels that are tumour"),
        alt=f"Fraction of tumour pixels by predicted probability. Expected calibration error {error}.",
        note=f"Which fraction of the pixels with a predicted probability is tumour. The curve of a calibrated model is "
        f"the diagonal. Expected calibration error {error}.",
    )
