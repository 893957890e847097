"""Learning curves that tests/benchmarks/record_curves.py recorded: the Dice of every patient after every epoch."""

import functools
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from data.atomic import write
from search.record.trials import Sample

SCALE = 10_000
"""Dice is stored in whole ten-thousandths, which is far finer than two trainings of one configuration agree."""

UNDEFINED = 65_535
"""What stands for nan: after a failure, or for a patient without tumour and without prediction."""


@dataclass(frozen=True, kw_only=True)
class RecordedCurves:
    """A task: patients and a split, and many configurations that were trained on it with several seeds."""

    header: dict[str, object]
    """How it was recorded."""

    samples: list[Sample]
    """The configurations; the first is the default."""

    dice: Float[np.ndarray, "configurations seeds epochs patients"]
    is_test: Bool[np.ndarray, " patients"]
    """Whether a patient is a test patient; the others are validation patients."""

    seconds: Float[np.ndarray, " configurations"]
    """Mean seconds of an epoch, over the seeds."""

    @property
    def num_epochs(self) -> int:
        """Epochs of a whole training."""
        return self.dice.shape[2]

    @functools.cached_property
    def validation(self) -> Float[np.ndarray, "configurations seeds epochs"]:
        """The mean Dice over validation patients; 0 where it is undefined."""
        return np.nan_to_num(_mean(self.dice[..., ~self.is_test]))

    @functools.cached_property
    def test(self) -> Float[np.ndarray, "configurations seeds epochs"]:
        """The mean Dice over test patients; 0 where it is undefined."""
        return np.nan_to_num(_mean(self.dice[..., self.is_test]))

    def select(self, configurations: np.ndarray) -> "RecordedCurves":
        """Return the same task with these configurations only."""
        return RecordedCurves(
            header=self.header,
            samples=[self.samples[one] for one in configurations],
            dice=self.dice[configurations],
            is_test=self.is_test,
            seconds=self.seconds[configurations],
        )


def _mean(dice: np.ndarray) -> np.ndarray:
    known = np.isfinite(dice)
    return np.where(known, dice, 0.0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)


def write_curves(path: Path, curves: RecordedCurves) -> None:
    """Write a task to a file."""
    stored = np.where(np.isfinite(curves.dice), np.round(curves.dice * SCALE), UNDEFINED).astype(np.uint16)
    text = json.dumps({"header": curves.header, "samples": curves.samples})
    arrays = {"dice": stored, "is_test": curves.is_test, "seconds": curves.seconds, "text": np.array(text)}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write(path, content.getvalue())


@functools.cache
def read_curves(path: Path) -> RecordedCurves:
    """Return the task in a file, which each process reads only once."""
    with np.load(path, allow_pickle=False) as arrays:
        text = json.loads(str(arrays["text"]))
        stored = arrays["dice"]
        return RecordedCurves(
            header=text["header"],
            samples=text["samples"],
            dice=np.where(stored == UNDEFINED, np.nan, stored / SCALE),
            is_test=arrays["is_test"],
            seconds=arrays["seconds"],
        )
