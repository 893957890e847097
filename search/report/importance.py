"""How much each hyperparameter matters by Optuna's fANOVA, and how far that can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from search.record.trials import Trial
from search.report.axes import Axis
from search.report.style import BAR_COLOUR, NEUTRAL_COLOUR, Figure, plot_text, styled

TRIALS_PER_AXIS = 5
"""Minimum number of trials for each axis. With fewer, an importance varies over resamplings as much as it is large."""

NUM_RESAMPLINGS = 8
"""How often the trials are drawn with replacement, to see how far the importances vary."""

MAX_TRIALS = 200
"""Maximum number of trials in a resampling: the time of fANOVA grows faster than their number."""

NUM_TREES = 16
"""Trees of the forest that fANOVA fits; Optuna's default is 64. The resamplings differ by more than the trees do."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The fraction of the variance of the Dice that a hyperparameter explains, over resamplings of the trials."""

    name: str
    mean: float
    low: float
    """The lowest value of all resamplings."""

    high: float
    """The highest value of all resamplings."""


def importances(rows: Sequence[Trial], axes: Sequence[Axis], *, seed: int = 0) -> list[Importance]:
    """Return the importance of every axis that varies, the largest first.

    Each trial counts with its best validation Dice. The list is empty where there are too few trials (`needed_trials`),
    fewer than two axes that vary, or only one Dice.

    Reference: Hutter et al. 2014, "An Efficient Approach for Assessing Hyperparameter Importance", ICML (fANOVA).
    """
    scored, varying = [row for row in rows if row.best_epoch], [axis for axis in axes if axis.varies]
    if len(scored) < needed_trials(axes) or len(varying) < 2 or len({row.best_dice for row in scored}) < 2:
        return []
    fractions = np.array([axis.fractions([row.sample.get(axis.name) for row in scored]) for axis in varying]).T
    fractions = np.where(np.isnan(fractions), 0.5, fractions)  # one value for all trials in which it has no effect
    dices = np.array([row.best_dice for row in scored])
    rng = np.random.default_rng(seed)
    resamplings = [rng.integers(0, len(scored), min(len(scored), MAX_TRIALS)) for _ in range(NUM_RESAMPLINGS)]
    found = np.array(
        [_importances_of(varying, fractions[drawn], dices[drawn], seed=turn) for turn, drawn in enumerate(resamplings)]
    )
    listed = [
        Importance(name=axis.name, mean=float(mean), low=float(low), high=float(high))
        for axis, mean, low, high in zip(varying, found.mean(0), found.min(0), found.max(0), strict=True)
    ]
    return sorted(listed, key=lambda one: -one.mean)


def needed_trials(axes: Sequence[Axis]) -> int:
    """Return how many trials must have a score before importances are shown."""
    return TRIALS_PER_AXIS * len(axes)


def importance_figure(found: Sequence[Importance], num_trials: int) -> Figure:
    """Return a figure of the importances as bars, with their range over resamplings."""
    shown = list(reversed(found))
    bars = importance_bars(shown).update(marker={"color": BAR_COLOUR}, hovertemplate="%{y}: %{x:.2f}<extra></extra>")
    plot = styled(go.Figure(bars), "fraction of the variance of the best Dice").update_layout(
        height=110 + 34 * len(shown), xaxis_rangemode="tozero"
    )
    return Figure(
        id="importance",
        title="Importance of the hyperparameters",
        plot=plot,
        alt="Importance: " + ", ".join(f"{one.name} {one.mean:.2f}" for one in found) + ".",
        note=f"Optuna's fANOVA over {num_trials} trials, each with its best Dice. The thin lines show the range over "
        f"{NUM_RESAMPLINGS} resamplings of the trials: where they overlap, the order is uncertain.",
    )


def importance_bars(shown: Sequence[Importance]) -> go.Bar:
    """Return horizontal bars of importances, the first at the bottom, with their range over resamplings."""
    return go.Bar(
        x=[one.mean for one in shown],
        y=[plot_text(one.name) for one in shown],
        orientation="h",
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [one.high - one.mean for one in shown],
            "arrayminus": [one.mean - one.low for one in shown],
            "color": NEUTRAL_COLOUR,
        },
    )


def _importances_of(axes: Sequence[Axis], fractions: np.ndarray, dices: np.ndarray, *, seed: int) -> list[float]:
    """Return the importance of each axis for some trials: `fractions` is trials x axes."""
    if len(set(dices)) < 2:
        return [0.0] * len(axes)
    # Imported here because they import sklearn, which takes half a second at the start of every command.
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    distributions = {axis.name: _distribution(axis) for axis in axes}
    for places, dice in zip(fractions, dices, strict=True):
        params = {
            axis.name: round(place * axis.high) if axis.choices else float(place)
            for axis, place in zip(axes, places, strict=True)
        }
        study.add_trial(create_trial(params=params, distributions=distributions, value=float(dice)))
    evaluator = FanovaImportanceEvaluator(seed=seed, n_trees=NUM_TREES)
    found = get_param_importances(study, evaluator=evaluator, normalize=True)
    return [found[axis.name] for axis in axes]


def _distribution(axis: Axis) -> BaseDistribution:
    return CategoricalDistribution(range(len(axis.choices))) if axis.choices else FloatDistribution(0.0, 1.0)
