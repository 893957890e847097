"""Figures of the search space: parallel coordinates, a slice along every axis, surfaces over pairs of axes.

They show all trials with a score, each with its best validation Dice, and a trace for many trials. Optuna's own show
COMPLETE trials alone, of which a search that prunes has few, and a trace for each, which is slow with a thousand.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from search.record.trials import TrialRow
from search.report.style import SCALE, Figure, plot_text, styled

NUM_SHADES = 8
"""Groups of trials by Dice in parallel coordinates; a trace has one colour."""

GRID = 28
"""Points of a surface along each axis."""

BANDWIDTH = 0.12
"""Of a surface's smoothing, in lengths of an axis: a trial counts within about twice that."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A hyperparameter, laid out from 0 to 1."""

    name: str
    is_log: bool
    choices: tuple[str, ...]
    """In order, for a categorical one; empty for numbers."""

    low: float
    """In decades, if logarithmic."""

    high: float

    def places(self, values: Sequence[Any]) -> np.ndarray:
        """Return where the values lie, from 0 to 1."""
        return (self.raw(values) - self.low) / ((self.high - self.low) or 1.0)

    def raw(self, values: Sequence[Any]) -> np.ndarray:
        """Return the values as numbers: decades if logarithmic, places of choices."""
        if self.choices:
            return np.array([self.choices.index(str(value)) for value in values], float)
        numbers = np.array(values, float)
        return np.log10(numbers) if self.is_log else numbers

    def ticks(self) -> tuple[list[float], list[str]]:
        """Return raw values to mark, and what stands beside them."""
        if self.choices:
            return list(map(float, range(len(self.choices)))), [plot_text(choice) for choice in self.choices]
        if self.is_log and (decades := range(math.ceil(self.low), math.floor(self.high) + 1)):
            return list(map(float, decades)), [f"{10.0**decade:g}" for decade in decades]
        if self.is_log:
            return [self.low, self.high], [f"{10**end:.2g}" for end in (self.low, self.high)]
        values = _round_values(self.low, self.high)
        return values, [f"{value:.4g}" for value in values]


