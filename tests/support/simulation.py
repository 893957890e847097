"""Whole searches in simulated time, with a real searcher and scheduler but without Ray and training."""

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Protocol

from search.coordination.trial_progress import Leg, TrialProgress
from search.record.epochs import EpochMetrics


class SimulatedSearch(Protocol):
    """What a simulation needs of a search; a Coordinator has it."""

    trials: dict[int, TrialProgress]

    @property
    def is_finished(self) -> bool: ...

    def next_leg(self) -> Leg | None: ...

    def report(self, number: int, epoch: EpochMetrics, *, finished: bool, failure: str | None) -> bool: ...

    def lose(self, number: int, error: str) -> None: ...

    def end_leg(self, number: int) -> None: ...


def simulate(
    search: SimulatedSearch,
    curve: Callable[[Leg, int], float],
    *,
    max_epochs: int,
    num_lanes: int = 1,
    epoch_seconds: Callable[[Leg], float] = lambda leg: 1.0,
    num_missing: dict[int, int] | None = None,
    loss_probability: float = 0.0,
) -> Iterator[tuple[float, Leg, int, float]]:
    """Yield (time, leg, epoch, value) for every epoch of a search.

    Args:
        num_missing: How many epochs the next leg of a trial repeats, by trial number, as after a crash that lost
            checkpoints.
        loss_probability: The probability that an epoch loses its worker group instead of ending; uses global `random`.
    """
    num_missing = num_missing or {}
    clock, count, training = 0.0, itertools.count(), []
    idle = num_lanes
    while True:
        while idle and (leg := search.next_leg()):
            last = search.trials[leg.number].last_epoch
            epoch = max(0, last - num_missing.pop(leg.number, 0)) + 1
            heapq.heappush(training, (clock + epoch_seconds(leg), next(count), leg, epoch))
            idle -= 1
        if not training:
            assert search.is_finished
            return
        clock, _, leg, epoch = heapq.heappop(training)
        if loss_probability and random.random() < loss_probability:
            search.lose(leg.number, "a worker is gone")
            search.end_leg(leg.number)
            idle += 1
            continue
        metrics = EpochMetrics(
            epoch=epoch, val_dice=curve(leg, epoch), seconds=epoch_seconds(leg), elapsed_seconds=clock
        )
        continues = search.report(leg.number, metrics, finished=epoch >= max_epochs, failure=None)
        yield clock, leg, epoch, metrics.val_dice
        if continues:
            heapq.heappush(training, (clock + epoch_seconds(leg), next(count), leg, epoch + 1))
        else:
            search.end_leg(leg.number)
            idle += 1
