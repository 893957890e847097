"""The figures of a comparison: bests so far on one axis, importance side by side, test patients one by one."""

from collections.abc import Sequence

import plotly.graph_objects as go

from search.compare.experiments import Experiment
from search.compare.significance import dices
from search.report.figures import time_unit
from search.report.style import PALETTE, Figure, plot_text, styled

DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")

MAX_WIDTH = 3200
"""Pixels of an axis of patients; of more than fit, not every one has its name below."""


def all_figures(experiments: Sequence[Experiment]) -> dict[str, list[Figure]]:
    """Return the figures that have something to show, by the table that they belong to."""
    found = {"significance": [by_patient(experiments)], "efficiency": efficiency(experiments)}
    found["importance"] = [importance(experiments)]
    return {table: [figure for figure in figures if figure] for table, figures in found.items()}


def efficiency(experiments: Sequence[Experiment]) -> list[Figure]:
    """Return the best so far over epochs and over wall clock."""
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
            title="Best so far over epochs spent",
            plot=_finished(over_epochs, "epochs spent, of all trials together", "best validation Dice"),
            alt=f"Best validation Dice over epochs: {ends}.",
        ),
        Figure(
            id="over-clock",
            title="Best so far over wall clock",
            plot=_finished(over_clock, f"{unit} since the search began", "best validation Dice"),
            alt=f"Best validation Dice over wall clock: {ends}.",
        ),
    ]


def importance(experiments: Sequence[Experiment]) -> Figure | None:
    """Return the importance of every hyperparameter in bars side by side; None where it is not known of any."""
    names = dict.fromkeys(share.name for one in experiments for share in one.importances)
    if not names:
        return None
    figure = go.Figure()
    for place, one in enumerate(experiments):
        if not one.importances:
            continue
        figure.add_bar(
            y=[plot_text(share.name) for share in one.importances],
            x=[share.mean for share in one.importances],
            name=plot_text(one.name),
            orientation="h",
            marker={"color": PALETTE[place % len(PALETTE)]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [share.high - share.mean for share in one.importances],
                "arrayminus": [share.mean - share.low for share in one.importances],
                "color": "#8c8c8c",
            },
            hovertemplate=f"{plot_text(one.name)}, %{{y}}: %{{x:.2f}}<extra></extra>",
        )
    plot = _finished(figure, "share of the variance", None)
    plot.update_layout(height=140 + 22 * len(names) * (len(figure.data) + 1), yaxis_autorange="reversed")
    return Figure(
        id="importances",
        title="Importance side by side",
        plot=plot,
        alt="Importance of hyperparameters; the table has the numbers.",
        note="The thin lines span resamplings of the trials: where they overlap, no difference is known.",
    )


def by_patient(experiments: Sequence[Experiment]) -> Figure | None:
    """Return every test patient's Dice under each model; None where fewer than two share a patient."""
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
    plot = _finished(figure, None, "test Dice")
    return Figure(
        id="patients",
        title="Test patients, one by one",
        plot=plot.update_layout(xaxis_type="category", xaxis_categoryarray=[plot_text(one) for one in patients]),
        alt=f"Test Dice of {len(patients)} patients under each model.",
        note="A patient's marks are a pair: what is tested is how far they are apart.",
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
            "dash": DASHES[place % len(DASHES)],  # searches that begin alike lie upon each other
            "width": 2.5,
        },
        marker={"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 7},
        hovertemplate=f"{name}, %{{text}}: %{{y:.4f}} after {unit}<extra></extra>",
    )


def _finished(figure: go.Figure, x: str | None, y: str | None) -> go.Figure:
    return styled(figure, x, y, legend=True).update_layout(xaxis_rangemode="tozero" if x else "normal")
