"""What really happened in a played search, which the search must never contradict."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from search.coordination.checkpoints import METRICS_FILE, STATE_FILE, leg_of
from search.record import events
from search.record.events import Event
from search.storage.storage_path import local_path
from tests.support.played_lanes import Reports


@dataclass(kw_only=True)
class Books:
    """Epochs and checkpoints, by the numbers of their trials."""

    recorded: defaultdict[int, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    """The Dice of each epoch that the driver knows."""

    on_disk: defaultdict[int, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))
    """Epoch, and batches of the next epoch, of each checkpoint that was ever whole."""

    num_trained: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often each epoch was trained."""

    num_unsaved: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often an epoch was trained and its checkpoint did not come about."""

    folders: set[str] = field(default_factory=set)
    """The names of all legs' folders."""

    def begin_leg(self, number: int, folder: str, checkpoint: str | None) -> None:
        """Check that a leg starts from its trial's newest checkpoint, and in a folder of its own."""
        assert folder not in self.folders
        self.folders.add(folder)
        newest = max(self.on_disk[number], default=None)
        found = Path(checkpoint).read_text() if checkpoint else None
        assert found == (f"{newest[0]} {newest[1]}" if newest else None), (
            f"trial {number} starts from {found}, not {newest}"
        )

    def train(self, number: int, epoch: int) -> None:
        """Check that an epoch is trained once, and once more for each time that its checkpoint did not come about."""
        self.num_trained[number, epoch] += 1
        assert self.num_trained[number, epoch] <= 1 + self.num_unsaved[number, epoch], f"again: {number}, {epoch}"

    def restore(self, log: list[Event], reports: Reports) -> None:
        """Record what a new process must know, from the log and the checkpoints that were left."""
        before, self.recorded = self.recorded, defaultdict(dict)
        over = {event.number for event in log if isinstance(event, events.Ended | events.GivenUp)}
        for event in log:
            known = self.recorded[event.number]
            if isinstance(event, events.EpochEnded) and event.metrics.epoch:
                known[event.metrics.epoch] = event.metrics.val_dice
        for number in self.recorded.keys() - over:
            for epoch in range(1, max((epoch for epoch, _ in self.on_disk[number]), default=0) + 1):
                self.recorded[number].setdefault(epoch, reports.of(number, epoch).metrics.val_dice)
        for number in before.keys() - self.recorded.keys():
            self._forget(number)

    def _forget(self, number: int) -> None:
        """Forget a trial that the log has lost, whose number is given out again."""
        self.on_disk.pop(number, None)
        for counter in (self.num_trained, self.num_unsaved):
            for key in [key for key in counter if key[0] == number]:
                del counter[key]

    def look_at_disk(self, ray: Path) -> None:
        """Trust the disk alone, after a crash that could lose the end of a trial whose checkpoints were removed."""
        self.on_disk.clear()
        self.num_trained.clear()
        for description in ray.glob(f"*/*/{METRICS_FILE}"):
            state = description.with_name(STATE_FILE).read_text().split()
            leg = leg_of(description.parent.parent.name)
            if leg and local_path(description).read_json() is not None:
                self.on_disk[leg[0]].add((int(state[0]), int(state[1])))
