"""Measure how fast a search improved: the best validation Dice so far, over epochs and over wall clock."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from search.record.trials import Trial


@dataclass(frozen=True, kw_only=True)
class Step:
    """A new best of a search, or its end."""

    epochs: int
    """Epochs that all trials together had trained by then."""

    seconds: float
    """Wall clock since the search began, without the time between an interruption and its resume."""

    dice: float
    """The best validation Dice so far."""

    trial: str
    """The trial that reached it."""


def best_so_far(rows: Sequence[Trial]) -> list[Step]:
    """Return every new best in order of time, and at the end the total spent; empty if no Dice is finite.

    Trials run side by side and pause, so epochs are ordered by `elapsed_seconds`, not as in the table. Without
    `elapsed_seconds`, as in a table written by hand, an epoch counts as known at 0 seconds, in the order of the table.
    """
    epochs = [(epoch.elapsed_seconds or 0.0, row, epoch) for row in rows for epoch in row.epochs]
    epochs.sort(key=lambda one: one[0])
    steps: list[Step] = []
    best = -math.inf
    for spent, (seconds, row, epoch) in enumerate(epochs, start=1):
        if epoch.has_dice and epoch.val_dice > best:
            best = epoch.val_dice
            steps.append(Step(epochs=spent, seconds=seconds, dice=best, trial=row.id))
    if steps and steps[-1].epochs < len(epochs):
        steps.append(Step(epochs=len(epochs), seconds=epochs[-1][0], dice=best, trial=steps[-1].trial))
    return steps


def best_after(steps: Sequence[Step], *, epochs: float = 0, seconds: float = 0.0) -> float:
    """Return the best validation Dice after a budget, given either in epochs or in seconds.

    The Dice is nan if there was none yet, or if the search spent less than the budget.
    """
    assert bool(epochs) != bool(seconds), "give one budget"
    spent = [(step.epochs if epochs else step.seconds, step.dice) for step in steps]
    budget = epochs or seconds
    known = [dice for amount, dice in spent if amount <= budget]
    return known[-1] if known and spent[-1][0] >= budget else math.nan
