"""The figures of a comparison: best Dice so far, importance of hyperparameters, Dice of each test patient."""

from collections.abc import Sequence

import plotly.graph_objects as go

from search.compare.experiments import Experiment
from search.compare.significance import dices
from search.report.figures import time_unit
from search.report.importance import importance_bars
from search.report.style import PALETTE, Figure, plot_text, styled

DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")

MAX_WIDTH = 3200
"""Maximum width of the figure of patients in pixels; where there are more patients, not all of them are labelled."""


def all_figures(experiments: Sequence[Experiment]) -> dict[str, list[Figure]]:
    """Return the figures that have something to show, by the id of the table that they follow."""
    return {
        "significance": _present(patients_figure(experiments)),
        "efficiency": efficiency_figures(experiments),
        "importance": _present(importance_figure(experiments)),
    }


def _present(figure: Figure | None) -> list[Figure]:
    return [figure] if figure else []


def efficiency_figures(experiments: Sequence[Experiment]) -> list[Figure]:
    """Return figures of the best Dice so far, over epochs and over wall clock; none where no trial has a score."""
    scored = [(place, one) for place, one in enumerate(experiments) if one.steps]
    if not scored:
        return []
    divisor, unit = time_unit(max(one.steps[-1].seconds for _, one in scored))
    over_epochs, over_clock = go.Figure(), go.Figure()
    for place, one in scored:
        over_epochs.add_trace(_curve(place, one, [step.epochs for step in one.steps], "%{x} epochs"))
        over_clock.add_trace(_curve(place, one, [step.seconds / divisor for step in one.steps], f"%{{x:.3g}} {unit}"))
    ends = "; ".join(f"{one.name} reaches {one.steps[-1].dice:.4f}" for _, one in scored)
    return [
        Figure(
            id="over-epochs",
            title="Best validation Dice over epochs",
            plot=_with_legend(over_epochs, "epochs of all trials together", "best validation Dice"),
            alt=f"Best validation Dice over epochs: {ends}.",
        ),
        Figure(
            id="over-clock",
            title="Best validation Dice over wall clock",
            plot=_with_legend(over_clock, f"{unit} since the search started", "best validation Dice"),
            alt=f"Best validation Dice over wall clock: {ends}.",
        ),
    ]


def importance_figure(experiments: Sequence[Experiment]) -> Figure | None:
    """Return a figure of the importance of every hyperparameter; None where no experiment has enough trials."""
    names = dict.fromkeys(share.name for one in experiments for share in one.importances)
    if not names:
        return None
    figure = go.Figure()
    for place, one in enumerate(experiments):
        if not one.importances:
            continue
        name = plot_text(one.name)
        bars = importance_bars(one.importances).update(
            name=name,
            marker={"color": PALETTE[place % len(PALETTE)]},
            hovertemplate=f"{name}, %{{y}}: %{{x:.2f}}<extra></extra>",
        )
        figure.add_trace(bars)
    plot = _with_legend(figure, "fraction of the variance", None)
    num_drawn = sum(bool(one.importances) for one in experiments)
    plot.update_layout(height=140 + 22 * len(names) * (num_drawn + 1), yaxis_autorange="reversed")
    return Figure(
        id="importances",
        title="Importance side by side",
        plot=plot,
        alt="Importance of hyperparameters in each experiment. The table has the numbers.",
        note="The thin lines show the range over resamplings of the trials; where they overlap, no order is certain.",
    )


def patients_figure(experiments: Sequence[Experiment]) -> Figure | None:
    """Return a figure of every test patient's Dice with each model; None where no two models share a patient."""
    found = [(place, one, dices(one)) for place, one in enumerate(experiments) if one.metrics]
    shared = [patient for patient in {p for _, _, scores in found for p in scores} if _num_with(patient, found) > 1]
    if not shared:
        return None
    first = next(scores for _, _, scores in found if shared[0] in scores)
    patients = sorted(shared, key=lambda patient: (first.get(patient, 0.0), patient))
    figure = go.Figure()
    for place, one, scores in found:
        mine = [patient for patient in patients if patient in scores]
        figure.add_scatter(
            x=[plot_text(patient) for patient in mine],
            y=[scores[patient] for patient in mine],
            mode="markers",
            name=plot_text(one.name),
            marker={"color": PALETTE[place % len(PALETTE)], "symbol": SYMBOLS[place % len(SYMBOLS)], "size": 10},
            hovertemplate=f"{plot_text(one.name)}, %{{x}}: %{{y:.4f}}<extra></extra>",
        )
    plot = _with_legend(figure, None, "test Dice")
    return Figure(
        id="patients",
        title="Dice of each test patient",
        plot=plot.update_layout(xaxis_type="category", xaxis_categoryarray=[plot_text(one) for one in patients]),
        alt=f"Test Dice of {len(patients)} patients with each model.",
        note="The marks above one another are the same patient with different models. The tests look at the distances "
        "between them.",
        min_width=min(120 + 16 * len(patients), MAX_WIDTH),
    )


def _num_with(patient: str, found: Sequence[tuple[int, Experiment, dict[str, float]]]) -> int:
    return sum(patient in scores for _, _, scores in found)


def _curve(place: int, experiment: Experiment, xs: list[float], unit: str) -> go.Scatter:
    steps, name = experiment.steps, plot_text(experiment.name)
    return go.Scatter(
        x=xs,
        y=[step.dice for step in steps],
        text=[step.trial for step in steps],
        mode="lines+markers",
        name=name,
        line={
            "shape": "hv",
            "color": PALETTE[place % len(PALETTE)],
            "dash": DASHES[place % len(DASHES)],  # the curves of similar searches cover each other
            "width": 2.5,
        },
        marker={"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 7},
        hovertemplate=f"{name}, %{{text}}: %{{y:.4f}} after {unit}<extra></extra>",
    )


def _with_legend(figure: go.Figure, x: str | None, y: str | None) -> go.Figure:
    return styled(figure, x, y, legend=True).update_layout(xaxis_rangemode="tozero" if x else "normal")
