"""Replays of searches on recorded learning curves: what they would promote within a budget, and what it is worth."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from search.config import SearchConfig
from search.coordination.coordinator import Coordinator
from search.coordination.trial_progress import Leg
from search.planning.budget import parse_budget
from search.planning.costs import IN_EPOCHS
from search.planning.plan import Fixed, plan
from search.promotion.ranking import is_clear
from search.record.trials import Sample
from search.scheduling.schedulers import SCHEDULERS
from search.space.named import CORE
from search.space.space import Expectation
from search.suggestion.gaussian_process import Prior
from search.suggestion.searcher import OptunaSearcher
from search.suggestion.unit_cube import UnitCube
from tests.support.fakes import Rows
from tests.support.peers import NearDefault, OptunaAlone, PriorBand, StockRay
from tests.support.recorded_curves import RecordedCurves, read_curves
from tests.support.simulation import SimulatedSearch, simulate

BUDGETS = (1, 2, 4, 8, 16, 32)
"""Whole trainings after which the promoted configuration is judged."""

SHARE = 2 / 3
"""Share of a task's configurations that a replay has."""

PLANNED = "planned"
PRIORBAND = ("priorband",) if find_spec("neps") else ()
KINDS = ("ours", PLANNED, "random", "near", "stock", "optuna", "tpe", *PRIORBAND, "default", "default_seeds", "oracle")

Best = dict[int, tuple[float, int]]
"""The best validation Dice of each configuration, and its epoch."""

