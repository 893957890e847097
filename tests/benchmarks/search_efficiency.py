"""Measure what a search finds within a budget, in replays of recorded learning curves.

    python tests/benchmarks/search_efficiency.py [--tasks phantom_0 lgg_0 ...] [--seeds 20]

A search suggests configurations, and each trial follows the recorded curve of the nearest configuration that has not
been tried yet; nothing is interpolated. It sees the validation patients of one recorded training of each configuration.
What it would promote is judged by the test patients, after the last epoch of the other recorded training, so that luck
in choosing does not help. Each replay has a random two thirds of the configurations, and the default. Searches of this
program promote another configuration than the default only if it is better by more than the standard error over the
validation patients, as `search.tune` does; others promote the best mean.

    ours            the searcher and scheduler of `search.tune`'s defaults
    NAME+NAME       another searcher and scheduler (`--also prior_gp+none`), beginning with the default
    random          random configurations, each trained to the end
    stock           Ray's OptunaSearch and ASHAScheduler with their defaults
    optuna          Optuna alone, with its TPE and its HyperbandPruner
    tpe             Optuna's TPE at full length
    priorband       PriorBand of neural-pipeline-search 0.17, if it is installed
    default         the default configuration, trained once
    default_seeds   the average of networks of the default, as many as the budget has trainings

For each kind, task and budget (2, 4, 8 and 16 whole trainings) the script prints the regret: how many Dice points the
promoted configuration is worse than the best. The random-equivalent budget is the number of trainings that random
search needs for the same regret, as a multiple of the budget. The last line of output is one JSON object.
"""

import itertools
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.support
from search.config import SearchConfig
from search.coordination.coordinator import Coordinator
from search.coordination.trial_progress import Leg
from search.promotion.ranking import paired_gain
from search.record.provenance import commit
from search.scheduling.schedulers import SCHEDULERS
from search.space import CORE, default_sample
from search.suggestion.searcher import OptunaSearcher
from search.suggestion.unit_cube import UnitCube
from tests.support.fakes import Rows
from tests.support.peers import OptunaAlone, PriorBand, StockRay
from tests.support.recorded_curves import RecordedCurves, read_curves
from tests.support.simulation import SimulatedSearch, simulate

BUDGETS = (1, 2, 4, 8, 16, 32)
"""Whole trainings after which the promoted configuration is judged."""

SHARE = 2 / 3
"""Share of a task's configurations that a replay has."""

PRIORBAND = ("priorband",) if find_spec("neps") else ()
KINDS = ("ours", "random", "stock", "optuna", "tpe", *PRIORBAND, "default", "default_seeds")

Regrets = dict[int, float]
"""Regret in Dice points by budget, as a mean over replays."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Replay searches on recorded learning curves."""

    tasks: tuple[str, ...] = ()
    """Names of the tasks; all that are recorded if none is given."""

    seeds: int = 20
    """Replays of each kind on each task."""

    lanes: tuple[int, ...] = (1, 16)
    """Numbers of trials that run at the same time."""

    also: tuple[str, ...] = ()
    """Further kinds of search, as SEARCHER+SCHEDULER."""

    folder: Path = Path(__file__).parent / "results" / "curves"
    """Where the tasks are."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """One search on one task."""

    file: Path
    kind: str
    num_lanes: int
    seed: int

    def regrets(self) -> Regrets:
        """Return the regret after each budget; without an end, that of the last epoch that the search trained."""
        curves = read_curves(self.file)
        rng = np.random.default_rng(self.seed)
        others = 1 + rng.permutation(len(curves.samples) - 1)[: int(SHARE * (len(curves.samples) - 1))]
        pool = Pool(curves.select(np.array([0, *others])), seen=self.seed % 2)
        if self.kind == "default":
            return dict.fromkeys(BUDGETS, pool.regret(0))
        if self.kind == "default_seeds":
            return {budget: pool.regret_of(curves.test_of_ensemble(budget)) for budget in BUDGETS}
        max_epochs, best, found = curves.num_epochs, {}, {}
        default = 0 if self.kind == "ours" or "+" in self.kind else None
        search = _make(self.kind, self.seed, max_epochs, num_trials=pool.num_configurations)
        epochs = simulate(search, pool.dice, max_epochs=max_epochs, num_lanes=self.num_lanes)
        for spent, (_, leg, epoch, dice) in enumerate(epochs, start=1):
            place = pool.place(leg)
            best[place] = max(best.get(place, (-1.0, 0)), (dice, epoch))
            if spent % max_epochs == 0:
                found[spent // max_epochs] = pool.regret(pool.promote(best, default))
            if spent == max(BUDGETS) * max_epochs:
                break
        last = pool.regret(pool.promote(best, default))
        return {budget: found.get(budget, last) for budget in BUDGETS}


class Pool:
    """The configurations of a task, each of which is tried at most once."""

    def __init__(self, curves: RecordedCurves, *, seen: int) -> None:
        """Begin with none tried; the search sees the trainings with the seed `seen`, and is judged by the others."""
        self._cube = UnitCube(CORE)
        self._points = self._cube.encode(*curves.samples)
        self._seen = curves.validation[:, seen]
        self._by_patient = curves.dice[:, seen][:, :, ~curves.is_test]
        self._judged = np.delete(curves.test[:, :, -1], seen, axis=1).mean(1)
        self._best = curves.test[:, :, -1].mean(1).max()
        self._places: dict[int, int] = {}

    @property
    def num_configurations(self) -> int:
        """Number of configurations, which is also that of the trials of a search."""
        return len(self._points)

    def place(self, leg: Leg) -> int:
        """Return the configuration that a trial follows: the nearest that no other trial follows."""
        if leg.number not in self._places:
            distances = ((self._points - self._cube.encode(leg.sample)) ** 2).sum(1)
            distances[list(self._places.values())] = np.inf
            self._places[leg.number] = int(distances.argmin())
        return self._places[leg.number]

    def dice(self, leg: Leg, epoch: int) -> float:
        """Return the validation Dice of a trial after an epoch."""
        return float(self._seen[self.place(leg), epoch - 1])

    def promote(self, best: Mapping[int, tuple[float, int]], default: int | None) -> int:
        """Return the configuration with the best validation Dice, as `search.promote` would rank them.

        Args:
            best: The best Dice of each configuration, and its epoch.
            default: A configuration that another must beat by more than the standard error over patients; if None, or
                if it was not tried, the best mean wins.
        """
        ranked = sorted(best, key=lambda place: -best[place][0])
        if default is None or default not in best:
            return ranked[0]
        return next(place for place in ranked if place == default or self._is_better(place, default, best))

    def _is_better(self, place: int, other: int, best: Mapping[int, tuple[float, int]]) -> bool:
        before, after = (self._by_patient[one, best[one][1] - 1].tolist() for one in (other, place))
        gain, error = paired_gain(before, after)
        return gain > error

    def regret(self, place: int) -> float:
        """Return how many Dice points a configuration is worse on test patients than the best."""
        return self.regret_of(self._judged[place])

    def regret_of(self, dice: float) -> float:
        """Return how many Dice points a Dice on test patients is worse than the best configuration's."""
        return 100 * float(self._best - dice)


