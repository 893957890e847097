"""A Gaussian process over configurations that begins with a belief: a centre is good, and far from it is worse.

The process predicts the Dice at the end of training. Its mean is a bowl around the centre with a flat rim, whose depth
along each axis is uncertain and is learned with the rest, so that a wrong belief fades as trials contradict it. What
remains is a smooth deviation from the bowl. A trial that was stopped early counts as well: its last Dice, raised by
what later epochs usually add, is an observation with more noise.

References: Rasmussen & Williams 2006, section 2.7 (explicit basis functions with a prior on their weights); Jones et
al. 1998, doi:10.1023/A:1008306431147 (expected improvement); Swersky et al. 2014, arXiv:1406.3896 (freeze-thaw:
unfinished curves as observations).
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular

from search.suggestion.unit_cube import Points

SHARES = (0.0, 0.1, 0.33, 0.5, 0.67, 0.8, 1.0)
"""Shares of the schedule at which `gains` and `gain_deviations` hold; they are interpolated."""


def matern(one: Points, other: Points, length: float) -> np.ndarray:
    """Return the Matern kernel with smoothness 5/2 between each point of `one` and each of `other`."""
    # The kernel is flat where two points meet, so what the sum of squares loses by rounding there does not matter.
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    # In float32, NumPy has an exponential that is many times as fast, and the noise of trials hides the rounding.
    distances = np.sqrt((5 / length**2 * squares.clip(0.0)).astype(np.float32))
    return (1 + distances + distances**2 / 3) * np.exp(-distances)


BLOCK = 100
"""Points that are predicted together, so that what lies between them and 500 trials stays in a processor's cache."""

RIM = 2.0
"""Height of the rim of the bowl, in depths. Without a rim, one good trial far from a narrow bowl would refute it."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The belief before the first trial, in Dice and in shares of an axis, as it was learned from the recorded tasks
    (tests/benchmarks/learn_prior.py)."""

    level: float = 0.59
    """Dice of the centre."""

    level_deviation: float = 0.3
    """The Dice of the first trial says more about the level than any other data do. Were the level surer, a default
    that is better than expected would count against a centre elsewhere."""

    width: float | Float[np.ndarray, " dimensions"] = 0.35
    """At this distance from the centre, a configuration has lost nearly a half of `depth`. It is one number for all
    dimensions, or one for each."""

    depth: float = 0.03
    depth_deviation: float = 0.03
    amplitude: float = 0.06
    """Standard deviation of the deviation from the bowl."""

    length: float = 0.6
    """How far apart two configurations are whose deviations hardly agree."""

    noise: float = 0.044
    """Standard deviation between two trainings of one configuration."""

    gains: tuple[float, ...] = (0.59, 0.28, 0.075, 0.034, 0.015, 0.001, 0.0)
    """What the rest of the schedule adds to the Dice on average, after each of SHARES."""

    gain_deviations: tuple[float, ...] = (0.2, 0.19, 0.092, 0.049, 0.035, 0.013, 0.0)
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
        deviation = self.amplitude**2 * matern(one, other, self.length)
        return self.level_deviation**2 + self.depth_deviation**2 * bowls + deviation

    def variance(self, points: Points, centre: np.ndarray) -> np.ndarray:
        """Return the variance of the Dice of each point."""
        bowls = (self._bowl(points, centre) ** 2).sum(1)
        return self.level_deviation**2 + self.depth_deviation**2 * bowls + self.amplitude**2

    def _bowl(self, points: Points, centre: np.ndarray) -> np.ndarray:
        return RIM * (1 - np.exp(-0.5 / RIM * ((points - centre) / self.width) ** 2))


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """What the process believes after the observations."""

    prior: Prior
    centre: np.ndarray
    points: Points
    factor: np.ndarray
    """Cholesky factor of the covariance of the observations."""

    weights: np.ndarray

    def mean(self, points: Points) -> np.ndarray:
        """Return the expected Dice at points."""
        return self.prior.mean(points, self.centre) + self._covariance(points) @ self.weights

    def predict(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the standard deviation of the Dice at points."""
        blocks = [points[start : start + BLOCK] for start in range(0, max(1, len(points)), BLOCK)]
        means, deviations = zip(*map(self._predict, blocks), strict=True)
        return np.concatenate(means), np.concatenate(deviations)

    def _predict(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        covariance = self._covariance(points)
        known = solve_triangular(self.factor, covariance.T, lower=True, check_finite=False)
        variance = self.prior.variance(points, self.centre) - (known**2).sum(0)
        mean = self.prior.mean(points, self.centre) + covariance @ self.weights
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def _covariance(self, points: Points) -> np.ndarray:
        return self.prior.covariance(points, self.points, self.centre)


def condition(
    prior: Prior,
    centre: np.ndarray,
    points: Points,
    dices: np.ndarray,
    deviations: np.ndarray,
    *,
    running: Points | None = None,
) -> Posterior:
    """Return the posterior after observations.

    Args:
        deviations: Standard deviation of the noise of each observation.
        running: Trials that count as if they had reached what the observations let expect of them.
    """
    running = points[:0] if running is None else running
    noise = np.concatenate([deviations, np.full(len(running), prior.noise)])
    points, num_observed = np.concatenate([points, running]), len(points)
    covariance = prior.covariance(points, points, centre) + np.diag(noise**2 + 1e-9)
    factor = np.linalg.cholesky(covariance)
    residuals = dices - prior.mean(points[:num_observed], centre)
    # The first rows and columns are the factor of the observations. Whitened, a trial that reaches what is expected of
    # it has no residual.
    whitened = solve_triangular(factor[:num_observed, :num_observed], residuals, lower=True)
    whitened = np.concatenate([whitened, np.zeros(len(running))])
    weights = solve_triangular(factor, whitened, lower=True, trans=1)
    return Posterior(prior=prior, centre=centre, points=points, factor=factor, weights=weights)


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, *, above: float) -> np.ndarray:
    """Return the expected improvement over a value, for normally distributed predictions."""
    scaled = (mean - above) / deviation
    density = np.exp(-0.5 * scaled**2) / math.sqrt(2 * math.pi)
    below = 0.5 * np.array([1 + math.erf(one / math.sqrt(2)) for one in scaled])
    return deviation * (scaled * below + density)