Regrets = dict[int, float]
"""Regret in Dice points by budget, as a mean over replays."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """One search on one task."""

    file: Path
    kind: str
    num_lanes: int
    seed: int
    prior: Prior | None = None
    """What `prior_gp` believes before the first trial; None for what the program ships."""

    def regrets(self) -> Regrets:
        """Return the regret after each budget; without an end, that of the last epoch that the search trained."""
        rng = np.random.default_rng(self.seed)
        curves = read_curves(self.file).divided(rng)
        others = 1 + rng.permutation(len(curves.samples) - 1)[: int(SHARE * (len(curves.samples) - 1))]
        pool = Pool(curves.select(np.array([0, *others])), seen=self.seed % 2)
        if self.kind == "default":
            return dict.fromkeys(BUDGETS, pool.regret(0))
        if self.kind == "oracle":
            return dict.fromkeys(BUDGETS, pool.regret(pool.best_on_all_patients()))
        if self.kind == "default_seeds":
            return {budget: pool.regret_of(curves.test_of_ensemble(budget)) for budget in BUDGETS}
        if self.kind.startswith(PLANNED):
            return {budget: self._regret_of_plan(budget, curves, pool) for budget in BUDGETS}
        regret, found = 0.0, {}
        trained = self._trained(curves.num_epochs, pool, num_trials=pool.num_configurations)
        for budget in BUDGETS:
            missing = (budget - max(found, default=0)) * curves.num_epochs
            if epochs := list(itertools.islice(trained, missing)):
                regret = pool.regret(pool.promote(epochs[-1], self._default))
            found[budget] = regret
        return found

    @property
    def _default(self) -> int | None:
        """The configuration that another must clearly beat; None where the best mean is promoted."""
        return 0 if self.kind in ("ours", PLANNED) or "+" in self.kind else None

    def _trained(self, max_epochs: int, pool: "Pool", *, num_trials: int) -> Iterator[Best]:
        """Yield, after every epoch of a search, the best epochs until then; it is the same dictionary each time."""
        search = self._search(max_epochs, num_trials, pool.default)
        best: Best = {}
        for _, leg, epoch, dice in simulate(search, pool.dice, max_epochs=max_epochs, num_lanes=self.num_lanes):
            place = pool.place(leg)
            best[place] = max(best.get(place, (-1.0, 0)), (dice, epoch))
            yield best

    def _regret_of_plan(self, budget: int, curves: RecordedCurves, pool: "Pool") -> float:
        """Return the regret of what `--budget` makes of a budget: a search, and an average of final seeds.

        Averages are recorded for the default alone, and taken to gain as much for any other configuration over the mean
        of its recorded trainings.
        """
        max_epochs = curves.num_epochs
        fixed = Fixed(max_epochs=max_epochs, num_patients=int((~curves.is_test).sum()))
        found = plan(parse_budget(f"{budget * max_epochs} epochs"), IN_EPOCHS, fixed)
        pool = pool.again()
        *_, best = self._trained(max_epochs, pool, num_trials=min(found.trials, pool.num_configurations))
        winner = pool.promote(best, self._default)
        averaged = 0.0
        if found.final_seeds > 1:
            averaged = curves.test_of_ensemble(found.final_seeds) - float(curves.test[0, :, -1].mean())
        return pool.regret(winner) - 100 * averaged

    def _search(self, max_epochs: int, num_trials: int, default: Sample) -> SimulatedSearch:
        """Return the search before its first trial."""
        kind = self.kind.removeprefix(PLANNED).removeprefix(":")
        peers = {"near": NearDefault, "stock": StockRay, "optuna": OptunaAlone, "priorband": PriorBand}
        if kind in peers:
            return peers[kind](num_trials, self.seed, max_epochs, default)
        is_ours = kind not in ("random", "tpe")
        config = SearchConfig(trials=num_trials, max_epochs=max_epochs, begin_with_default=is_ours)
        ours = f"{config.searcher}+{config.scheduler}"
        names = {"": ours, "ours": ours, "random": "random+none", "tpe": "tpe+none"}
        searcher, scheduler = names.get(kind, kind).split("+")
        return Coordinator(
            OptunaSearcher(
                CORE,
                sampler=searcher,
                seed=self.seed,
                num_trials=num_trials,
                max_epochs=max_epochs,
                first=[default] if is_ours else [],
                expected={name: Expectation(value=value) for name, value in default.items()},
                prior=self.prior,
            ),
            SCHEDULERS[scheduler].make(config.scheduler_request()),
            num_trials=num_trials,
            listener=Rows(),
        )


class Pool:
    """The configurations of a task, each of which is tried at most once."""

    def __init__(self, curves: RecordedCurves, *, seen: int) -> None:
        """Begin with none tried; the search sees the trainings with the seed `seen`, and is judged by the others."""
        self._begin = partial(Pool, curves, seen=seen)
        self.default = curves.samples[0]
        """The program's default configuration when the task was recorded."""
        self._cube = UnitCube(CORE)
        self._points = self._cube.encode(*curves.samples)
        self._seen = curves.validation[:, seen]
        self._by_patient = curves.dice[:, seen][:, :, ~curves.is_test]
        self._ends = np.nan_to_num(curves.dice[:, seen, -1]).mean(1)
        self._judged = np.delete(curves.test[:, :, -1], seen, axis=1).mean(1)
        self._best = curves.test[:, :, -1].mean(1).max()
        self._places: dict[int, int] = {}

    @property
    def num_configurations(self) -> int:
        """Number of configurations, which is also that of the trials of a search."""
        return len(self._points)

    def again(self) -> "Pool":
        """Return the pool as it was when no configuration had been tried."""
        return self._begin()

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

    def promote(self, best: Best, default: int | None) -> int:
        """Return the configuration with the best validation Dice, as `search.promote` would rank them.

        Args:
            best: The best Dice of each configuration, and its epoch.
            default: A configuration that another must clearly beat; if None, or if it was not tried, the best mean
                wins.
        """
        ranked = sorted(best, key=lambda place: -best[place][0])
        if default is None or default not in best:
            return ranked[0]
        return next(place for place in ranked if place == default or self._is_clear(place, default, best))

    def best_on_all_patients(self) -> int:
        """Return the configuration whose seen training ends best on all patients, the test patients among them."""
        return int(self._ends.argmax())

    def _is_clear(self, place: int, default: int, best: Best) -> bool:
        before, after = (self._by_patient[one, best[one][1] - 1].tolist() for one in (default, place))
        return is_clear(before, after, num_compared=len(best) - 1)

    def regret(self, place: int) -> float:
        """Return how many Dice points a configuration is worse on test patients than the best."""
        return self.regret_of(self._judged[place])

    def regret_of(self, dice: float) -> float:
        """Return how many Dice points a Dice on test patients is worse than the best configuration's."""
        return 100 * float(self._best - dice)
