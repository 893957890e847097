"""How many epochs a search needs to find a good configuration: whole searches replayed on recorded learning curves.

    python tests/benchmarks/search_efficiency.py [--table results/curves_lgg_20.csv] [--seeds 30]

The table is real (record_curves.py). What lies between its configurations is not: a Gaussian process answers, fitted to
the curves in the unit cube of the space's axes. It tells noise from landscape, so the best is not the luckiest; how
well it predicts configurations that it has not seen is printed. With `--between nearest`, the nearest configuration
answers: no model, but a landscape of flat cells, in each of which a search learns nothing new.
A search has reached its goal when some epoch's Dice is 99 % (`--goal`) of the best at the table's configurations. What
counts are the epochs of all trials until then; time is simulated, an epoch is one unit.

    ours            the program's searcher and scheduler, as `search.tune` has them by default
    NAME+NAME       the same with another searcher and scheduler (`--also tpe+hyperband`)
    random          random configurations, every one trained to the end
    random_twice    the same with twice the machines: half the epochs count
    stock           Ray's OptunaSearch and ASHAScheduler, by their defaults
    optuna          Optuna alone: its TPE and its HyperbandPruner

The last line is one JSON object.
"""

import csv
import functools
import itertools
import json
import math
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import optuna
import tyro
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
from search.coordination.trial_progress import Leg
from search.record.epochs import EpochMetrics
from search.record.provenance import commit
from search.scheduling.schedulers import SCHEDULERS
from search.space import CORE, Sample
from search.suggestion.searcher import OptunaSearcher
from tests.support.fakes import Rows
from tests.support.simulation import simulate

NUM_TRIALS = 400
"""Configurations that a search may try; one that has not reached the goal by then counts as never."""

NUM_RANDOM = 2000
"""Random configurations, to say how rare good ones are."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Replay searches on recorded learning curves."""

    table: Path = Path(__file__).parent / "results" / "curves_lgg_20.csv"
    """Written by record_curves.py."""

    between: Literal["gp", "nearest"] = "gp"
    """What answers between the table's configurations."""

    goal: float = 0.99
    """Share of the table's best Dice that a search is to reach."""

    seeds: int = 30
    """Searches of each kind."""

    lanes: tuple[int, ...] = (1, 16)
    """Trials at a time."""

    also: tuple[str, ...] = ()
    """Further kinds, as SEARCHER+SCHEDULER."""

    reduction_factor: int = SearchConfig().reduction_factor
    """Ours."""

    grace_period: int | None = None
    """Ours; None: as the search has it by default."""


class Table:
    """Learning curves of a sample of the space, and of what lies between."""

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
        key = tuple(sample.values())
        if key not in self._seen:
            self._seen[key] = self._curve(_place(sample))
        return float(self._seen[key][epoch - 1])

    def share_at_goal(self) -> float:
        """Return the share of random configurations whose curve reaches the goal."""
        sampler = OptunaSearcher(CORE, sampler="random", seed=0, num_trials=NUM_RANDOM, max_epochs=self.max_epochs)
        samples = [sampler.suggest().sample for _ in range(NUM_RANDOM)]
        return float(np.mean([self._curve(_place(sample)).max() >= self.goal for sample in samples]))

    def explained(self) -> float:
        """Return the share of the variance of last epochs that is predicted for configurations left out (R squared)."""
        folds = KFold(10, shuffle=True, random_state=0)
        model = _gaussian_process() if self._process else KNeighborsRegressor(1)
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            predicted = cross_val_predict(model, self._places, self._recorded, cv=folds)
        return float(r2_score(self._recorded[:, -1], predicted[:, -1]))

    def _curve(self, place: np.ndarray) -> np.ndarray:
        if self._process is None:
            return self._recorded[np.argmin(((self._places - place) ** 2).sum(axis=1))]
        return self._process.predict(place[None])[0].clip(0, 1)


def _gaussian_process() -> GaussianProcessRegressor:
    kernel = ConstantKernel() * Matern(np.ones(len(CORE)), (0.1, 20.0), nu=2.5) + WhiteKernel(0.1, (1e-3, 1.0))
    return GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)


@functools.cache
def read_table(path: Path, between: str, goal: float) -> Table:
    """Return a table; every process reads each once."""
    return Table(path, between, goal)


def main(arguments: Arguments) -> None:
    table = read_table(arguments.table, arguments.between, arguments.goal)
    kinds = ["ours", "random", "stock", "optuna", *arguments.also]
    facts = {"share_at_goal": round(table.share_at_goal(), 4), "explained_variance": round(table.explained(), 3)}
    print(f"{len(table.curves)} configurations, best Dice {table.best:.4f}, goal {table.goal:.4f}: {facts}", flush=True)
    report: dict[str, Any] = {}
    with ProcessPoolExecutor() as pool:
        for kind, lanes in itertools.product(kinds, arguments.lanes):
            found = list(pool.map(_epochs_to_goal, *zip(*_work(arguments, kind, lanes), strict=True)))
            report[f"{kind} x{lanes}"] = _quartiles(found)
            if kind == "random":
                report[f"random_twice x{lanes}"] = _quartiles([epochs / 2 for epochs in found])
            print(f"{kind} x{lanes}: {report[f'{kind} x{lanes}']}", flush=True)
    print(json.dumps(_summary(report, arguments, table) | facts))


