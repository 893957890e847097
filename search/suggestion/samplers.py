"""Optuna's samplers by name, and what they see of a study."""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    GridSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.space import Space
from search.suggestion.forest import ForestSampler

NUM_SEEN = 500
"""Trials that a sampler looks at, at most: its time for a suggestion grows with them, and soon tells nothing new."""

GRID_STEPS = 4
"""Values of a continuous axis on a grid."""


class SamplersView(optuna.Study):
    """A study as samplers shall see it: a trial that runs or waits counts as pruned after its last epoch.

    So the sampler learns from a paused trial at once, which may yet go on; Optuna has no state for that.
    """

    earlier: Sequence[FrozenTrial] = ()
    """Trials of other experiments; seen, but not part of this study."""

    costs: Sequence[str] = ()
    """The objectives other than Dice; a trial has them among its user attributes."""

    at_one_epoch = False
    """Show COMPLETE trials alone, as a sampler of `COMPLETE_ONLY` needs them, and any model with several objectives:
    what Optuna knows of a PRUNED trial is one value."""

    def stop(self) -> None:
        """Do nothing: a sampler that has no more to suggest wants to end a loop that there is not."""

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = [*self.earlier, *super()._get_trials(deepcopy=deepcopy, use_cache=use_cache)]
        trials = _telling(trials)
        if self.at_one_epoch:
            seen = _at_one_epoch(trials, self.costs)
        else:
            seen = [_as_pruned(trial) if trial.state == TrialState.RUNNING else trial for trial in trials]
        return seen if states is None else [trial for trial in seen if trial.state in states]


def _at_one_epoch(trials: list[FrozenTrial], costs: Sequence[str]) -> list[FrozenTrial]:
    """Return trials as if they had ended after the same epoch, the last one that enough of them reached.

    Reference: Falkner et al. 2018 (BOHB), arXiv:1807.01774, section 4: a model at the largest budget with observations
    enough, here more than two an axis.
    """
    reached = Counter(epoch for trial in trials for epoch in trial.intermediate_values)
    enough = [epoch for epoch, number in reached.items() if number > 2 * len(trials[0].params)]
    if not enough:
        return [trial for trial in trials if not trial.intermediate_values]
    seen = []
    for trial in trials:
        if max(enough) in trial.intermediate_values:
            values = [trial.intermediate_values[max(enough)], *(trial.user_attrs[name] for name in costs)]
            seen.append(_ended(trial, values=values))
        elif not trial.intermediate_values:
            seen.append(trial)
    return seen


def _telling(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that tell most: the longest trained, the better ones first, and the newest."""
    if len(trials) <= NUM_SEEN:
        return trials
    ranked = sorted(range(len(trials) - NUM_SEEN // 2), key=lambda place: _merit(trials[place]), reverse=True)
    return [trials[place] for place in sorted(ranked[: NUM_SEEN // 2])] + trials[-(NUM_SEEN // 2) :]


def _merit(trial: FrozenTrial) -> tuple[int, float]:
    last = max(trial.intermediate_values, default=0)
    return last, trial.intermediate_values.get(last, -math.inf)


def _as_pruned(trial: FrozenTrial) -> FrozenTrial:
    if not trial.intermediate_values:
        return trial
    return _ended(
        trial,
        state=TrialState.PRUNED,
        intermediate_values=trial.intermediate_values,
        system_attrs=trial.system_attrs,
    )


def _ended(trial: FrozenTrial, **end: Any) -> FrozenTrial:
    """Return the trial as if it had ended so."""
    ended = create_trial(params=trial.params, distributions=trial.distributions, **end)
    ended.number = trial.number  # by which TPE weighs old and new
    return ended


@dataclass(frozen=True, kw_only=True)
class SamplerRequest:
    """What a sampler is made for: one suggestion."""

    space: Space
    seed: int
    """Of this suggestion."""

    whole_seed: int
    """Of the search."""

    num_random: int
    """Trials before a model is made."""

    max_epochs: int
    """Of a trial that is never stopped."""


def _forest(asked: SamplerRequest) -> BaseSampler:
    return ForestSampler(seed=asked.seed, num_random=asked.num_random, max_epochs=asked.max_epochs)


def _tpe(asked: SamplerRequest) -> BaseSampler:
    return TPESampler(multivariate=True, n_startup_trials=asked.num_random, seed=asked.seed, constant_liar=True)


def _gp(asked: SamplerRequest) -> BaseSampler:
    return GPSampler(n_startup_trials=asked.num_random, seed=asked.seed)


def _cmaes(asked: SamplerRequest) -> BaseSampler:
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        return CmaEsSampler(seed=asked.seed, consider_pruned_trials=True, warn_independent_sampling=False)


def _random(asked: SamplerRequest) -> BaseSampler:
    return RandomSampler(seed=asked.seed)


def _qmc(asked: SamplerRequest) -> BaseSampler:
    # One sequence for the whole search: every trial takes the next point of it.
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        return QMCSampler(
            scramble=True, seed=asked.whole_seed, warn_asynchronous_seeding=False, warn_independent_sampling=False
        )


def _grid(asked: SamplerRequest) -> BaseSampler:
    return GridSampler({name: _steps(axis) for name, axis in asked.space.items()}, seed=asked.whole_seed)


def _steps(axis: optuna.distributions.BaseDistribution) -> list[Any]:
    match axis:
        case CategoricalDistribution():
            return list(axis.choices)
        case IntDistribution():
            return list(range(axis.low, axis.high + 1, axis.step))
        case FloatDistribution(log=True):
            return np.geomspace(axis.low, axis.high, GRID_STEPS).clip(axis.low, axis.high).tolist()
        case FloatDistribution():
            return np.linspace(axis.low, axis.high, GRID_STEPS).tolist()
    raise AssertionError(f"{axis} is none of the space's kinds")


SAMPLERS: dict[str, Callable[[SamplerRequest], BaseSampler]] = {
    "tpe": _tpe,
    "forest": _forest,
    "gp": _gp,
    "cmaes": _cmaes,
    "random": _random,
    "qmc": _qmc,
    "grid": _grid,
}

MODELS = ("tpe", "forest", "gp")
"""Those that look where earlier trials were good, and nowhere else."""

COMPLETE_ONLY = ("gp",)
"""Those that learn from COMPLETE trials alone."""

ONE_OBJECTIVE = ("forest", "cmaes")
"""Those that cannot search for several objectives."""
