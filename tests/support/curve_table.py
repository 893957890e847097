"""Learning curves over the whole search space, from a table that tests/benchmarks/record_curves.py recorded."""

import csv
import functools
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

from search.record.trials import Sample
from search.space import CORE
from search.suggestion.searcher import OptunaSearcher
from tests.support.fakes import number_in

NUM_RANDOM = 2000
"""Number of random configurations from which the share of good ones is estimated."""


class Table:
    """The learning curve of every configuration of the space: recorded for a sample, predicted for all others."""

    def __init__(self, path: Path, between: str, goal: float) -> None:
        with path.open() as file:
            rows = list(csv.DictReader(file))
        names = [name for name in rows[0] if name.startswith("val_dice_")]
        by_configuration: dict[str, list[dict[str, str]]] = {}
        for row in rows:
            by_configuration.setdefault(row["configuration"], []).append(row)
        self._places = np.array(
            [_place({name: float(same[0][name]) for name in CORE}) for same in by_configuration.values()]
        )
        recorded = [[[float(row[name]) for name in names] for row in same] for same in by_configuration.values()]
        self._recorded = np.array([np.nan_to_num(np.array(same)).mean(axis=0) for same in recorded])
        self.max_epochs = self._recorded.shape[1]
        self._process = _gaussian_process().fit(self._places, self._recorded) if between == "gp" else None
        self.curves = np.array([self._curve(place) for place in self._places])
        self.best = float(self.curves.max())
        self.goal = goal * self.best
        self._seen: dict[tuple[Any, ...], np.ndarray] = {}

    def dice(self, sample: Sample, epoch: int) -> float:
        """Return the validation Dice of a configuration after an epoch."""
        key = tuple(sample.values())
        if key not in self._seen:
            self._seen[key] = self._curve(_place(sample))
        return float(self._seen[key][epoch - 1])

    def share_at_goal(self) -> float:
        """Return the share of random configurations whose curve reaches the goal."""
        sampler = OptunaSearcher(CORE, sampler="random", seed=0, num_trials=NUM_RANDOM, max_epochs=self.max_epochs)
        samples = [sampler.suggest().sample for _ in range(NUM_RANDOM)]
        return float(np.mean([self._curve(_place(sample)).max() >= self.goal for sample in samples]))

    def explained_variance(self) -> float:
        """Return R squared: the share of the variance of last epochs that is predicted in cross-validation."""
        folds = KFold(10, shuffle=True, random_state=0)
        model = _gaussian_process() if self._process else KNeighborsRegressor(1)
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            predicted = np.asarray(cross_val_predict(model, self._places, self._recorded, cv=folds))
        return float(r2_score(self._recorded[:, -1], predicted[:, -1]))

    def _curve(self, place: np.ndarray) -> np.ndarray:
        if self._process is None:
            return self._recorded[np.argmin(((self._places - place) ** 2).sum(axis=1))]
        return self._process.predict(place[None])[0].clip(0, 1)


def _gaussian_process() -> GaussianProcessRegressor:
    length_scale = np.ones(len(CORE))
    matern = Matern(length_scale, (0.1, 20.0), nu=2.5)  # pyright: ignore[reportArgumentType] (typed as one float only)
    kernel = ConstantKernel() * matern + WhiteKernel(0.1, (1e-3, 1.0))
    return GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)


@functools.cache
def read_table(path: Path, between: str, goal: float) -> Table:
    """Return a table, which each process reads only once."""
    return Table(path, between, goal)


def _place(sample: Sample) -> np.ndarray:
    """Return the place of a sample in the unit cube."""
    places = []
    for name, axis in CORE.items():
        assert isinstance(axis, FloatDistribution | IntDistribution)
        low, high, value = axis.low, axis.high, number_in(sample, name)
        if axis.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        places.append((value - low) / (high - low))
    return np.array(places)
