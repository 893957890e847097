"""A coordinator with a real searcher and scheduler, whose trials follow closed-form learning curves."""

from pathlib import Path

from search.coordination.coordinator import Coordinator
from search.coordination.trial_progress import Leg
from search.record.trials import State
from search.scheduling.scheduler import SchedulerRequest
from search.scheduling.schedulers import SCHEDULERS
from search.space.named import CORE
from search.suggestion.searcher import OptunaSearcher
from tests.support.fakes import Rows, learning_curve
from tests.support.simulation import simulate

MAX_EPOCHS = 9
NAMES = {State.COMPLETE: "COMPLETE", State.PRUNED: "PRUNED", State.FAILED: "FAIL"}


def coordinator(
    *,
    trials: int = 12,
    scheduler: str = "asha",
    log: Path | None = None,
    max_failures: int = 3,
    objectives: tuple[str, ...] = ("val_dice",),
) -> tuple[Coordinator, Rows, OptunaSearcher]:
    rows = Rows()
    searcher = OptunaSearcher(
        CORE, sampler="tpe", seed=0, num_trials=trials, max_epochs=MAX_EPOCHS, objectives=objectives
    )
    request = SchedulerRequest(num_trials=trials, max_epochs=MAX_EPOCHS, grace_period=1, reduction_factor=3)
    search = Coordinator(
        searcher,
        SCHEDULERS[scheduler].make(request),
        num_trials=trials,
        listener=rows,
        objectives=objectives,
        log=log,
        max_failures=max_failures,
    )
    return search, rows, searcher


def next_leg(search: Coordinator) -> Leg:
    """Return the next leg of a search that has one."""
    leg = search.next_leg()
    assert leg is not None
    return leg


def closed_form(leg: Leg, epoch: int) -> float:
    return learning_curve(leg.sample, epoch)


def run(search: Coordinator, curve=closed_form, **options) -> list[tuple]:
    epochs = list(simulate(search, curve, max_epochs=MAX_EPOCHS, **options))
    search.stop(None)
    return epochs


def table(search: Coordinator, rows: Rows) -> list[tuple]:
    """Return what two runs of a search must have in common."""
    return [
        (
            number,
            trial.sample,
            {epoch: metrics.val_dice for epoch, metrics in trial.epochs.items()},
            rows.ended[number],
        )
        for number, trial in sorted(search.trials.items())
    ]
