"""The table of samplers: what `--searcher` can name.

A sampler is Optuna's object that proposes one configuration. The searcher (searcher.py) asks it, and keeps the study.
A new sampler needs a function here, or a module of its own like prior_gp.py, and a row in SAMPLERS; the command line,
its help and its checks follow from the table.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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

from data.errors import UserError
from search.space.configs import complete_default
from search.space.space import Expectation, Space
from search.suggestion.expectation import parse_expectations
from search.suggestion.gaussian_process import Prior
from search.suggestion.prior_gp import GaussianProcessSampler

GRID_STEPS = 4
"""Values of a continuous axis on a grid."""


@dataclass(frozen=True, kw_only=True)
class SamplerRequest:
    """What a sampler needs to know to make one suggestion."""

    space: Space
    seed: int
    """Seed of this suggestion."""

    search_seed: int
    """Seed of the whole search."""

    num_random: int
    """Random trials before a sampler builds a model."""

    max_epochs: int
    """Epochs of a trial that is never stopped."""

    costs: Sequence[str] = ()
    """The objectives other than Dice."""

    expected: Mapping[str, Expectation] = field(default_factory=dict)
    """The axes of which a person expects something."""

    prior: Prior | None = None
    """What `prior_gp` believes before the first trial; None for what the program ships."""


@dataclass(frozen=True, kw_only=True)
class SamplerKind:
    """A row of the table of samplers."""

    make: Callable[[SamplerRequest], BaseSampler]
    description: str
    """A few words for the help text of `--searcher`."""

    is_model: bool = False
    """Whether it builds a model of earlier trials; every third suggestion is then random instead."""

    complete_only: bool = False
    """Whether it learns from COMPLETE trials alone."""

    one_objective: bool = False
    """Whether it cannot search for several objectives."""

    all_axes: bool = False
    """Whether it needs axes that have an effect in every trial."""

    has_prior: bool = False
    """Whether it follows `--prior`, which says where a person expects the best on an axis."""


def _prior_gp(request: SamplerRequest) -> BaseSampler:
    expected = request.expected
    return GaussianProcessSampler(
        request.space,
        seed=request.seed,
        max_epochs=request.max_epochs,
        centre=complete_default(request.space) | {name: one.value for name, one in expected.items()},
        widths={name: one.width for name, one in expected.items() if one.width},
        costs=request.costs,
        prior=request.prior,
    )


def _tpe(request: SamplerRequest) -> BaseSampler:
    has_conditions = bool(request.space.conditions)
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):  # of `group`
        return TPESampler(
            multivariate=True,
            group=has_conditions,  # a model for each set of axes that have an effect together
            n_startup_trials=request.num_random,
            seed=request.seed,
            constant_liar=True,
        )


def _gp(request: SamplerRequest) -> BaseSampler:
    return GPSampler(n_startup_trials=request.num_random, seed=request.seed)


def _cmaes(request: SamplerRequest) -> BaseSampler:
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        return CmaEsSampler(seed=request.seed, consider_pruned_trials=True, warn_independent_sampling=False)


def _random(request: SamplerRequest) -> BaseSampler:
    return RandomSampler(seed=request.seed)


def _qmc(request: SamplerRequest) -> BaseSampler:
    # All trials share one sequence, so the seed is that of the search: each trial takes the next point.
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        return QMCSampler(
            scramble=True, seed=request.search_seed, warn_asynchronous_seeding=False, warn_independent_sampling=False
        )


def _grid(request: SamplerRequest) -> BaseSampler:
    return GridSampler({name: _grid_values(axis) for name, axis in request.space.items()}, seed=request.search_seed)


def _grid_values(axis: optuna.distributions.BaseDistribution) -> list[Any]:
    match axis:
        case CategoricalDistribution():
            return list(axis.choices)
        case IntDistribution():
            return list(range(axis.low, axis.high + 1, axis.step))
        case FloatDistribution(low=low, high=high, step=float(step)):
            return np.arange(low, high + step / 2, step).tolist()
        case FloatDistribution(log=True):
            return np.geomspace(axis.low, axis.high, GRID_STEPS).clip(axis.low, axis.high).tolist()
        case FloatDistribution():
            return np.linspace(axis.low, axis.high, GRID_STEPS).tolist()
    raise AssertionError(f"{axis} is a kind of axis that no space has")


SAMPLERS = {
    "prior_gp": SamplerKind(
        make=_prior_gp, description="a Gaussian process that expects the best near the default", has_prior=True
    ),
    "tpe": SamplerKind(make=_tpe, description="Tree-structured Parzen Estimator", is_model=True),
    "gp": SamplerKind(make=_gp, description="Gaussian process", is_model=True, complete_only=True),
    "cmaes": SamplerKind(make=_cmaes, description="CMA-ES", one_objective=True),
    "random": SamplerKind(make=_random, description="uniformly random"),
    "qmc": SamplerKind(make=_qmc, description="a scrambled Sobol sequence"),
    "grid": SamplerKind(make=_grid, description="all points of a grid", all_axes=True),
}
"""The samplers, by their searcher's name on the command line."""


def check_conditions(space: Space, sampler: str) -> None:
    """Raise UserError if a space has axes that have an effect in some trials only, and the sampler cannot take them."""
    if space.conditions and SAMPLERS[sampler].all_axes:
        legal = ", ".join(name for name, kind in SAMPLERS.items() if not kind.all_axes)
        names = ", ".join(space.conditions)
        raise UserError(
            f"searcher is {sampler!r}, which needs axes that have an effect in every trial, but these depend on "
            f"others: {names}. Choose one of {legal}"
        )


def check_prior(texts: Sequence[str], space: Space, sampler: str) -> None:
    """Raise UserError if what a person expects is not of this space, or if the sampler does not use it."""
    parse_expectations(texts, space)
    if texts and not SAMPLERS[sampler].has_prior:
        legal = ", ".join(name for name, kind in SAMPLERS.items() if kind.has_prior)
        raise UserError(
            f"prior is for the searcher {legal}, but searcher is {sampler!r}: choose {legal}, or leave prior out"
        )
