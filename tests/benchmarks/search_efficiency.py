"""Measure how many epochs a search needs to find a good configuration, on recorded learning curves.

    python tests/benchmarks/search_efficiency.py [--table results/curves_lgg_20.csv] [--seeds 30]

Whole searches are replayed on the curves of a table that `record_curves.py` recorded. Between the configurations of the
table, a Gaussian process predicts the curve. It is fitted to the table in the unit cube of the space's axes, and it
separates noise from landscape, so the best configuration is not simply the luckiest. The script prints how well it
predicts configurations that it has not seen. With `--between nearest`, the curve of the nearest configuration is used
instead: that needs no model, but makes a landscape of flat cells, and within a cell a search learns nothing new.

A search has reached its goal when the Dice of an epoch is 99 % (`--goal`) of the best of the table's configurations.
The epochs of all its trials until then count. Time is simulated, and an epoch takes one unit of it.

    ours            the searcher and scheduler of this program, as `search.tune` uses them by default
    NAME+NAME       the same with another searcher and scheduler (`--also tpe+hyperband`)
    random          random configurations, each trained to the end
    random_twice    the same on twice as many machines, so that half of the epochs count
    stock           Ray's OptunaSearch and ASHAScheduler with their defaults
    optuna          Optuna alone, with its TPE and its HyperbandPruner

The last line of output is one JSON object.
"""

import csv
import functools
import itertools
import json
import math
import sys
import warnings
from abc import ABC, abstractmethod
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import optuna
import tyro
from optuna.distributions import FloatDistribution, IntDistribution
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.support
from search.config import SearchConfig
from search.coordination.coordinator import Coordinator
from search.coordination.trial_progress import Leg, Phase, TrialProgress
from search.record.epochs import EpochMetrics
from search.record.provenance import commit
from search.scheduling.schedulers import SCHEDULERS
from search.space import CORE, Sample
from search.suggestion.searcher import OptunaSearcher
from tests.support.fakes import Rows
from tests.support.simulation import SimulatedSearch, simulate

NUM_TRIALS = 400
"""Number of configurations that a search may try; a search that has not found a good one by then never will."""

NUM_RANDOM = 2000
"""Number of random configurations from which the share of good ones is estimated."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Replay searches on recorded learning curves."""

    table: Path = Path(__file__).parent / "results" / "curves_lgg_20.csv"
    """Table of learning curves, written by record_curves.py."""

    between: Literal["gp", "nearest"] = "gp"
    """How curves between the table's configurations are predicted."""

    goal: float = 0.99
    """Share of the table's best Dice that a search must reach."""

    seeds: int = 30
    """Searches per kind."""

    lanes: tuple[int, ...] = (1, 16)
    """Numbers of trials that run at the same time; every kind is replayed with each."""

    also: tuple[str, ...] = ()
    """Further kinds of search, as SEARCHER+SCHEDULER."""

    reduction_factor: int = SearchConfig().reduction_factor
    """The reduction factor of our scheduler."""

    grace_period: int | None = None
    """The grace period of our scheduler; by default the one of a search."""


@dataclass(frozen=True, kw_only=True)
class Quartiles:
    """Quartiles of the epochs until the goal; None where such a search never reached it."""

    lower: float | None
    median: float | None
    upper: float | None
    reached: int
    """The number of searches that reached the goal."""


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


def main(arguments: Arguments) -> None:
    table = read_table(arguments.table, arguments.between, arguments.goal)
    kinds = ["ours", "random", "stock", "optuna", *arguments.also]
    facts = {
        "share_at_goal": round(table.share_at_goal(), 4),
        "explained_variance": round(table.explained_variance(), 3),
    }
    print(f"{len(table.curves)} configurations, best Dice {table.best:.4f}, goal {table.goal:.4f}: {facts}", flush=True)
    report: dict[str, Quartiles] = {}
    with ProcessPoolExecutor() as pool:
        for kind, lanes in itertools.product(kinds, arguments.lanes):
            replay = functools.partial(_epochs_to_goal, arguments, kind, lanes)
            found = list(pool.map(replay, range(arguments.seeds)))
            report[f"{kind} x{lanes}"] = _quartiles(found)
            if kind == "random":
                report[f"random_twice x{lanes}"] = _quartiles([epochs / 2 for epochs in found])
            print(f"{kind} x{lanes}: {asdict(report[f'{kind} x{lanes}'])}", flush=True)
    print(json.dumps(_summary(report, arguments, table) | facts))


def _epochs_to_goal(arguments: Arguments, kind: str, lanes: int, seed: int) -> float:
    """Return how many epochs all trials of one search took until one reached the goal; inf if none did."""
    table = read_table(arguments.table, arguments.between, arguments.goal)
    search = _make(kind, arguments, seed, table.max_epochs)
    epochs = simulate(
        search, lambda leg, epoch: table.dice(leg.sample, epoch), max_epochs=table.max_epochs, num_lanes=lanes
    )
    reached = (count for count, (_, _, _, value) in enumerate(epochs, start=1) if value >= table.goal)
    return next(reached, math.inf)


