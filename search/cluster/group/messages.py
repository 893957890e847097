"""What the driver, a lane and its workers send each other.

The driver and a lane exchange dicts, because Ray Tune requires them, with one of these classes in each. The requests of
a lane to its workers go to all ranks unless they name rank 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import ray

from model.segmentation_network import NetworkConfig
from model.training.train_config import TrainConfig
from search.cluster.group.channel import Address, LocalChannel
from search.record.epochs import METRIC, EpochMetrics
from search.record.trials import Sample
from search.storage.storage_path import StoragePath

LEG = "leg"
"""The only key of the config that Tune passes on to a lane."""

REPORT = "report"
"""The key of a LaneReport in one of Tune's results."""

WORKER = "worker"
"""The only key of the config that Ray Train passes on to a worker."""


@dataclass(frozen=True, kw_only=True)
class LegConfig:
    """The leg that a lane trains next."""

    number: int
    """The trial's number."""

    sample: Sample
    folder: str
    """The name of the leg's folder for checkpoints, such as "t007-2"."""

    checkpoint: str | None
    """The state file of the trial's newest checkpoint, from which the leg starts; None if the trial has none."""

    best_dice: float
    """The best validation Dice of all trials so far; -inf if there is none."""


@dataclass(frozen=True, kw_only=True)
class LaneReport:
    """What a lane reports to the driver after an epoch."""

    metrics: EpochMetrics
    """The metrics of the epoch; of epoch 0 if training raised."""

    finished: bool
    """Whether the training is over."""

    failure: str | None = None
    """Why the trial cannot continue; None if it can."""

    raised: bool = False
    """Whether training raised, so that there is no state to save."""

    slices: bytes | None = None
    """A few validation slices as the network predicts them, packed, if the epoch is the best so far; else None."""

    changed: tuple[str, ...] = ()
    """The addresses of the lane's machines on which the program is not the one that the search began with."""

    def to_result(self) -> dict[str, object]:
        """Return the result in which Tune takes the report. Tune requires its metric, and "done" ends the leg."""
        return {METRIC: self.metrics.val_dice, "done": self.finished, REPORT: self}


def find_report(result: Mapping[str, object]) -> LaneReport | None:
    """Return the report in one of Tune's results; None if the result is empty, because no epoch has ended."""
    report = result.get(REPORT)
    assert report is None or isinstance(report, LaneReport)
    return report


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What a worker is given when it starts."""

    address: Address | LocalChannel
    """Where it reaches its lane, or its end of the channel if it runs in the lane's process."""

    packs: tuple[ray.ObjectRef, ray.ObjectRef]
    """The packs of training and validation patients."""

    num_threads: int
    gpus: float
    """The GPUs that it books: 0, 1, or a share of one."""


@dataclass(frozen=True, kw_only=True)
class StartTrial:
    """Take the next trial. Its training begins with the first TrainEpoch. There is no reply."""

    network: NetworkConfig
    train: TrainConfig
    checkpoint: bytes | None
    """The content of the checkpoint to start from; None for a new trial."""


@dataclass(frozen=True, kw_only=True)
class TrainEpoch:
    """Train one epoch. The reply is a Report, a Failure or a Halt."""


@dataclass(frozen=True, kw_only=True)
class HaltEpoch:
    """End the epoch under way at the next batch. There is no reply of its own.

    It is the only request that may be sent before TrainEpoch is answered.
    """


@dataclass(frozen=True, kw_only=True)
class SaveState:
    """Write the state after the last batch; for rank 0 only. The reply is whether it was written."""

    file: StoragePath


@dataclass(frozen=True, kw_only=True)
class TellMachine:
    """Reply with the Machine on which the worker runs."""


@dataclass(frozen=True, kw_only=True)
class PredictSlices:
    """Predict a few validation slices; for rank 0 only. The reply is a PredictedSlices, or None if that failed."""


@dataclass(frozen=True, kw_only=True)
class EndRun:
    """End the run. There is no reply."""


Request: TypeAlias = StartTrial | TrainEpoch | HaltEpoch | SaveState | TellMachine | PredictSlices | EndRun
"""What a lane asks of a worker."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Says where a lane or a worker runs, and with which program."""

    node: str
    """The id of Ray's node."""

    address: str
    program: str
    """The fingerprint of the program there."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A rank's reply after an epoch."""

    metrics: dict[str, float]
    finished: bool
    failure: str | None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A rank's reply when training raised an exception."""

    message: str
    traceback: str


@dataclass(frozen=True, kw_only=True)
class Halt:
    """A rank's reply when it stopped in the middle of an epoch because of HaltEpoch."""

    epoch: int
    """The last whole epoch; 0 if the first has not ended."""

    num_batches: int
    """How many batches of the next epoch are done."""


EpochReply: TypeAlias = Report | Failure | Halt
"""A rank's reply to TrainEpoch."""
