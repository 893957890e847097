"""Complete the log of a killed search with what only its checkpoints know."""

from dataclasses import dataclass, field
from pathlib import Path

from search.coordination.checkpoints import Checkpoints
from search.record import events
from search.record.checkpoint_record import CheckpointRecord
from search.record.events import Event, append_event, read_events


def log_missing_epochs(log: Path, checkpoints: Checkpoints) -> None:
    """Append the epochs and the ends of trials that came before the search was killed, but are in no event.

    A lane writes a checkpoint before the driver logs its epoch, and a bucket gets the log only every few seconds.
    Without this, such a trial would go on after an epoch that no table has and no scheduler has judged. Checkpoints of
    trials that the log does not know are removed, because their numbers will be those of other trials.
    """
    known: dict[int, _Logged] = {}
    for event in read_events(log):
        known.setdefault(event.number, _Logged()).add(event)
    for number, logged in known.items():
        if logged.is_over or checkpoints.last_epoch(number) < logged.last_epoch:
            continue
        if checkpoints.last_epoch(number) > logged.last_epoch and (record := checkpoints.newest_record(number)):
            for event in _missing(number, logged, record):
                append_event(log, event)
                logged.add(event)
        if logged.is_finished:  # from now on at most its best checkpoint is left
            append_event(log, events.Ended(number=number))
    for number in checkpoints.numbers - known.keys():
        checkpoints.drop(number)


@dataclass
class _Logged:
    """What the log says of a trial."""

    epochs: set[int] = field(default_factory=set)
    is_finished: bool = False
    """Whether the last that it says is that training was over."""

    is_over: bool = False

    @property
    def last_epoch(self) -> int:
        return max(self.epochs, default=0)

    def add(self, event: Event) -> None:
        self.is_finished = isinstance(event, events.EpochEnded) and event.finished
        self.is_over = self.is_over or isinstance(event, events.Ended | events.GivenUp)
        if isinstance(event, events.EpochEnded):
            self.epochs.add(event.metrics.epoch)


def _missing(number: int, logged: _Logged, record: CheckpointRecord) -> list[Event]:
    """Return the events of a trial's missing epochs, each in a leg of its own.

    If the scheduler had paused the trial after the epoch before, it was promoted there, which a leg's event says.
    """
    found: list[Event] = []
    for epoch in (epoch for epoch in record.history if epoch.epoch not in logged.epochs):
        is_last = epoch == record.history[-1]
        end = {"finished": is_last and record.finished, "failure": record.failure if is_last else None}
        found += [events.LegStarted(number=number), events.EpochEnded(number=number, metrics=epoch, **end)]
    return found