def _make(kind: str, arguments: Arguments, seed: int, max_epochs: int) -> SimulatedSearch:
    if kind == "stock":
        return StockRay(seed, max_epochs)
    if kind == "optuna":
        return OptunaAlone(seed, max_epochs)
    names = {"ours": f"{SearchConfig().searcher}+{SearchConfig().scheduler}", "random": "random+none"}
    searcher, scheduler = names.get(kind, kind).split("+")
    config = SearchConfig(
        trials=NUM_TRIALS,
        max_epochs=max_epochs,
        grace_period=arguments.grace_period,
        reduction_factor=arguments.reduction_factor,
    )
    return Coordinator(
        OptunaSearcher(CORE, sampler=searcher, seed=seed, num_trials=NUM_TRIALS, max_epochs=max_epochs),
        SCHEDULERS[scheduler].make(config.budget()),
        num_trials=NUM_TRIALS,
        listener=Rows(),
    )


class _Peer(ABC):
    """A search by another program in the coordinator's place: it never pauses, so every leg is a whole trial."""

    def __init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.trials: dict[int, TrialProgress] = {}
        self.is_finished = True

    def next_leg(self) -> Leg | None:
        number = len(self.trials)
        if number == NUM_TRIALS:
            return None
        sample = self.suggest(number)
        self.trials[number] = TrialProgress(number=number, sample=sample, attrs={})
        return Leg(number=number, sample=sample)

    @abstractmethod
    def suggest(self, number: int) -> Sample:
        """Return the configuration of the next trial."""

    @abstractmethod
    def report(self, number: int, epoch: EpochMetrics, *, finished: bool, failure: str | None) -> bool:
        """Return whether a trial continues after an epoch."""

    def end_leg(self, number: int) -> None:
        self.trials[number].phase = Phase.ENDED

    def lose(self, number: int, error: str) -> None:
        """Fail, because no replay loses a worker group."""
        raise NotImplementedError


class StockRay(_Peer):
    """Ray Tune's OptunaSearch and ASHAScheduler, called in the order in which Tune calls them."""

    def __init__(self, seed: int, max_epochs: int) -> None:
        super().__init__()
        self._searcher = OptunaSearch(space=dict(CORE), metric="val_dice", mode="max", seed=seed)
        self._scheduler = ASHAScheduler(time_attr="epoch", metric="val_dice", mode="max", max_t=max_epochs)
        self._controller: Any = None  # ASHA takes Tune's controller but does not use it

    def suggest(self, number: int) -> Sample:
        sample = self._searcher.suggest(str(number))
        assert sample is not None
        self._scheduler.on_trial_add(self._controller, self._trial(number))
        return sample

    def report(self, number: int, epoch: EpochMetrics, *, finished: bool, failure: str | None) -> bool:
        trial, result = self._trial(number), {**epoch.to_json(), "training_iteration": epoch.epoch}
        decision = TrialScheduler.STOP if finished else self._scheduler.on_trial_result(self._controller, trial, result)
        if decision == TrialScheduler.CONTINUE:
            self._searcher.on_trial_result(str(number), result)
            return True
        self._scheduler.on_trial_complete(self._controller, trial, result)
        self._searcher.on_trial_complete(str(number), result)
        return False

    def _trial(self, number: int) -> Any:
        """Return what ASHA reads of Tune's trials."""
        return SimpleNamespace(trial_id=str(number))


class OptunaAlone(_Peer):
    """Optuna's sampler and pruner, used as in its tutorial."""

    def __init__(self, seed: int, max_epochs: int) -> None:
        super().__init__()
        pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max_epochs)
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        self._trials: dict[int, optuna.Trial] = {}

    def suggest(self, number: int) -> Sample:
        self._trials[number] = self._study.ask(CORE)
        return self._trials[number].params

    def report(self, number: int, epoch: EpochMetrics, *, finished: bool, failure: str | None) -> bool:
        trial = self._trials[number]
        trial.report(epoch.val_dice, epoch.epoch)
        if finished:
            self._study.tell(trial, epoch.val_dice)
        elif trial.should_prune():
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            return True
        return False


def _place(sample: Sample) -> np.ndarray:
    """Return the place of a sample in the unit cube."""
    places = []
    for name, axis in CORE.items():
        assert isinstance(axis, FloatDistribution | IntDistribution)
        low, high, value = axis.low, axis.high, sample[name]
        if axis.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        places.append((value - low) / (high - low))
    return np.array(places)


def _quartiles(found: list[float]) -> Quartiles:
    values = np.quantile(np.array(found), [0.25, 0.5, 0.75], method="nearest")
    lower, median, upper = (value if math.isfinite(value) else None for value in values.tolist())
    return Quartiles(lower=lower, median=median, upper=upper, reached=sum(map(math.isfinite, found)))


def _summary(report: dict[str, Quartiles], arguments: Arguments, table: Table) -> dict[str, object]:
    def speedup(over: str, lanes: int) -> float | None:
        ours, theirs = report[f"ours x{lanes}"].median, report[f"{over} x{lanes}"].median
        return round(theirs / ours, 2) if ours and theirs else None

    first = arguments.lanes[0]
    return {
        "epochs_to_goal": {name: asdict(quartiles) for name, quartiles in report.items()},
        "speedup_over_random": speedup("random", first),
        "speedup_over_stock": speedup("stock", first),
        **{
            f"speedup_over_{over}_x{lanes}": speedup(over, lanes)
            for over in ("random", "stock")
            for lanes in arguments.lanes
        },
        "table": arguments.table.name,
        "between": arguments.between,
        "goal": arguments.goal,
        "goal_dice": round(table.goal, 5),
        "seeds": arguments.seeds,
        "reduction_factor": arguments.reduction_factor,
        "grace_period": arguments.grace_period,
        "commit": commit(),
    }


if __name__ == "__main__":
    main(tyro.cli(Arguments))
