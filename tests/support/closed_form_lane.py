"""A lane that does not train: its epochs sleep, and their Dice has a closed form."""

import json
import time
from pathlib import Path
from typing import Any

from ray import tune

from search.coordination.checkpoints import METRICS_FILE, STATE_FILE
from search.record.epochs import METRIC
from tests.support.fakes import learning_curve


class ClosedFormLane(tune.Trainable):
    """A Trainable that reports what search.cluster.group.lane.Lane reports."""

    def setup(  # pyright: ignore[reportIncompatibleMethodOverride] (tune.with_parameters gives the keywords)
        self, config: dict[str, Any], *, max_epochs: int, epoch_seconds: float
    ) -> None:
        self._max_epochs = max_epochs
        self._epoch_seconds = epoch_seconds
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._sample = new_config["sample"]
        checkpoint = new_config["checkpoint"]
        self._epoch = int(Path(checkpoint).read_text()) if checkpoint else 0
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(self._epoch_seconds)
        self._epoch += 1
        dice = learning_curve(self._sample, self._epoch)
        self._metrics = {"epoch": self._epoch, METRIC: dice, "seconds": self._epoch_seconds}
        finished = self._epoch >= self._max_epochs
        return {METRIC: dice, "metrics": self._metrics, "finished": finished, "failure": None, "done": finished}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / STATE_FILE).write_text(str(self._epoch))
        (Path(checkpoint_dir) / METRICS_FILE).write_text(json.dumps(self._metrics | {"history": []}))
