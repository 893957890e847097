"""The sampler behind `prior_gp`: a Gaussian process with a belief about the space (gaussian_process.py).

With one objective, it suggests the candidate with the largest expected improvement. With several, each suggestion looks
in a direction of its own, drawn at random, so that all of them together spread along the Pareto front; what a network
costs is nearly certain after a few trials.

References: Jones et al. 1998, doi:10.1023/A:1008306431147 (expected improvement); Ginsbourger et al. 2010 (the kriging
believer, for trials that are still running); Golovin & Zhang 2020, arXiv:2006.04655 (random scalarizations by
hypervolume).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from jaxtyping import Bool, Float
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from search.record.trials import Sample
from search.space.space import Space
from search.suggestion.gaussian_process import SHARES, Posterior, Prior, condition, expected_improvement, matern
from search.suggestion.unit_cube import Points, UnitCube

NUM_CANDIDATES = 1000
"""Number of candidates of each kind: anywhere in the space, and near the best trials."""

NUM_BEST = 5
"""Number of the best trials near which candidates are drawn."""

NEAR = 0.1
"""Standard deviation of a candidate around one of the best trials, as a share of the axis."""

FIRST = 0.5
"""Standard deviation of a suggestion around the centre before any trial has a Dice, in widths of the belief."""

NUM_NODES = 9
"""Values of the uncertain Dice of a candidate over which its improvement is averaged (Gauss-Hermite quadrature)."""

MARGIN = 0.1
"""How far the reference point is beyond the worst trial, as a share of the range of an objective. Without it, the ends
of the Pareto front would count for nothing."""

COST_LENGTH = 1.0
"""How far apart two configurations are whose costs hardly agree, in shares of an axis."""

COST_NOISE = 0.01
"""Share of the variance of the logarithm of a cost that is noise."""

SEEN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL)


class GaussianProcessSampler(BaseSampler):
    """Suggests the candidate with the largest expected improvement at the end of its training."""

    def __init__(
        self,
        space: Space,
        *,
        seed: int,
        max_epochs: int,
        centre: Sample,
        widths: Mapping[str, float] | None = None,
        costs: Sequence[str] = (),
        prior: Prior | None = None,
    ) -> None:
        """Begin.

        Args:
            centre: Where the belief expects the best.
            widths: The width of the belief along axes where it is not that of `prior`.
            costs: The objectives other than Dice; they are user attributes of the trials, and less is better.
            prior: The belief before the first trial.
        """
        self._space = space
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)
        self._max_epochs = max_epochs
        self._centre, self._widths = centre, widths or {}
        self._costs = costs
        self._usual = prior or Prior()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the whole space."""
        return dict(self._space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return what promises the largest improvement; before a trial has a Dice, what is near the centre."""
        others = [one for one in study._get_trials(deepcopy=False, states=SEEN) if one.number != trial.number]
        failed = [one for one in others if one.state == TrialState.FAIL]
        others = [one for one in others if one.state != TrialState.FAIL]
        observed = [one for one in others if one.intermediate_values]
        cube = UnitCube(self._space, otherwise=self._centre)

        def encode(trials: Sequence[FrozenTrial]) -> Points:
            return cube.encode(*(one.params for one in trials))

        prior = replace(self._usual, width=cube.along_axes(self._widths, self._usual.width))
        centre = cube.encode(self._centre)
        if not observed:  # if even the first have failed, the centre may be the reason
            first = cube.draw(self._rng, 1) if failed else cube.draw_near(self._rng, centre, FIRST * prior.width)
            return cube.decode(first[0])
        points, running = encode(observed), encode([one for one in others if not one.intermediate_values])
        posterior = self._learn(prior, points, observed, running, encode(failed), centre[0])
        means = posterior.mean(points)
        seen = np.column_stack([means, *(_cheapness(observed, name) for name in self._costs)])
        best = points[np.argsort(-means)[:NUM_BEST]] if not self._costs else points[_is_on_front(seen)]
        candidates = np.concatenate(
            [
                cube.draw(self._rng, NUM_CANDIDATES),
                cube.draw_near(self._rng, best[self._rng.integers(len(best), size=NUM_CANDIDATES)], NEAR),
            ]
        )
        mean, deviation = posterior.predict(candidates)
        if self._costs:
            costs = np.column_stack([_interpolate(points, one, candidates) for one in seen.T[1:]])
            direction = np.abs(self._rng.normal(size=seen.shape[1]))
            improvement = scalarized_improvement(mean, deviation, costs, seen=seen, direction=direction)
        else:
            improvement = expected_improvement(mean, deviation, above=means.max())
        return cube.decode(candidates[improvement.argmax()])

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value of an axis that is not in the space."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _learn(
        self,
        prior: Prior,
        points: Points,
        observed: Sequence[FrozenTrial],
        running: Points,
        failed: Points,
        centre: np.ndarray,
    ) -> Posterior:
        """Return the posterior after the observed trials, as if the running ones had reached what it expects.

        Those that failed count as the worst, so that a configuration that cannot be trained is not suggested again.
        """
        curves = [one.intermediate_values for one in observed]
        shares = np.array([min(1.0, max(curve) / self._max_epochs) for curve in curves])
        dices = np.array([curve[max(curve)] for curve in curves]) + np.interp(shares, SHARES, prior.gains)
        dices = np.maximum(dices, dices.max() - prior.lowest)
        deviations = np.hypot(prior.noise, np.interp(shares, SHARES, prior.gain_deviations))
        points = np.concatenate([points, failed])
        dices = np.concatenate([dices, np.full(len(failed), dices.max() - prior.lowest)])
        deviations = np.concatenate([deviations, np.full(len(failed), prior.noise)])
        return condition(prior, centre, points, dices, deviations, running=running)


def _cheapness(trials: Sequence[FrozenTrial], cost: str) -> np.ndarray:
    """Return the negative logarithm of what each trial costs, so that more is better."""
    return -np.log([max(one.user_attrs[cost], 1e-9) for one in trials])


def _is_on_front(merits: Float[np.ndarray, "trials objectives"]) -> Bool[np.ndarray, " trials"]:
    """Return which trials no other trial dominates."""
    at_least = np.all(merits[:, None] >= merits, axis=-1)
    better = np.any(merits[:, None] > merits, axis=-1)
    return np.logical_not(np.any(at_least & better, axis=0))


def _interpolate(points: Points, values: np.ndarray, wanted: Points) -> np.ndarray:
    """Return the mean of a Gaussian process through values at points, at other points."""
    covariance = matern(points, points, COST_LENGTH) + COST_NOISE * np.eye(len(points))
    return values.mean() + matern(wanted, points, COST_LENGTH) @ np.linalg.solve(covariance, values - values.mean())


def scalarized_improvement(
    mean: Float[np.ndarray, " candidates"],
    deviation: Float[np.ndarray, " candidates"],
    others: Float[np.ndarray, "candidates costs"],
    *,
    seen: Float[np.ndarray, "trials objectives"],
    direction: Float[np.ndarray, " objectives"],
) -> Float[np.ndarray, " candidates"]:
    """Return by how much candidates are expected to improve on the trials in a direction.

    A point reaches as far into the direction as the box between the reference point and it does. Raised to the number
    of objectives and averaged over all directions, the farthest reach is the hypervolume, but for a constant.

    Args:
        mean: Of the Dice of a candidate, which is uncertain.
        others: The candidates' other objectives, where more is better.
        seen: The objectives of the trials, Dice first, where more is better.
        direction: Positive.
    """
    low, scale = seen.min(0), np.maximum(np.ptp(seen, axis=0), 1e-6)
    reference, direction = low - MARGIN * scale, np.maximum(direction, 1e-3) * scale
    nodes, weights = np.polynomial.hermite_e.hermegauss(NUM_NODES)
    dices = mean[:, None] + deviation[:, None] * nodes
    others_reach = ((others - reference[1:]) / direction[1:]).min(1)
    reach = np.minimum((dices - reference[0]) / direction[0], others_reach[:, None])
    farthest = ((seen - reference) / direction).min(1).max()
    improvement = np.maximum(reach, farthest) ** seen.shape[1] - farthest ** seen.shape[1]
    return improvement @ (weights / weights.sum())
