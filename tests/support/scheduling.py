"""Schedulers without a search: their verdicts on given values, and whole searches with random moves."""

import math
import random
from collections.abc import Iterator

from search.scheduling.scheduler import Scheduler, SchedulerRequest, Verdict

CONTINUE, PAUSE, STOP = Verdict.CONTINUE, Verdict.PAUSE, Verdict.STOP
SEEDS = range(20)


def request(**changes: int) -> SchedulerRequest:
    """Return the request for 27 trials with up to 9 epochs, with changes."""
    return SchedulerRequest(**{"num_trials": 27, "max_epochs": 9, "grace_period": 1, "reduction_factor": 3} | changes)


def arrivals(scheduler: Scheduler, values: list[float], *, epoch: int = 1) -> list[Verdict]:
    """Return the verdicts on trials 0, 1, 2, ..., which reach the same epoch one after the other with these values."""
    return [scheduler.judge(number, epoch, value) for number, value in enumerate(values)]


def promote_all(scheduler: Scheduler, *, num_to_come: int = 1, running_epochs: tuple[int, ...] = ()) -> list[int]:
    """Promote every promotable trial, and return the trials in that order."""
    promoted = []
    while (number := scheduler.next_promotable(num_to_come=num_to_come, running_epochs=running_epochs)) is not None:
        scheduler.mark_promoted(number)
        promoted.append(number)
    return promoted


def value_of(seed: int, number: int, epoch: int) -> float:
    """Return a random value of a trial after an epoch, always the same for the same arguments."""
    return random.Random(f"{seed} {number} {epoch}").random()


def random_search(
    scheduler: Scheduler, asked: SchedulerRequest, *, seed: int, hopeless: list[int] | None = None
) -> Iterator[tuple[int, int, Verdict | None, bool]]:
    """Yield (number, epoch, verdict, whether its rung is open) for every move of a whole search with random moves.

    The verdict is None where a paused trial is promoted. A rung is open while another trial may still reach it.
    The hopeless trials are dropped and added to `hopeless` if that is given; otherwise they stay.
    """
    generator = random.Random(seed)
    running: dict[int, int] = {}
    paused: dict[int, int] = {}
    begun = 0
    while True:
        num_to_come = asked.num_trials - begun
        promotable = scheduler.next_promotable(num_to_come=num_to_come, running_epochs=running.values())
        moves = [*running, *["begin"] * bool(num_to_come), *["promote"] * (promotable is not None)]
        if not moves:
            return
        move: int | str = generator.choice(moves)
        if move == "begin":
            running[begun] = 0
            begun += 1
            continue
        if move == "promote":
            assert promotable is not None
            running[promotable] = paused.pop(promotable)
            scheduler.mark_promoted(promotable)
            number, verdict = promotable, None
        else:
            assert isinstance(move, int)
            number = move
            running[number] += 1
            verdict = scheduler.judge(number, running[number], value_of(seed, number, running[number]))
        epoch = running[number]
        if verdict in (PAUSE, STOP) or epoch == asked.max_epochs:
            del running[number]
        if verdict == PAUSE:
            paused[number] = epoch
        if hopeless is not None:
            hopeless += scheduler.drop_hopeless()
        behind = [at for other, at in running.items() if other != number]
        yield number, epoch, verdict, bool(num_to_come) or min(behind, default=math.inf) < epoch
