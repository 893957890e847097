"""A lane that does not train: its epochs sleep, and their Dice has a closed form."""

import json
import time
from pathlib import Path

from ray import tune

from search.cluster.group.messages import LEG, LaneReport, LegConfig
from search.coordination.checkpoints import METRICS_FILE, STATE_FILE
from search.record.checkpoint_record import CheckpointRecord
from search.record.epochs import EpochMetrics
from tests.support.fakes import learning_curve


class ClosedFormLane(tune.Trainable):
    """A Trainable that reports what search.cluster.group.lane.Lane reports."""

    def setup(  # pyright: ignore[reportIncompatibleMethodOverride] (tune.with_parameters gives the keywords)
        self, config: dict[str, LegConfig], *, max_epochs: int, epoch_seconds: float
    ) -> None:
        self._max_epochs = max_epochs
        self._epoch_seconds = epoch_seconds
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, LegConfig]) -> bool:
        self._leg = new_config[LEG]
        self._epoch = int(Path(self._leg.checkpoint).read_text()) if self._leg.checkpoint else 0
        return True

    def step(self) -> dict[str, object]:
        time.sleep(self._epoch_seconds)
        self._epoch += 1
        dice = learning_curve(self._leg.sample, self._epoch)
        self._metrics = EpochMetrics(epoch=self._epoch, val_dice=dice, seconds=self._epoch_seconds)
        return LaneReport(metrics=self._metrics, finished=self._epoch >= self._max_epochs).to_result()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / STATE_FILE).write_text(str(self._epoch))
        (Path(checkpoint_dir) / METRICS_FILE).write_text(json.dumps(CheckpointRecord(metrics=self._metrics).to_json()))
