"""The report: one HTML file that opens offline, drawn from the table of trials and the files beside it."""

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, select_autoescape
from plotly.offline import get_plotlyjs

from search.card import format_interval
from search.objectives import OBJECTIVES, costs, pareto_front
from search.trials import METRIC, State, TrialRow, best_first, count_states

COLOURS = {State.COMPLETE: "#0072b2", State.PRUNED: "#999999", State.FAILED: "#d55e00"}
"""Okabe and Ito's, told apart by everyone."""

BEST_COLOUR = "#009e73"

NAMES = {"dice": "Dice", "iou": "IoU", "accuracy": "pixel accuracy", "hd95": "HD95", "assd": "ASSD"}
"""What metrics are called for people, where that is not their name."""

PLOTLY = {"displaylogo": False, "displayModeBar": False, "responsive": True}


def write_report(
    path: Path,
    *,
    run: dict[str, Any],
    rows: list[TrialRow],
    metrics: dict[str, Any] | None,
    note: str | None = None,
) -> None:
    """Write the report; without `metrics` nothing was promoted, and `note` says why."""
    environment = Environment(loader=PackageLoader("search.report", "."), autoescape=select_autoescape())
    environment.filters["number"] = _number
    environment.filters["scores"] = lambda summary: [name for name, value in summary.items() if isinstance(value, dict)]
    html = environment.get_template("page.html").render(
        run=run,
        rows=best_first(rows) + [row for row in rows if not row.best_epoch],
        counts=count_states(rows),
        num_epochs=sum(len(row.epochs) for row in rows),
        metrics=metrics,
        interval=format_interval,
        names=NAMES,
        note=note,
        pictures={
            caption: _inline(path.parent / picture)
            for caption, picture in (metrics or {"pictures": {}})["pictures"].items()
        },
        figures={
            title: figure.to_html(full_html=False, include_plotlyjs=False, config=PLOTLY)
            for title, figure in [
                *_figures(rows, run["space"], run["config"]["objective"], (metrics or {}).get("trial")),
                *_reliability((metrics or {}).get("assessment") or {}),
            ]
        },
        plotly=get_plotlyjs(),
    )
    path.write_text(html)


def _figures(
    rows: list[TrialRow], space: dict[str, str], objectives: Sequence[str], promoted: str | None
) -> list[tuple[str, go.Figure]]:
    scored = [row for row in rows if row.best_epoch]
    if not scored:
        return []
    fronts = [
        (
            f"Validation Dice against {OBJECTIVES[cost].label}: the Pareto front in green, the promoted trial a star",
            _pareto_front(scored, objectives, cost, promoted),
        )
        for cost in costs(objectives)
    ]
    return [
        *fronts,
        (
            "Validation Dice of every trial (green the best, blue COMPLETE, grey PRUNED, orange FAILED)",
            _learning_curves(scored),
        ),
        ("Best so far over epochs spent", _best_so_far(rows)),
        ("Hyperparameters and best Dice", _parallel_coordinates(scored, space)),
    ]


