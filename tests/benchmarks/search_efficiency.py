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

import functools
import itertools
import json
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.support
from search.config import SearchConfig
from search.coordination.coordinator import Coordinator
from search.record.provenance import commit
from search.scheduling.schedulers import SCHEDULERS
from search.space import CORE
from search.suggestion.searcher import OptunaSearcher
from tests.support.curve_table import Table, read_table
from tests.support.fakes import Rows
from tests.support.peers import OptunaAlone, StockRay
from tests.support.simulation import SimulatedSearch, simulate

NUM_TRIALS = 400
"""Number of configurations that a search may try; if it has not reached its goal by then, it counts as never."""


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
        return StockRay(NUM_TRIALS, seed, max_epochs)
    if kind == "optuna":
        return OptunaAlone(NUM_TRIALS, seed, max_epochs)
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
