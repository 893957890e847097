"""The checkpoints of a search on disk: Tune has them written, this finds them and removes what nobody needs any more.

A trial is trained in legs (search/coordinator.py); every leg is a folder `t007-2` under Ray Tune's, and in it an
epoch is a `checkpoint_NNNNNN/`. Of a trial, the best and the newest of all its legs are kept.
"""

import json
import math
import shutil
from pathlib import Path

from search.trials import METRIC, trial_id

STATE_FILE = "checkpoint.pt"
METRICS_FILE = "metrics.json"
"""In every checkpoint folder: the training's state, and then the metrics of the epoch that it was taken after. In the
middle of an epoch that is the last whole one, without its Dice, and `num_batches` of the next are done."""


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
        """Return the state file of a trial's last batch that is whole; None if there is none."""
        return _newest(self._whole(number))

    def best(self, number: int) -> Path | None:
        """Return the state file of a trial's best epoch, the earlier one among equals; None if none has a score."""
        return _best(self._whole(number))

    def last_epoch(self, number: int) -> int:
        """Return the last whole epoch that a trial need not train again; 0 if there is none."""
        return max((epoch["epoch"] for _, epoch in self._whole(number)), default=0)

    def next_leg(self, number: int) -> str:
        """Return the folder's name of a trial's next leg."""
        return leg_name(number, len(self._legs(number)) + 1)

    def tidy(self, number: int, *, goes_on: bool) -> None:
        """Keep a trial's best checkpoint, and the newest if it goes on; not while one is being written."""
        whole = self._whole(number)
        kept = {file.parent for file in (_best(whole), _newest(whole) if goes_on else None) if file}
        self._remove(number, kept=kept)
        self._num_bytes[number] = sum(file.stat().st_size for folder in kept for file in folder.iterdir())

    def drop(self, number: int) -> None:
        """Remove a trial's checkpoints. The empty folders of its legs stay, as their count."""
        self._remove(number, kept=set())
        self._num_bytes.pop(number, None)

    def _remove(self, number: int, *, kept: set[Path]) -> None:
        for leg in self._legs(number):
            for folder in leg.glob("checkpoint_*"):
                if folder not in kept:
                    shutil.rmtree(folder, ignore_errors=True)

    def _whole(self, number: int) -> list[tuple[Path, dict[str, float]]]:
        """Return the folders and epochs of a trial's checkpoints that were not cut off."""
        whole = []
        for leg in self._legs(number):
            for file in leg.glob(f"checkpoint_*/{METRICS_FILE}"):
                try:
                    epoch = json.loads(file.read_text())
                except (json.JSONDecodeError, FileNotFoundError):  # cut off while it was written; Tune removed it
                    continue
                if file.with_name(STATE_FILE).exists():
                    whole.append((file.parent, epoch))
        return whole

    def _legs(self, number: int) -> list[Path]:
        """Return the folders of a trial's legs, without listing those of the others."""
        legs, index = [], 1
        while (leg := self._folder / leg_name(number, index)).exists():
            legs.append(leg)
            index += 1
        return legs


def _newest(whole: list[tuple[Path, dict[str, float]]]) -> Path | None:
    found = [(epoch["epoch"], epoch.get("num_batches", 0), folder) for folder, epoch in whole]
    return max(found)[-1] / STATE_FILE if found else None


def _best(whole: list[tuple[Path, dict[str, float]]]) -> Path | None:
    scored = [
        (-epoch[METRIC], epoch["epoch"], folder)
        for folder, epoch in whole
        if math.isfinite(epoch.get(METRIC, math.nan))
    ]
    return min(scored)[2] / STATE_FILE if scored else None


def leg_name(number: int, index: int) -> str:
    """Return the folder of a trial's leg, counted from 1."""
    return f"{trial_id(number)}-{index}"