def _reliability(assessment: dict[str, Any]) -> list[tuple[str, go.Figure]]:
    """Return the reliability curve of the test patients, if there is one: a calibrated model lies on the diagonal."""
    bins = [one for one in assessment.get("calibration", {}).get("bins", []) if one["num_pixels"]]
    if not bins:
        return []
    figure = go.Figure(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": "#999999", "dash": "dot"}))
    figure.add_scatter(
        x=[one["mean_probability"] for one in bins],
        y=[one["tumour_share"] for one in bins],
        mode="lines+markers",
        text=[f"{one['num_pixels']:,} pixels" for one in bins],
        line={"color": BEST_COLOUR, "width": 3},
        hovertemplate="probability %{x:.3f}, tumour in %{y:.3f} of %{text}<extra></extra>",
    )
    title = f"Reliability on the test patients: expected calibration error {_number(assessment['calibration']['ece'])}"
    styled = _styled(figure, "predicted probability", "share of pixels that are tumour").update_layout(showlegend=False)
    return [(title, styled)]


def _pareto_front(rows: list[TrialRow], objectives: Sequence[str], cost: str, promoted: str | None) -> go.Figure:
    front = sorted(pareto_front(rows, objectives), key=lambda row: row.best_epoch[cost])
    figure = go.Figure()
    for group, mode, colour in (
        ([row for row in rows if row not in front], "markers", COLOURS[State.PRUNED]),
        (front, "lines+markers", BEST_COLOUR),
    ):
        figure.add_scatter(
            x=[row.best_epoch[cost] for row in group],
            y=[row.best_dice for row in group],
            mode=mode,
            text=[row.id for row in group],
            line={"color": colour, "shape": "hv"},
            marker={
                "color": colour,
                "size": [16 if row.id == promoted else 8 for row in group],
                "symbol": ["star" if row.id == promoted else "circle" for row in group],
            },
            hovertemplate=f"%{{text}}: Dice %{{y:.4f}}, {cost} %{{x:.4g}}<extra></extra>",
        )
    return _styled(figure, OBJECTIVES[cost].label, "best validation Dice").update_layout(showlegend=False)


def _learning_curves(rows: list[TrialRow]) -> go.Figure:
    best = best_first(rows)[0]
    figure = go.Figure()
    for row in sorted(rows, key=lambda row: (row is best, row.state == State.COMPLETE)):  # the winner on top
        figure.add_scatter(
            x=[epoch["epoch"] for epoch in row.epochs],
            y=[epoch.get(METRIC) for epoch in row.epochs],
            mode="lines+markers",
            name=f"{row.id} {row.state}",
            line={"color": BEST_COLOUR if row is best else COLOURS[row.state], "width": 3 if row is best else 1.5},
            marker={"size": 5},
            opacity=1.0 if row is best or row.state == State.COMPLETE else 0.5,
            hovertemplate=f"{row.id} epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        )
    return _styled(figure, "epoch", "validation Dice").update_layout(showlegend=False)


def _best_so_far(rows: list[TrialRow]) -> go.Figure:
    spent, best, xs, ys = 0, -math.inf, [], []
    for row in rows:
        for epoch in row.epochs:
            spent += 1
            best = max(best, epoch.get(METRIC, -math.inf))
            if math.isfinite(best):
                xs.append(spent)
                ys.append(best)
    figure = go.Figure(go.Scatter(x=xs, y=ys, mode="lines", line={"shape": "hv", "color": BEST_COLOUR, "width": 3}))
    return _styled(figure, "epochs spent, in the order of trials", "best validation Dice").update_layout(
        showlegend=False
    )


def _parallel_coordinates(rows: list[TrialRow], space: dict[str, str]) -> go.Figure:
    axes = [_axis(name, [row.sample[name] for row in rows], log=axis.endswith("log")) for name, axis in space.items()]
    dice = [row.best_dice for row in rows]
    line = {"color": dice, "colorscale": "Viridis", "showscale": True}
    return _styled(go.Figure(go.Parcoords(dimensions=[*axes, {"label": "best Dice", "values": dice}], line=line)))


def _axis(name: str, values: list[Any], *, log: bool) -> dict[str, Any]:
    if any(isinstance(value, str) for value in values):
        choices = sorted(set(values))
        places = [choices.index(value) for value in values]
        return {"label": name, "values": places, "tickvals": list(range(len(choices))), "ticktext": choices}
    if log:
        exponents = [math.log10(value) for value in values]
        ticks = list(range(math.floor(min(exponents)), math.ceil(max(exponents)) + 1))
        bounds = [ticks[0], ticks[-1]] if len(ticks) > 1 else None
        texts = [f"1e{tick}" for tick in ticks]
        return {"label": name, "values": exponents, "range": bounds, "tickvals": ticks, "ticktext": texts}
    return {"label": name, "values": values}


def _styled(figure: go.Figure, x: str | None = None, y: str | None = None) -> go.Figure:
    return figure.update_layout(
        xaxis_title=x,
        yaxis_title=y,
        height=420,
        margin={"l": 60, "r": 30, "t": 40, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(128,128,128,0.08)",
        font={"color": "#808080", "size": 13},
        xaxis={"gridcolor": "rgba(128,128,128,0.25)"},
        yaxis={"gridcolor": "rgba(128,128,128,0.25)"},
    )


def _inline(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()


def _number(value: Any) -> str:
    if value is None:  # nan, read back from JSON
        return "-"
    if not isinstance(value, float):
        return str(value)
    return "-" if not math.isfinite(value) else f"{value:.4g}"
