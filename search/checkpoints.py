"""The checkpoints of a search on disk: Tune has them written, this finds them and removes what nobody needs any more.

A trial is trained in legs (search/coordinator.py); every leg is a folder `t007-2` under Ray Tune's, and in it an
epoch is a `checkpoint_NNNNNN/`. Of a trial, the best and the newest of all its legs are kept.
"""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

from search.trials import METRIC, trial_id

STATE_FILE = "checkpoint.pt"
METRICS_FILE = "metrics.json"
"""In every checkpoint folder: the training's state, and then the metrics of the epoch that it was taken after."""


class Checkpoints:
    """The checkpoints of all trials of one search."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._num_bytes: dict[int, int] = {}

    @property
    def total_bytes(self) -> int:
        """What the trials that were tidied take."""
        return sum(self._num_bytes.values())

    def newest(self, number: int) -> Path | None:
        """Return the state file of a trial's last epoch that is whole; None if there is none."""
        found = [(epoch["epoch"], folder) for folder, epoch in self._whole(number)]
        return max(found)[1] / STATE_FILE if found else None

    def best(self, number: int) -> Path | None:
        """Return the state file of a trial's best epoch, the earlier one among equals; None if none has a score."""
        scored = [
            (-epoch[METRIC], epoch["epoch"], folder)
            for folder, epoch in self._whole(number)
            if math.isfinite(epoch.get(METRIC, math.nan))
        ]
        return min(scored)[2] / STATE_FILE if scored else None

    def last_epoch(self, number: int) -> int:
        """Return the epoch after which a trial can go on; 0 if it must begin again."""
        return max((epoch["epoch"] for _, epoch in self._whole(number)), default=0)

    def next_leg(self, number: int) -> str:
        """Return the folder's name of a trial's next leg."""
        return leg_name(number, len(self._legs(number)) + 1)

    def tidy(self, number: int, *, goes_on: bool) -> None:
        """Keep a trial's best checkpoint, and the newest if it goes on; not while one is being written."""
        files = (self.best(number), self.newest(number) if goes_on else None)
        kept = {file.parent for file in files if file}
        for leg in self._legs(number):
            for folder in leg.glob("checkpoint_*"):
                if folder not in kept:
                    shutil.rmtree(folder, ignore_errors=True)
        self._num_bytes[number] = sum(file.stat().st_size for folder in kept for file in folder.iterdir())

    def drop(self, number: int) -> None:
        """Remove a trial's checkpoints. The empty folders of its legs stay, as their count."""
        for leg in self._legs(number):
            for folder in leg.glob("checkpoint_*"):
                shutil.rmtree(folder, ignore_errors=True)
        self._num_bytes.pop(number, None)

    def _whole(self, number: int) -> Iterator[tuple[Path, dict[str, float]]]:
        for leg in self._legs(number):
            for file in leg.glob(f"checkpoint_*/{METRICS_FILE}"):
                try:
                    epoch = json.loads(file.read_text())
                except (json.JSONDecodeError, FileNotFoundError):  # cut off while it was written; Tune removed it
                    continue
                if file.with_name(STATE_FILE).exists():
                    yield file.parent, epoch

    def _legs(self, number: int) -> list[Path]:
        """Return the folders of a trial's legs, without listing those of the others."""
        legs, index = [], 1
        while (leg := self._folder / leg_name(number, index)).exists():
            legs.append(leg)
            index += 1
        return legs


def leg_name(number: int, index: int) -> str:
    """Return the folder of a trial's leg, counted from 1."""
    return f"{trial_id(number)}-{index}"
