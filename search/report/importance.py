"""How much each hyperparameter matters: Optuna's fANOVA, and how far it can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from search.record.trials import TrialRow
from search.report.space_figures import Axis
from search.report.style import Figure, plot_text, styled

TRIALS_PER_AXIS = 5
"""Trials for each axis below which an importance is noise: then its spread over resamplings is as large as itself."""

NUM_RESAMPLINGS = 8

MAX_TRIALS = 200
"""Trials of a resampling, at most: its time grows faster than they do."""

NUM_TREES = 16
"""Of Optuna's 64: the resamplings differ by more than the trees do, and there are several."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The share of the variance of the Dice that a hyperparameter explains, over resamplings of the trials."""

    name: str
    mean: float
    low: float
    """The lowest of all resamplings."""

    high: float


def importances(rows: Sequence[TrialRow], axes: Sequence[Axis], *, seed: int = 0) -> list[Importance]:
    """Return the importance of every axis that varies, the largest first; none of too few trials.

    Each trial counts with its best validation Dice. The trials are drawn with replacement several times.

    Reference: Hutter et al. 2014, "An Efficient Approach for Assessing Hyperparameter Importance", ICML (fANOVA).
    """
    scored, varying = [row for row in rows if row.best_epoch], [axis for axis in axes if axis.high > axis.low]
    if len(scored) < needed_trials(axes) or len(varying) < 2 or len({row.best_dice for row in scored}) < 2:
        return []
    places = np.array([axis.places([row.sample[axis.name] for row in scored]) for axis in varying]).T
    dices = np.array([row.best_dice for row in scored])
    rng = np.random.default_rng(seed)
    found = np.array(
        [
            _once(varying, places, dices, rng.integers(0, len(scored), min(len(scored), MAX_TRIALS)), turn)
            for turn in range(NUM_RESAMPLINGS)
        ]
    )
    listed = [
        Importance(name=axis.name, mean=float(mean), low=float(low), high=float(high))
        for axis, mean, low, high in zip(varying, found.mean(0), found.min(0), found.max(0), strict=True)
    ]
    return sorted(listed, key=lambda one: -one.mean)


def needed_trials(axes: Sequence[Axis]) -> int:
    """Return how many trials with a score it takes."""
    return TRIALS_PER_AXIS * len(axes)


def importance_figure(found: Sequence[Importance], num_trials: int) -> Figure:
    """Return the importances as bars with their spread."""
    shown = list(reversed(found))
    figure = go.Figure(
        go.Bar(
            x=[one.mean for one in shown],
            y=[plot_text(one.name) for one in shown],
            orientation="h",
            marker={"color": "#2a8ac0"},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [one.high - one.mean for one in shown],
                "arrayminus": [one.mean - one.low for one in shown],
                "color": "#8c8c8c",
            },
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        )
    )
    plot = styled(figure, "share of the variance of the best Dice").update_layout(
        height=110 + 34 * len(shown), xaxis_rangemode="tozero"
    )
    return Figure(
        id="importance",
        title="Importance of the parameters",
        plot=plot,
        alt="Importance: " + ", ".join(f"{one.name} {one.mean:.2f}" for one in found) + ".",
        note=f"Optuna's fANOVA of {num_trials} trials, each with its best Dice. The thin lines span {NUM_RESAMPLINGS} "
        "resamplings of the trials: where they overlap, the order is not known.",
    )


def _once(axes: Sequence[Axis], places: np.ndarray, dices: np.ndarray, drawn: np.ndarray, seed: int) -> list[float]:
    # Here, because they bring sklearn: half a second, which every command would take to begin.
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    distributions = {axis.name: _distribution(axis) for axis in axes}
    for place in drawn:
        params = {
            axis.name: round(places[place, column] * axis.high) if axis.choices else float(places[place, column])
            for column, axis in enumerate(axes)
        }
        study.add_trial(create_trial(params=params, distributions=distributions, value=float(dices[place])))
    if len(set(dices[drawn])) < 2:
        return [0.0] * len(axes)
    found = get_param_importances(
        study, evaluator=FanovaImportanceEvaluator(seed=seed, n_trees=NUM_TREES), normalize=True
    )
    return [found[axis.name] for axis in axes]


def _distribution(axis: Axis) -> BaseDistribution:
    return CategoricalDistribution(range(len(axis.choices))) if axis.choices else FloatDistribution(0.0, 1.0)