def _round_values(low: float, high: float, *, num: int = 5) -> list[float]:
    """Return at most about so many values from low to high that have few digits."""
    if high <= low:
        return [low]
    rough = (high - low) / num
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= rough * 0.999)
    return [place * step for place in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def read_axes(space: dict[str, str], rows: Sequence[TrialRow]) -> list[Axis]:
    """Return the axes of a space, as config.json describes it, that all the trials have."""
    return [
        _axis(name, description, [row.sample[name] for row in rows])
        for name, description in space.items()
        if rows and all(name in row.sample for row in rows)
    ]


def _axis(name: str, description: str, values: Sequence[Any]) -> Axis:
    """Return an axis as long as its description says, and longer where a value lies outside."""
    if description.startswith("one of ") or any(isinstance(value, str) for value in values):
        named = description.removeprefix("one of ").split(", ") if description.startswith("one of ") else []
        choices = tuple(dict.fromkeys([*named, *sorted(map(str, values))]))
        return Axis(name=name, is_log=False, choices=choices, low=0.0, high=float(len(choices) - 1))
    bounds = re.fullmatch(r"(\S+) to (\S+?)(, log)?", description)
    ends = [float(bounds[1]), float(bounds[2])] if bounds else []
    numbers = [float(value) for value in (*ends, *values)]
    is_log = bool(bounds and bounds[3]) and min(numbers) > 0
    low, high = (math.log10(end) if is_log else end for end in (min(numbers), max(numbers)))
    return Axis(name=name, is_log=is_log, choices=(), low=low, high=high)


def parallel_coordinates(rows: Sequence[TrialRow], axes: Sequence[Axis]) -> Figure:
    """Return every trial as a line over all axes, in the colour of its Dice; the best are drawn last."""
    dices = np.array([row.best_dice for row in rows])
    columns = [*axes, _axis("best Dice", "", list(dices))]
    places = np.array(
        [axis.places([row.sample[axis.name] for row in rows]) for axis in axes] + [columns[-1].places(dices)]
    )
    figure = go.Figure()
    shades = np.minimum((places[-1] * NUM_SHADES).astype(int), NUM_SHADES - 1)
    for shade in range(NUM_SHADES):
        group = np.flatnonzero(shades == shade)
        if len(group):
            figure.add_trace(_lines(places[:, group], [rows[place] for place in group], (shade + 0.5) / NUM_SHADES))
    for place, axis in enumerate(columns):
        figure.add_shape(
            type="line", x0=place, x1=place, y0=0, y1=1, line={"color": "#8c8c8c", "width": 1}, layer="below"
        )
        values, texts = axis.ticks()
        span = (axis.high - axis.low) or 1.0
        for value, text in zip(values, texts, strict=True):
            y = (value - axis.low) / span
            figure.add_annotation(x=place, y=y, text=text, showarrow=False, xanchor="left", xshift=4, font={"size": 11})
    plot = styled(figure).update_layout(
        height=440,
        hovermode="closest",
        yaxis={"visible": False, "range": [-0.06, 1.06], "fixedrange": True},
        xaxis={
            "tickvals": list(range(len(columns))),
            "ticktext": [plot_text(axis.name) for axis in columns],
            "range": [-0.3, len(columns) - 0.6],
            "showgrid": False,
            "zeroline": False,
            "side": "top",
            "fixedrange": True,
        },
    )
    return Figure(
        id="coordinates",
        title="Parallel coordinates",
        plot=plot,
        alt=f"{len(rows)} trials as lines over {', '.join(axis.name for axis in columns)}.",
        note="A line is a trial; the colour is its best Dice, from blue over green to yellow.",
        min_width=95 * len(columns),
    )


def _lines(places: np.ndarray, rows: Sequence[TrialRow], shade: float) -> go.Scatter:
    """Return trials of one shade as one trace, with a gap behind each."""
    num_axes, num_trials = places.shape
    gaps = np.full((1, num_trials), np.nan)
    texts = [f"{row.id}, Dice {row.best_dice:.4f}" for row in rows]
    return go.Scatter(
        x=np.tile([*range(num_axes), np.nan], num_trials).astype(np.float32),
        y=np.concatenate([places, gaps]).T.ravel().astype(np.float32),
        text=[text for text in texts for _ in range(num_axes + 1)],
        mode="lines",
        line={"color": sample_colorscale(SCALE, [shade])[0], "width": 1.6 if num_trials < 100 else 1},
        opacity=0.75 if num_trials < 50 else 0.45,
        hovertemplate="%{text}<extra></extra>",
    )


def slices(rows: Sequence[TrialRow], axes: Sequence[Axis]) -> Figure:
    """Return the best Dice of every trial along each axis; the colour is how many epochs it had."""
    figure = make_subplots(rows=1, cols=len(axes), shared_yaxes=True, horizontal_spacing=0.12 / len(axes))
    for column, axis in enumerate(axes, start=1):
        figure.add_scatter(
            x=axis.raw([row.sample[axis.name] for row in rows]),
            y=[row.best_dice for row in rows],
            customdata=[row.number for row in rows],
            mode="markers",
            marker={
                "color": [len(row.epochs) for row in rows],
                "coloraxis": "coloraxis",
                "size": 7 if len(rows) < 200 else 4,
                "opacity": 0.8,
            },
            hovertemplate="t%{customdata:03d}: %{y:.4f} after %{marker.color} epochs<extra></extra>",
            row=1,
            col=column,
        )
        values, texts = axis.ticks()
        figure.update_xaxes(title=plot_text(axis.name), tickvals=values, ticktext=texts, row=1, col=column)
    bar = {"title": {"text": "epochs"}, "thickness": 12, "outlinewidth": 0}
    plot = styled(figure).update_layout(height=340, coloraxis={"colorscale": SCALE, "colorbar": bar})
    plot.update_yaxes(title="best Dice", row=1, col=1)
    return Figure(
        id="slices",
        title="Slices",
        plot=plot,
        alt=f"Best validation Dice of {len(rows)} trials along {', '.join(axis.name for axis in axes)}.",
        note="Along one axis all others differ too. A trial that was stopped early had fewer epochs for its best.",
        min_width=190 * len(axes) + 80,
    )


def surfaces(rows: Sequence[TrialRow], axes: Sequence[Axis], *, num_axes: int = 3) -> list[Figure]:
    """Return contours of the Dice over each pair of the first axes, those that vary."""
    varying = [axis for axis in axes if axis.high > axis.low][:num_axes]
    pairs = [(one, other, _smoothed(rows, one, other)) for one, other in itertools.combinations(varying, 2)]
    seen = [z[np.isfinite(z)] for _, _, z in pairs]
    shown = (float(min(map(np.min, seen))), float(max(map(np.max, seen)))) if seen else (0.0, 1.0)
    return [_surface(rows, *pair, shown=shown) for pair in pairs]


def _smoothed(rows: Sequence[TrialRow], one: Axis, other: Axis) -> np.ndarray:
    """Return the mean Dice around every point of a grid, by y and x; nan where there is no trial near."""
    xs, ys = (axis.places([row.sample[axis.name] for row in rows]) for axis in (one, other))
    grid = np.linspace(0, 1, GRID)[:, None]
    near_x, near_y = (np.exp(-0.5 * ((grid - places) / BANDWIDTH) ** 2) for places in (xs, ys))
    weights = np.einsum("xt,yt->yxt", near_x, near_y)
    total = weights.sum(-1)
    means = weights @ np.array([row.best_dice for row in rows]) / np.maximum(total, 1e-9)
    return np.where(total > 0.15, means, np.nan)


def _surface(rows: Sequence[TrialRow], one: Axis, other: Axis, z: np.ndarray, *, shown: tuple[float, float]) -> Figure:
    dices = np.array([row.best_dice for row in rows])
    grid = np.linspace(0, 1, GRID)
    figure = go.Figure(
        go.Contour(
            x=one.low + grid * (one.high - one.low),
            y=other.low + grid * (other.high - other.low),
            z=z.astype(np.float32),
            zmin=shown[0],
            zmax=shown[1],
            colorscale=SCALE,
            contours={"coloring": "heatmap"},
            line={"width": 0.5},
            colorbar={"thickness": 12, "outlinewidth": 0},
            hoverinfo="skip",
        )
    )
    figure.add_scatter(
        x=one.raw([row.sample[one.name] for row in rows]),
        y=other.raw([row.sample[other.name] for row in rows]),
        customdata=np.stack([[row.number for row in rows], dices], -1),
        mode="markers",
        marker={"size": 6, "color": "#ffffff", "line": {"width": 1, "color": "#222222"}}
        if len(rows) < 200
        else {"size": 3, "color": "#ffffff", "opacity": 0.5},
        hovertemplate="t%{customdata[0]:03d}: %{customdata[1]:.4f}<extra></extra>",
    )
    plot = styled(figure, plot_text(one.name), plot_text(other.name)).update_layout(height=360)
    for axis, update in ((one, plot.update_xaxes), (other, plot.update_yaxes)):
        values, texts = axis.ticks()
        update(tickvals=values, ticktext=texts, showgrid=False, zeroline=False)
    best = rows[int(dices.argmax())]
    return Figure(
        id=f"surface-{one.name}-{other.name}",
        title=f"{one.name} and {other.name}",
        plot=plot,
        alt=f"Smoothed best Dice over {one.name} and {other.name}; the best trial has {best.sample[one.name]} and "
        f"{best.sample[other.name]}.",
    )