def _work(arguments: Arguments, kind: str, lanes: int) -> list[tuple]:
    return [(arguments, kind, lanes, seed) for seed in range(arguments.seeds)]


def _epochs_to_goal(arguments: Arguments, kind: str, lanes: int, seed: int) -> float:
    """Return the epochs that all trials of one search took until one reached the goal; inf if none did."""
    table = read_table(arguments.table, arguments.between, arguments.goal)
    search = _make(kind, arguments, seed, table.max_epochs)
    epochs = simulate(
        search, lambda leg, epoch: table.dice(leg.sample, epoch), max_epochs=table.max_epochs, num_lanes=lanes
    )
    reached = (count for count, (_, _, _, value) in enumerate(epochs, start=1) if value >= table.goal)
    return next(reached, math.inf)


def _make(kind: str, arguments: Arguments, seed: int, max_epochs: int) -> Any:
    if kind in ("stock", "optuna"):
        return {"stock": Stock, "optuna": OptunaAlone}[kind](seed, max_epochs)
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


class _Peer:
    """What a peer needs to stand in the coordinator's place: no pauses, every leg is a trial from its first epoch."""

    def __init__(self) -> None:
        self.trials: dict[int, Any] = {}
        self.is_finished = True

    def next_leg(self) -> Leg | None:
        number = len(self.trials)
        if number == NUM_TRIALS:
            return None
        self.trials[number] = SimpleNamespace(last_epoch=0)
        return Leg(number=number, sample=self.suggest(number))

    def end_leg(self, number: int) -> None: ...


class Stock(_Peer):
    """Ray Tune's OptunaSearch and ASHAScheduler, called in the order in which Tune calls them."""

    def __init__(self, seed: int, max_epochs: int) -> None:
        super().__init__()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._searcher = OptunaSearch(space=dict(CORE), metric="val_dice", mode="max", seed=seed)
        self._scheduler = ASHAScheduler(time_attr="epoch", metric="val_dice", mode="max", max_t=max_epochs)

    def suggest(self, number: int) -> Sample:
        sample = self._searcher.suggest(str(number))
        self._scheduler.on_trial_add(None, SimpleNamespace(trial_id=str(number)))
        return sample

    def report(self, number: int, epoch: EpochMetrics, *, finished: bool, failure: str | None) -> bool:
        trial, result = SimpleNamespace(trial_id=str(number)), epoch.to_json() | {"training_iteration": epoch.epoch}
        if not finished and self._scheduler.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE:
            self._searcher.on_trial_result(str(number), result)
            return True
        self._scheduler.on_trial_complete(None, trial, result)
        self._searcher.on_trial_complete(str(number), result)
        return False


class OptunaAlone(_Peer):
    """An Optuna script as its tutorial has it."""

    def __init__(self, seed: int, max_epochs: int) -> None:
        super().__init__()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max_epochs)
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        self._asked: dict[int, optuna.Trial] = {}

    def suggest(self, number: int) -> Sample:
        self._asked[number] = self._study.ask(CORE)
        return self._asked[number].params

    def report(self, number: int, epoch: EpochMetrics, *, finished: bool, failure: str | None) -> bool:
        trial = self._asked[number]
        trial.report(epoch.val_dice, epoch.epoch)
        if finished:
            self._study.tell(trial, epoch.val_dice)
        elif trial.should_prune():
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            return True
        return False


def _place(sample: Sample) -> np.ndarray:
    """Return a sample's place in the unit cube."""
    places = []
    for name, axis in CORE.items():
        low, high, value = axis.low, axis.high, sample[name]
        if getattr(axis, "log", False):
            low, high, value = math.log(low), math.log(high), math.log(value)
        places.append((value - low) / (high - low))
    return np.array(places)


def _quartiles(found: list[float]) -> dict[str, float | None]:
    """Return None for a quartile that lies among the searches that never reached the goal."""
    values = np.quantile(np.array(found), [0.25, 0.5, 0.75], method="nearest")
    return {
        name: value if math.isfinite(value) else None
        for name, value in zip(("lower", "median", "upper"), values.tolist(), strict=True)
    } | {"reached": sum(map(math.isfinite, found))}


def _summary(report: dict[str, Any], arguments: Arguments, table: Table) -> dict[str, Any]:
    def speedup(over: str, lanes: int) -> float | None:
        ours, theirs = report[f"ours x{lanes}"]["median"], report[f"{over} x{lanes}"]["median"]
        return round(theirs / ours, 2) if ours and theirs else None

    first = arguments.lanes[0]
    return {
        "epochs_to_goal": report,
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
