"""A Gaussian process over configurations that begins with a belief: the default is good, and far from it is worse.

The process predicts the Dice at the end of training. Its mean is a bowl around the default, whose depth along each axis
is uncertain and is learned with the rest, so that a wrong belief fades as trials contradict it. What remains is a
smooth deviation from the bowl. A trial that was stopped early counts as well: its last Dice, raised by what later
epochs usually add, is an observation with more noise.

References: Rasmussen & Williams 2006, section 2.7 (explicit basis functions with a prior on their weights); Jones et
al. 1998, doi:10.1023/A:1008306431147 (expected improvement); Ginsbourger et al. 2010 (the kriging believer, for trials
that are still running); Swersky et al. 2014, arXiv:1406.3896 (freeze-thaw: unfinished curves as observations).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from search.record.trials import Sample
from search.suggestion.unit_cube import Points, UnitCube

NUM_CANDIDATES = 1000
"""Number of candidates of each kind: anywhere in the space, and near the best trials."""

NUM_BEST = 5
"""Number of the best trials near which candidates are drawn."""

NEAR = 0.1
"""Standard deviation of a candidate around one of the best trials, as a share of the axis."""

SHARES = (0.0, 0.1, 0.33, 0.5, 0.67, 0.8, 1.0)
"""Shares of the schedule at which `gains` and `gain_deviations` hold; they are interpolated."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The belief before the first trial, in Dice and in shares of an axis (tests/benchmarks/learn_prior.py)."""

    level: float = 0.65
    """Dice of the default."""

    level_deviation: float = 0.15
    width: float = 0.35
    """How far from the default a configuration loses half of `depth`."""

    depth: float = 0.03
    depth_deviation: float = 0.06
    amplitude: float = 0.05
    """Standard deviation of the deviation from the bowl."""

    length: float = 0.6
    """How far apart two configurations are whose deviations hardly agree."""

    noise: float = 0.02
    """Standard deviation between two trainings of one configuration."""

    gains: tuple[float, ...] = (0.4, 0.3, 0.09, 0.05, 0.018, 0.006, 0.0)
    """What the rest of the schedule adds to the Dice on average, after each of SHARES."""

    gain_deviations: tuple[float, ...] = (0.5, 0.16, 0.09, 0.05, 0.025, 0.015, 0.0)
    """The standard deviation of that gain between trials."""

    lowest: float = 0.25
    """A Dice further than this below the best counts as being so far below it. How bad a bad trial is tells nothing
    about the good ones, and would make the process expect such steps everywhere."""

    def mean(self, points: Points, centre: np.ndarray) -> np.ndarray:
        """Return the expected Dice."""
        return self.level - self.depth * self._bowl(points, centre).sum(1)

    def covariance(self, one: Points, other: Points, centre: np.ndarray) -> np.ndarray:
        """Return the covariance of the Dice of each point of `one` with each point of `other`."""
        bowls = self._bowl(one, centre) @ self._bowl(other, centre).T
        distances = np.sqrt(5 * ((one[:, None] - other[None]) ** 2).sum(-1)) / self.length
        matern = (1 + distances + distances**2 / 3) * np.exp(-distances)
        return self.level_deviation**2 + self.depth_deviation**2 * bowls + self.amplitude**2 * matern

    def variance(self, points: Points, centre: np.ndarray) -> np.ndarray:
        """Return the variance of the Dice of each point."""
        bowls = (self._bowl(points, centre) ** 2).sum(1)
        return self.level_deviation**2 + self.depth_deviation**2 * bowls + self.amplitude**2

    def _bowl(self, points: Points, centre: np.ndarray) -> np.ndarray:
        return 0.5 * ((points - centre) / self.width) ** 2


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """What the process believes after the observations."""

    prior: Prior
    centre: np.ndarray
    points: Points
    factor: np.ndarray
    """Cholesky factor of the covariance of the observations."""

    weights: np.ndarray

    def predict(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the standard deviation of the Dice at points."""
        covariance = self.prior.covariance(points, self.points, self.centre)
        mean = self.prior.mean(points, self.centre) + covariance @ self.weights
        known = np.linalg.solve(self.factor, covariance.T)
        variance = self.prior.variance(points, self.centre) - (known**2).sum(0)
        return mean, np.sqrt(np.maximum(variance, 1e-12))


def condition(prior: Prior, centre: np.ndarray, points: Points, dices: np.ndarray, deviations: np.ndarray) -> Posterior:
    """Return the posterior after observations, whose noise has these standard deviations."""
    covariance = prior.covariance(points, points, centre) + np.diag(deviations**2 + 1e-9)
    factor = np.linalg.cholesky(covariance)
    residuals = np.linalg.solve(factor, dices - prior.mean(points, centre))
    weights = np.linalg.solve(factor.T, residuals)
    return Posterior(prior=prior, centre=centre, points=points, factor=factor, weights=weights)


SEEN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


class GaussianProcessSampler(BaseSampler):
    """Suggests the candidate with the largest expected improvement at the end of its training."""

    def __init__(self, *, seed: int, max_epochs: int, default: Sample, prior: Prior | None = None) -> None:
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)
        self._max_epochs = max_epochs
        self._default = default
        self._prior = prior or Prior()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the axes that all trials have."""
        others = [one for one in study._get_trials(deepcopy=False, states=SEEN) if one.number != trial.number]
        return optuna.search_space.intersection_search_space(others)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the candidate with the largest expected improvement; {} before a trial has a Dice."""
        others = [one for one in study._get_trials(deepcopy=False, states=SEEN) if one.number != trial.number]
        observed = [one for one in others if one.intermediate_values]
        if not observed or not search_space:
            return {}
        cube = UnitCube(search_space)
        points = cube.encode(*(one.params for one in observed))
        running = cube.encode(*(one.params for one in others if not one.intermediate_values))
        posterior = self._learn(points, observed, running, cube.encode(self._default)[0])
        means, _ = posterior.predict(points)
        near = points[np.argsort(-means)[:NUM_BEST]]
        candidates = np.concatenate(
            [
                cube.draw(self._rng, NUM_CANDIDATES),
                cube.draw_near(self._rng, near[self._rng.integers(len(near), size=NUM_CANDIDATES)], NEAR),
            ]
        )
        improvement = expected_improvement(*posterior.predict(candidates), above=means.max())
        return cube.decode(candidates[improvement.argmax()])

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _learn(self, points: Points, observed: Sequence[FrozenTrial], running: Points, centre: np.ndarray) -> Posterior:
        """Return the posterior after the observed trials, as if the running ones had reached what it expects."""
        curves = [one.intermediate_values for one in observed]
        shares = np.array([min(1.0, max(curve) / self._max_epochs) for curve in curves])
        dices = np.array([curve[max(curve)] for curve in curves]) + np.interp(shares, SHARES, self._prior.gains)
        dices = np.maximum(dices, dices.max() - self._prior.lowest)
        deviations = np.hypot(self._prior.noise, np.interp(shares, SHARES, self._prior.gain_deviations))
        posterior = condition(self._prior, centre, points, dices, deviations)
        if not len(running):
            return posterior
        believed, _ = posterior.predict(running)
        return condition(
            self._prior,
            centre,
            np.concatenate([points, running]),
            np.concatenate([dices, believed]),
            np.concatenate([deviations, np.full(len(running), self._prior.noise)]),
        )


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, *, above: float) -> np.ndarray:
    """Return the expected improvement over a value, for normally distributed predictions."""
    scaled = (mean - above) / deviation
    density = np.exp(-0.5 * scaled**2) / math.sqrt(2 * math.pi)
    below = 0.5 * np.array([1 + math.erf(one / math.sqrt(2)) for one in scaled])
    return deviation * (scaled * below + density)
