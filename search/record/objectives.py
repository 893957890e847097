"""What trials are compared by: validation Dice first, and what a model costs to run.

With several objectives no trial is best. One is *dominated* by another that is at least as good in all of them and
better in one; those that no other dominates are the *Pareto front*, from which one is promoted by a stated rule.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from search.record.epochs import METRIC, EpochMetrics
from search.record.trials import TrialRow, best_first

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A metric of every epoch that a search can be after."""

    direction: Literal["maximize", "minimize"]
    """In Optuna's words."""

    label: str
    """For people."""


OBJECTIVES = {
    METRIC: Objective(direction="maximize", label="validation Dice"),
    "latency_ms": Objective(direction="minimize", label="latency of a slice in ms"),
    "million_parameters": Objective(direction="minimize", label="million parameters"),
}
"""By metric. All but Dice are a network's, the same in every epoch of a trial."""

LATENCY = "latency_ms"

NUM_KEPT = 5
"""Trials of the best Dice whose checkpoints stay on disk: the candidates of a promotion, and two to spare."""


def costs(objectives: Sequence[str]) -> tuple[str, ...]:
    """Return the objectives other than Dice."""
    return tuple(name for name in objectives if name != METRIC)


def merits(epoch: EpochMetrics, objectives: Sequence[str]) -> tuple[float, ...]:
    """Return an epoch's value of every objective, turned so that more is better; nan where it was not measured."""
    values = {name: epoch.value(name) for name in objectives}
    return tuple(
        math.nan if value is None else value if OBJECTIVES[name].direction == "maximize" else -value
        for name, value in values.items()
    )


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether merits are at least as good as others in everything, and better in something."""
    return all(a >= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def pareto_front(rows: Sequence[TrialRow], objectives: Sequence[str]) -> list[TrialRow]:
    """Return the trials that no other dominates, by their best epochs, the best Dice first."""
    scored = [(row, merits(row.best_epoch, objectives)) for row in best_first(rows) if row.best_epoch]
    return [row for row, mine in scored if not any(dominates(theirs, mine) for _, theirs in scored)]


def worth_keeping(rows: Sequence[TrialRow], objectives: Sequence[str]) -> list[TrialRow]:
    """Return the trials whose checkpoints stay: NUM_KEPT, and with several objectives the Pareto front; best first."""
    ranked = best_first(rows)
    front = pareto_front(ranked, objectives) if costs(objectives) else []
    return [row for place, row in enumerate(ranked) if place < NUM_KEPT or row in front]


def in_order_of_promotion(
    candidates: Sequence[T], merits_of: Callable[[T], Sequence[float]], *, dice_tolerance: float
) -> list[T]:
    """Return the candidates, the one to be promoted first; equals keep their order.

    With Dice alone, the best first. With more objectives, those come first whose Dice is at most `dice_tolerance` below
    the best, the best by the second objective before the others, among equals by the third, then by Dice. So the very
    first is on the Pareto front.
    """
    ranked = sorted(candidates, key=lambda one: -merits_of(one)[0])
    lowest = merits_of(ranked[0])[0] - dice_tolerance if ranked else 0.0
    close = [one for one in ranked if merits_of(one)[0] >= lowest]
    return sorted(close, key=lambda one: [-merit for merit in merits_of(one)[1:]]) + ranked[len(close) :]