def main(arguments: Arguments) -> None:
    tasks = arguments.tasks or sorted(file.stem for file in arguments.folder.glob("*.npz"))
    if not tasks:
        raise SystemExit(
            f"no task is recorded in {arguments.folder}: python tests/benchmarks/record_curves.py records one"
        )
    files = [arguments.folder / f"{name}.npz" for name in tasks]
    kinds = (*KINDS, *arguments.also)
    report: dict[str, dict[str, Regrets]] = {}
    with ProcessPoolExecutor() as pool:
        for num_lanes, file, kind in itertools.product(arguments.lanes, files, kinds):
            replays = [Replay(file=file, kind=kind, num_lanes=num_lanes, seed=seed) for seed in range(arguments.seeds)]
            found = list(pool.map(Replay.regrets, replays))
            means = {budget: float(np.mean([one[budget] for one in found])) for budget in BUDGETS}
            report.setdefault(f"{kind} x{num_lanes}", {})[file.stem] = means
            error = np.std([one[8] for one in found], ddof=1) / np.sqrt(len(found))
            shown = " ".join(f"B={budget}: {means[budget]:.2f}" for budget in BUDGETS)
            print(f"{file.stem} {kind} x{num_lanes}: {shown} (+- {error:.2f} at 8)", flush=True)
    print(json.dumps(summary(report, arguments.lanes[0]) | {"seeds": arguments.seeds, "commit": commit()}))


def summary(report: dict[str, dict[str, Regrets]], num_lanes: int) -> dict[str, object]:
    """Return the figures of the last line."""
    ours, default = report[f"ours x{num_lanes}"], report[f"default x{num_lanes}"]
    found: dict[str, object] = {"regret": report}
    for peer in ("random", "stock"):
        ratios = [equivalent(ours[task][8], report[f"{peer} x{num_lanes}"][task]) / 8 for task in ours]
        found |= {f"{peer}_equivalent_at_8": round(float(np.median(ratios)), 2)}
        found |= {f"{peer}_equivalent_at_8_worst": round(min(ratios), 2)}
    gains = [(default[task][8] - ours[task][8]) / 100 for task in ours]
    return found | {"gain_over_default_at_8_dice": round(float(np.mean(gains)), 4)}


def equivalent(regret: float, peer: Regrets) -> float:
    """Return the trainings that a peer needs for a regret, on a line between its budgets; its last budget if more."""
    budgets = sorted(peer)
    lowest = np.minimum.accumulate([peer[budget] for budget in budgets])  # more trainings never promote anything worse
    if regret >= lowest[0]:
        return float(budgets[0])
    return float(np.interp(-regret, -lowest, budgets))


def _make(kind: str, seed: int, max_epochs: int, *, num_trials: int) -> SimulatedSearch:
    peers = {"stock": StockRay, "optuna": OptunaAlone, "priorband": PriorBand}
    if kind in peers:
        return peers[kind](num_trials, seed, max_epochs)
    config = SearchConfig(trials=num_trials, max_epochs=max_epochs, begin_with_default=kind not in ("random", "tpe"))
    names = {"ours": f"{config.searcher}+{config.scheduler}", "random": "random+none", "tpe": "tpe+none"}
    searcher, scheduler = names.get(kind, kind).split("+")
    first = [default_sample(CORE)] if config.begin_with_default else []
    return Coordinator(
        OptunaSearcher(CORE, sampler=searcher, seed=seed, num_trials=num_trials, max_epochs=max_epochs, first=first),
        SCHEDULERS[scheduler].make(config.scheduler_request()),
        num_trials=num_trials,
        listener=Rows(),
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
