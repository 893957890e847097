"""Whole searches in simulated time: with the program's searcher and scheduler, without Ray and training."""

import heapq
import itertools
import random
from collections.abc import Callable, Iterator

from search.coordination.coordinator import Coordinator
from search.coordination.trial_progress import Leg
from search.record.epochs import EpochMetrics


def simulate(
    coordinator: Coordinator,
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
        num_missing: How many epochs the next leg of a trial repeats, by the trial's number, as after a crash that has
            lost checkpoints.
    """
    num_missing = num_missing or {}
    clock, count, training = 0.0, itertools.count(), []
    idle = num_lanes
    while True:
        while idle and (leg := coordinator.next_leg()):
            last = coordinator.trials[leg.number].last_epoch
            epoch = max(0, last - num_missing.pop(leg.number, 0)) + 1
            heapq.heappush(training, (clock + epoch_seconds(leg), next(count), leg, epoch))
            idle -= 1
        if not training:
            assert coordinator.is_finished
            return
        clock, _, leg, epoch = heapq.heappop(training)
        if loss_probability and random.random() < loss_probability:
            coordinator.lose(leg.number, "a worker is gone")
            coordinator.end_leg(leg.number)
            idle += 1
            continue
        metrics = EpochMetrics(
            epoch=epoch, val_dice=curve(leg, epoch), seconds=epoch_seconds(leg), elapsed_seconds=clock
        )
        goes_on = coordinator.report(leg.number, metrics, finished=epoch >= max_epochs, failure=None)
        yield clock, leg, epoch, metrics.val_dice
        if goes_on:
            heapq.heappush(training, (clock + epoch_seconds(leg), next(count), leg, epoch + 1))
        else:
            coordinator.end_leg(leg.number)
            idle += 1
