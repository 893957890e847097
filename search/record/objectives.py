"""The objectives by which trials are compared: validation Dice first, then the network's costs.

With several objectives there is no single best trial. One trial *dominates* another if it is at least as good in all
objectives and better in one. The trials that no other trial dominates are the *Pareto front*.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from data.errors import UserError
from search.record.epochs import METRIC, EpochMetrics
from search.record.trials import R, Trial, best_first

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A metric of an epoch that a search can optimise."""

    direction: Literal["maximize", "minimize"]
    """Whether more or less is better, in Optuna's words."""

    label: str
    """Its name in reports."""


OBJECTIVES = {
    METRIC: Objective(direction="maximize", label="validation Dice"),
    "latency_ms": Objective(direction="minimize", label="latency of a slice in ms"),
    "million_parameters": Objective(direction="minimize", label="million parameters"),
}
"""The objectives, by metric. All but Dice depend on the network alone, and are the same in every epoch of a trial."""

LATENCY = "latency_ms"

NUM_KEPT = 5
"""How many of the best trials keep their checkpoints. It is the largest legal number of candidates of a promotion."""


def check_objectives(objectives: tuple[str, ...]) -> None:
    """Raise UserError if there is no such objective, or if Dice is not the first."""
    if unknown := [name for name in objectives if name not in OBJECTIVES]:
        raise UserError(f"objective is {unknown[0]!r}, but must be one of {', '.join(OBJECTIVES)}")
    if objectives[:1] != (METRIC,):
        raise UserError(f"objective is {', '.join(objectives)}, but must begin with {METRIC}")


def costs(objectives: Sequence[str]) -> tuple[str, ...]:
    """Return those of the objectives that are not Dice."""
    return tuple(name for name in objectives if name != METRIC)


def merits(epoch: EpochMetrics, objectives: Sequence[str]) -> tuple[float, ...]:
    """Return an epoch's value of every objective, negated where less is better; nan where it was not measured."""
    values = {name: epoch.value(name) for name in objectives}
    return tuple(
        math.nan if value is None else value if OBJECTIVES[name].direction == "maximize" else -value
        for name, value in values.items()
    )


def best_merits(row: Trial, objectives: Sequence[str]) -> tuple[float, ...]:
    """Return the merits of a trial's best epoch; nan where it has none."""
    return merits(row.best_epoch or EpochMetrics(epoch=0), objectives)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether the merits of `one` are at least as good as those of `other` in every objective, better in one."""
    return all(a >= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def pareto_front(rows: Sequence[R], objectives: Sequence[str]) -> list[R]:
    """Return the trials whose best epoch is not dominated by that of another trial, the best Dice first."""
    scored = [(row, best_merits(row, objectives)) for row in best_first(rows)]
    return [row for row, mine in scored if not any(dominates(theirs, mine) for _, theirs in scored)]


def worth_keeping(rows: Sequence[R], objectives: Sequence[str], default_trial: int | None = None) -> list[R]:
    """Return the trials whose checkpoints are kept, best first: the best NUM_KEPT, the one with the default
    configuration, and with several objectives the Pareto front."""
    ranked = best_first(rows)
    front = pareto_front(ranked, objectives) if costs(objectives) else []
    return [row for place, row in enumerate(ranked) if place < NUM_KEPT or row in front or row.number == default_trial]


def in_order_of_promotion(
    candidates: Sequence[T], merits_of: Callable[[T], Sequence[float]], *, dice_tolerance: float
) -> list[T]:
    """Return the candidates in the order in which they should be promoted, the winner first; ties keep their order.

    With Dice alone, the order is that of Dice. With more objectives, the candidates whose Dice is at most
    `dice_tolerance` below the best come first, ordered by the second objective, then by the third, then by Dice; the
    others follow by Dice. So the first candidate is on the Pareto front.
    """
    ranked = sorted(candidates, key=lambda one: -merits_of(one)[0])
    lowest = merits_of(ranked[0])[0] - dice_tolerance if ranked else 0.0
    close = [one for one in ranked if merits_of(one)[0] >= lowest]
    return sorted(close, key=lambda one: [-merit for merit in merits_of(one)[1:]]) + ranked[len(close) :]


class Kind(Protocol):
    """A row of the table of searchers or of schedulers."""

    @property
    def description(self) -> str:
        """A few words for the help text."""
        ...

    @property
    def one_objective(self) -> bool:
        """Whether it cannot take several objectives."""
        ...


def listed(kinds: Mapping[str, Kind]) -> str:
    """Return the names of searchers or schedulers with their descriptions, for the help text."""
    return ", ".join(f"`{name}` ({kind.description})" for name, kind in kinds.items())


def check_kind(option: str, name: str, kinds: Mapping[str, Kind], objectives: Sequence[str]) -> None:
    """Raise UserError if there is no searcher or scheduler of this name, or if it cannot take several objectives."""
    if name not in kinds:
        raise UserError(f"{option} is {name!r}, but must be one of {', '.join(kinds)}")
    if len(objectives) > 1 and kinds[name].one_objective:
        legal = ", ".join(other for other, kind in kinds.items() if not kind.one_objective)
        raise UserError(
            f"{option} is {name!r}, which takes one objective only, not {', '.join(objectives)}: choose one of {legal}"
        )
