"""The table of schedulers: what `--scheduler` can name.

A new scheduler needs a module that follows the protocol of scheduler.py, and a row in SCHEDULERS; the command line, its
help and its checks follow from the table.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from search.scheduling.halving import Asha, Hyperband
from search.scheduling.median import Median
from search.scheduling.scheduler import Scheduler, SchedulerRequest


@dataclass(frozen=True, kw_only=True)
class SchedulerKind:
    """A row of the table of schedulers."""

    make: Callable[[SchedulerRequest], Scheduler]
    description: str
    """A few words for the help text of `--scheduler`."""

    one_objective: bool = False
    """Whether it cannot rank trials by several objectives."""


def _run_to_the_end(request: SchedulerRequest) -> Scheduler:
    """Return a scheduler that stops nothing: an ASHA without rungs."""
    return Asha(replace(request, grace_period=request.max_epochs))


SCHEDULERS = {
    "asha": SchedulerKind(make=Asha, description="asynchronous successive halving"),
    "hyperband": SchedulerKind(make=Hyperband, description="several ASHAs with different grace periods"),
    "median": SchedulerKind(make=Median, description="the median stopping rule", one_objective=True),
    "none": SchedulerKind(make=_run_to_the_end, description="every trial gets all its epochs"),
}
"""The schedulers, by their name on the command line."""
