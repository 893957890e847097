"""Complete the log of a killed search with what only its checkpoints know."""

from pathlib import Path

from search.coordination.checkpoints import Checkpoints
from search.record import events
from search.record.events import append_event, read_events


def log_missing_epochs(log: Path, checkpoints: Checkpoints) -> None:
    """Append the epochs that ended before the search was killed, but are in no event.

    A lane writes a checkpoint before the driver logs its epoch, and a bucket gets the log only every few seconds.
    Without this, such a trial would go on after an epoch that no table has and no scheduler has judged. Checkpoints of
    trials that the log does not know are removed, because their numbers will be those of other trials.
    """
    known: dict[int, set[int]] = {}
    over: set[int] = set()
    for event in read_events(log):
        epochs = known.setdefault(event.number, set())
        match event:
            case events.EpochEnded():
                epochs.add(event.metrics.epoch)
            case events.Ended() | events.GivenUp():
                over.add(event.number)
    for number, epochs in known.items():
        if number in over or checkpoints.last_epoch(number) <= max(epochs, default=0):
            continue
        if missing := [epoch for epoch in checkpoints.history(number) if epoch.epoch not in epochs]:
            append_event(log, events.LegStarted(number=number))
        for epoch in missing:
            append_event(log, events.EpochEnded(number=number, metrics=epoch, finished=False, failure=None))
    for number in checkpoints.numbers - known.keys():
        checkpoints.drop(number)
