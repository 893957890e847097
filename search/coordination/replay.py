"""Read the trials of a search from its log, as `--resume` does, but without a searcher."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from search.coordination.coordinator import Coordinator
from search.coordination.listener import Listeners
from search.coordination.trial_progress import TrialProgress
from search.record.trials import State
from search.scheduling.scheduler import Scheduler
from search.suggestion.searcher import NO_COSTS, Observation, Suggestion


def replay(
    log: Path, scheduler: Scheduler, *, num_trials: int, objectives: Sequence[str], max_failures: int
) -> list[TrialProgress]:
    """Return every trial in a log, in the order in which they began.

    Args:
        scheduler: A new scheduler of the same kind as the search's.

    Raises:
        UserError: The log is damaged, or a newer version of the program wrote it.
    """
    coordinator = Coordinator(
        NoSearcher(),
        scheduler,
        num_trials=num_trials,
        listener=Listeners(),
        objectives=objectives,
        max_failures=max_failures,
        log=log,
    )
    coordinator.restore(lambda number: sys.maxsize)
    return list(coordinator.trials.values())


class NoSearcher:
    """A searcher that remembers nothing and suggests nothing."""

    def suggest(self) -> Suggestion:
        raise NotImplementedError("a replayed log suggests no trials")

    def report(self, number: int, epoch: int, value: float, *, costs: Mapping[str, float] = NO_COSTS) -> None: ...

    def end(self, number: int, state: State) -> None: ...

    def restore(self, number: int, observation: Observation) -> None: ...
