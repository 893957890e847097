"""Lanes that do what search/cluster/group/lane.py does, without Ray, workers and training."""

import json
import math
import random
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from search.cluster.group.messages import LEG, LaneReport, LegConfig
from search.coordination.checkpoints import METRICS_FILE, STATE_FILE
from search.record.checkpoint_record import CheckpointRecord
from search.record.epochs import EpochMetrics

MAX_EPOCHS = 5


class Kind(Enum):
    """What an epoch can report that is out of the ordinary."""

    NAN = "the validation Dice is undefined"
    BROKEN = "the loss is not finite"
    RAISED = "training raises"
    LAST = "training is over, because it no longer improves"


class Reports:
    """What each epoch of each trial reports, whenever and however often it is trained."""

    def __init__(self, seed: int, kinds: dict[tuple[int, int], Kind] | None = None) -> None:
        """Begin with epochs that are out of the ordinary, by trial and number."""
        self._seed = seed
        self.kinds = kinds or {}

    def of(self, number: int, epoch: int) -> LaneReport:
        """Return the report of an epoch. Its Dice has one digit, so that some trials are equals."""
        kind = self.kinds.get((number, epoch))
        if kind == Kind.RAISED:
            return LaneReport(metrics=EpochMetrics(epoch=0), finished=True, failure="ValueError: odd", raised=True)
        has_dice = kind not in (Kind.NAN, Kind.BROKEN)
        dice = round(random.Random(f"{self._seed} {number} {epoch}").random(), 1) if has_dice else math.nan
        return LaneReport(
            metrics=EpochMetrics(epoch=epoch, val_dice=dice, seconds=1.0),
            finished=epoch == MAX_EPOCHS or kind in (Kind.BROKEN, Kind.LAST),
            failure="train_loss was nan" if kind == Kind.BROKEN else None,
        )


class Written(Enum):
    """How far a lane has come with a checkpoint."""

    NOTHING = "not begun"
    STATE = "the state, but not its description"
    TORN = "a part of the description"
    WHOLE = "all of it"


@dataclass(frozen=True, kw_only=True)
class TuneTrial:
    """What the adapter looks at in one of Tune's trials."""

    config: dict[str, LegConfig]
    error_file: str | None = None
    pickled_error_file: str | None = None


@dataclass(kw_only=True)
class PlayedLane:
    """A lane in the middle of a leg."""

    name: str
    leg: LegConfig
    history: list[EpochMetrics] = field(default_factory=list)
    """Every whole epoch of the trial, first to last."""

    num_checkpoints: int = 0
    report: LaneReport | None = None
    """The report of an epoch whose checkpoint is not written yet."""

    repeats: bool = False
    """Whether it reports an epoch that the checkpoint has from which the leg started."""

    ends: bool = False
    """Whether the leg ends as soon as the checkpoint is written."""

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.leg.number

    @property
    def epoch(self) -> int:
        """The last whole epoch; 0 before the first."""
        return self.history[-1].epoch if self.history else 0

    @property
    def tune_trial(self) -> TuneTrial:
        """What Tune knows of its leg."""
        return TuneTrial(config={LEG: self.leg})

    def start(self) -> None:
        """Take the newest checkpoint."""
        if self.leg.checkpoint:
            values = json.loads((Path(self.leg.checkpoint).parent / METRICS_FILE).read_text())
            self.history = list(CheckpointRecord.from_json(values).history)

    def train(self, reports: Reports) -> LaneReport:
        """Return the report of the next epoch; of the last one again if the training was over before the leg."""
        self.repeats = self.epoch > 0 and reports.of(self.number, self.epoch).finished
        self.report = reports.of(self.number, self.epoch if self.repeats else self.epoch + 1)
        if not self.repeats and not self.report.raised:
            self.history.append(self.report.metrics)
        self.ends = self.report.finished
        return self.report

    def write(self, ray_folder: Path, written: Written = Written.WHOLE, *, num_batches: int = 0) -> str:
        """Write a checkpoint after the last epoch, or after some batches of the next one, and return its folder."""
        folder = ray_folder / self.leg.folder / f"checkpoint_{self.num_checkpoints:06d}"
        self.num_checkpoints += 1
        metrics = EpochMetrics(epoch=self.epoch) if num_batches or not self.history else self.history[-1]
        record = CheckpointRecord(metrics=metrics, num_batches=num_batches, history=tuple(self.history))
        if self.report is not None:
            record = replace(record, finished=self.report.finished, failure=self.report.failure)
        content = json.dumps(record.to_json())
        if written != Written.NOTHING:
            folder.mkdir()
            (folder / STATE_FILE).write_text(f"{self.epoch} {num_batches}")
        if written in (Written.TORN, Written.WHOLE):
            (folder / METRICS_FILE).write_text(content if written == Written.WHOLE else content[: len(content) // 2])
        return str(folder)
