"""The description of a checkpoint, which is in the metrics.json beside its state."""

from dataclasses import dataclass

from search.record.codec import JsonObject, from_json
from search.record.epochs import EpochMetrics

OTHERS = ("num_batches", "history", "finished", "failure")
"""The keys of the file that are no metrics."""


@dataclass(frozen=True, kw_only=True)
class CheckpointRecord:
    """When in its trial a checkpoint was taken: after an epoch, or in the middle of one."""

    metrics: EpochMetrics
    """Metrics of the last whole epoch. If the checkpoint was taken in the middle of the next epoch, they have no Dice,
    so that the checkpoint is never a trial's best."""

    num_batches: int = 0
    """Batches of the next epoch that are done."""

    history: tuple[EpochMetrics, ...] = ()
    """Every whole epoch of the trial, first to last."""

    finished: bool = False
    """Whether the training was over."""

    failure: str | None = None
    """Why the trial could not continue; None if it could."""

    @classmethod
    def from_json(cls, values: object, where: str = "checkpoint") -> "CheckpointRecord":
        """Return the record in a checkpoint's metrics.json, where the metrics are on the same level as the other keys.

        Raises:
            UserError: The file was not written by this program.
        """
        if isinstance(values, dict):
            metrics = {name: value for name, value in values.items() if name not in OTHERS}
            values = values | {"metrics": metrics}
        return from_json(cls, values, where)

    def to_json(self) -> JsonObject:
        """Return the JSON object that `from_json` reads."""
        num_batches = {"num_batches": self.num_batches} if self.num_batches else {}
        history = {"history": [epoch.to_json() for epoch in self.history]}
        end = {"finished": True, "failure": self.failure} if self.finished else {}
        return self.metrics.to_json() | num_batches | history | end
