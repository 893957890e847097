"""How good a search was by what it had spent: the best validation Dice so far, over epochs and over wall clock."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from search.record.trials import TrialRow


@dataclass(frozen=True, kw_only=True)
class Step:
    """A new best of a search, or its end."""

    epochs: int
    """Epochs that were trained by then, of all trials together."""

    seconds: float
    """Wall clock since the search began, without the time in which it was dead."""

    dice: float
    """The best validation Dice so far."""

    trial: str
    """Whose it is."""


def best_so_far(rows: Sequence[TrialRow]) -> list[Step]:
    """Return every new best in the order in which it was known, and last what was spent in all; empty if none is.

    Trials run side by side and pause, so the order is that of `elapsed_seconds`, not of the table. (A table made by
    hand may lack them: its epochs count as known at 0 seconds, in the order of the table.)
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
    """Return the best validation Dice that was known when so much was spent, by one of both measures.

    It is nan if none was known, or if less was spent in all.
    """
    assert bool(epochs) != bool(seconds), "one measure"
    spent = [(step.epochs if epochs else step.seconds, step.dice) for step in steps]
    budget = epochs or seconds
    known = [dice for amount, dice in spent if amount <= budget]
    return known[-1] if known and spent[-1][0] >= budget else math.nan
