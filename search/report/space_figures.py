"""Figures of the search space: parallel coordinates, the Dice along every axis, and over pairs of axes.

They show every trial that has a score, with its best validation Dice, and draw many trials as one trace. Optuna's own
plots show only COMPLETE trials, of which a search that prunes has few, and they draw each trial as its own trace, which
is slow for a thousand trials.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from search.record.trials import Trial
from search.report.axes import Axis, make_axis
from search.report.style import NEUTRAL_COLOUR, SCALE, Figure, plot_text, styled, whole_numbers

NUM_SHADES = 8
"""Colours of parallel coordinates: a trace has one colour, so trials are grouped by their Dice."""

GRID = 28
"""Points along each axis of a surface."""

BANDWIDTH = 0.12
"""Standard deviation of the Gaussian that smooths a surface, as a fraction of an axis."""

MIN_WEIGHT = 0.15
"""Total weight of the trials below which a point of a surface stays empty."""

MANY_TRIALS = 200
"""Number of trials from which on markers are small."""


def parallel_coordinates(rows: Sequence[Trial], axes: Sequence[Axis]) -> Figure:
    """Return a figure with every trial as a line over all axes, coloured by its Dice; the best are drawn last."""
    dices = [row.best_dice for row in rows]
    columns = [*axes, make_axis("best Dice", "", dices)]
    fractions = np.array([axis.fractions([row.sample.get(axis.name) for row in rows]) for axis in axes])
    fractions = np.vstack([fractions, columns[-1].fractions(dices)])
    figure = go.Figure()
    shades = np.minimum((fractions[-1] * NUM_SHADES).astype(int), NUM_SHADES - 1)
    for shade in range(NUM_SHADES):
        group = np.flatnonzero(shades == shade).tolist()
        if group:
            lines = _lines(fractions[:, group], [rows[place] for place in group], (shade + 0.5) / NUM_SHADES)
            figure.add_trace(lines)
    _draw_axes(figure, columns)
    return Figure(
        id="coordinates",
        title="Parallel coordinates",
        plot=figure,
        alt=f"{len(rows)} trials as lines over {', '.join(axis.name for axis in columns)}.",
        note="Each line is a trial. Its colour shows its best Dice, from blue (low) to yellow (high).",
        min_width=95 * len(columns),
    )


def _draw_axes(figure: go.Figure, columns: Sequence[Axis]) -> None:
    """Add the vertical axes of parallel coordinates, with their ticks."""
    for place, axis in enumerate(columns):
        line = {"color": NEUTRAL_COLOUR, "width": 1}
        figure.add_shape(type="line", x0=place, x1=place, y0=0, y1=1, line=line, layer="below")
        values, texts = axis.ticks()
        span = (axis.high - axis.low) or 1.0
        for value, text in zip(values, texts, strict=True):
            y = (value - axis.low) / span
            figure.add_annotation(x=place, y=y, text=text, showarrow=False, xanchor="left", xshift=4, font={"size": 11})
    styled(figure).update_layout(
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


def _lines(fractions: np.ndarray, rows: Sequence[Trial], shade: float) -> go.Scatter:
    """Return trials of one shade as one trace, with a gap after each."""
    num_axes, num_trials = fractions.shape
    gaps = np.full((1, num_trials), np.nan)
    texts = [f"{row.id}, Dice {row.best_dice:.4f}" for row in rows]
    return go.Scatter(
        x=np.tile([*range(num_axes), np.nan], num_trials).astype(np.float32),
        y=np.concatenate([fractions, gaps]).T.ravel().astype(np.float32),
        text=[text for text in texts for _ in range(num_axes + 1)],
        mode="lines",
        line={"color": sample_colorscale(SCALE, [shade])[0], "width": 1.6 if num_trials < 100 else 1},
        opacity=0.75 if num_trials < 50 else 0.45,
        hovertemplate="%{text}<extra></extra>",
    )


def dice_along_axes(rows: Sequence[Trial], axes: Sequence[Axis]) -> Figure:
    """Return a figure with the best Dice of every trial along each axis, coloured by its number of epochs."""
    figure = make_subplots(rows=1, cols=len(axes), shared_yaxes=True, horizontal_spacing=0.12 / len(axes))
    for column, axis in enumerate(axes, start=1):
        figure.add_trace(_points(rows, axis), row=1, col=column)
        values, texts = axis.ticks()
        figure.update_xaxes(title=plot_text(axis.name), tickvals=values, ticktext=texts, row=1, col=column)
    ticks = whole_numbers(max(len(row.epochs) for row in rows))
    bar = {"title": {"text": "epochs"}, "thickness": 12, "outlinewidth": 0, **ticks}
    plot = styled(figure).update_layout(height=340, coloraxis={"colorscale": SCALE, "colorbar": bar})
    plot.update_yaxes(title="best Dice", row=1, col=1)
    return Figure(
        id="along-axes",
        title="Dice along each hyperparameter",
        plot=plot,
        alt=f"Best validation Dice of {len(rows)} trials along {', '.join(axis.name for axis in axes)}.",
        note="The trials in each plot also differ in the other hyperparameters. A trial that was stopped early had "
        "fewer epochs to reach its best Dice.",
        min_width=190 * len(axes) + 80,
    )


def _points(rows: Sequence[Trial], axis: Axis) -> go.Scatter:
    rows = _with(rows, axis)
    return go.Scatter(
        x=axis.coordinates([row.sample[axis.name] for row in rows]),
        y=[row.best_dice for row in rows],
        customdata=[row.number for row in rows],
        mode="markers",
        marker={
            "color": [len(row.epochs) for row in rows],
            "coloraxis": "coloraxis",
            "size": 7 if len(rows) < MANY_TRIALS else 4,
            "opacity": 0.8,
        },
        hovertemplate="t%{customdata:03d}: %{y:.4f} after %{marker.color} epochs<extra></extra>",
    )


def dice_over_pairs(rows: Sequence[Trial], axes: Sequence[Axis], *, num_axes: int = 3) -> list[Figure]:
    """Return a surface of the smoothed Dice over each pair of the first `num_axes` axes that vary."""
    varying = [axis for axis in axes if axis.varies][:num_axes]
    pairs = [pair for pair in itertools.combinations(varying, 2) if _with(rows, *pair)]
    surfaces = [_smooth(_with(rows, *pair), *pair) for pair in pairs]
    means = [surface[np.isfinite(surface)] for surface in surfaces]
    limits = (float(min(map(np.min, means))), float(max(map(np.max, means)))) if means else (0.0, 1.0)
    return [
        _surface_figure(_with(rows, *pair), *pair, surface, limits=limits)
        for pair, surface in zip(pairs, surfaces, strict=True)
    ]


def _with(rows: Sequence[Trial], *axes: Axis) -> list[Trial]:
    """Return the trials in which the axes have an effect."""
    return [row for row in rows if all(axis.name in row.sample for axis in axes)]


def _smooth(rows: Sequence[Trial], one: Axis, other: Axis) -> np.ndarray:
    """Return the mean Dice around every point of a grid, weighted by a Gaussian; nan where no trial is near.

    Shape: GRID along the second axis x GRID along the first.
    """
    xs, ys = (axis.fractions([row.sample[axis.name] for row in rows]) for axis in (one, other))
    grid = np.linspace(0, 1, GRID)[:, None]
    near_x, near_y = (np.exp(-0.5 * ((grid - fractions) / BANDWIDTH) ** 2) for fractions in (xs, ys))
    weights = np.einsum("xt,yt->yxt", near_x, near_y)
    total = weights.sum(-1)
    means = weights @ np.array([row.best_dice for row in rows]) / np.maximum(total, 1e-9)
    return np.where(total > MIN_WEIGHT, means, np.nan)


def _surface_figure(
    rows: Sequence[Trial], one: Axis, other: Axis, surface: np.ndarray, *, limits: tuple[float, float]
) -> Figure:
    figure = go.Figure([_contour(one, other, surface, limits), _dots(rows, one, other)])
    plot = styled(figure, plot_text(one.name), plot_text(other.name)).update_layout(height=360)
    for axis, update in ((one, plot.update_xaxes), (other, plot.update_yaxes)):
        values, texts = axis.ticks()
        update(tickvals=values, ticktext=texts, showgrid=False, zeroline=False)
    best = max(rows, key=lambda row: row.best_dice)
    return Figure(
        id=f"surface-{one.name}-{other.name}",
        title=f"{one.name} and {other.name}",
        plot=plot,
        alt=f"Smoothed best Dice over {one.name} and {other.name}. The best trial has {best.sample[one.name]} and "
        f"{best.sample[other.name]}.",
    )


def _contour(one: Axis, other: Axis, surface: np.ndarray, limits: tuple[float, float]) -> go.Contour:
    grid = np.linspace(0, 1, GRID)
    return go.Contour(
        x=one.low + grid * (one.high - one.low),
        y=other.low + grid * (other.high - other.low),
        z=surface.astype(np.float32),
        zmin=limits[0],
        zmax=limits[1],
        colorscale=SCALE,
        contours={"coloring": "heatmap"},
        line={"width": 0.5},
        colorbar={"thickness": 12, "outlinewidth": 0},
        hoverinfo="skip",
    )


def _dots(rows: Sequence[Trial], one: Axis, other: Axis) -> go.Scatter:
    few = {"size": 6, "color": "#ffffff", "line": {"width": 1, "color": "#222222"}}
    many = {"size": 3, "color": "#ffffff", "opacity": 0.5}
    return go.Scatter(
        x=one.coordinates([row.sample[one.name] for row in rows]),
        y=other.coordinates([row.sample[other.name] for row in rows]),
        customdata=[(row.number, row.best_dice) for row in rows],
        mode="markers",
        marker=few if len(rows) < MANY_TRIALS else many,
        hovertemplate="t%{customdata[0]:03d}: %{customdata[1]:.4f}<extra></extra>",
    )
