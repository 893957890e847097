"""Learning curves that tests/benchmarks/record_curves.py recorded: the Dice of every patient after every epoch."""

import functools
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from data.atomic import write
from search.record.trials import Sample

NEAR = 0.2
"""Standard deviation of the configurations that are drawn near the default, as a share of an axis."""

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
    """The configurations; the first was the program's default."""

    dice: Float[np.ndarray, "configurations seeds epochs patients"]
    ensembles: dict[int, Float[np.ndarray, " patients"]]
    """The Dice of each patient by the average of so many networks of the default."""

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

    def test_of_ensemble(self, size: int) -> float:
        """Return the mean Dice over test patients of the largest recorded ensemble that has at most so many networks.

        Raises:
            ValueError: None was recorded.
        """
        largest = max(one for one in self.ensembles if one <= size)
        return float(np.nan_to_num(_mean(self.ensembles[largest][self.is_test])))

    def divided(self, rng: np.random.Generator) -> "RecordedCurves":
        """Return the task with other test patients, as many as before: no training has seen any of the patients."""
        return replace(self, is_test=rng.permutation(self.is_test))

    def select(self, configurations: np.ndarray) -> "RecordedCurves":
        """Return the same task with these configurations only."""
        samples = [self.samples[one] for one in configurations]
        return replace(self, samples=samples, dice=self.dice[configurations], seconds=self.seconds[configurations])


def _mean(dice: np.ndarray) -> np.ndarray:
    known = np.isfinite(dice)
    return np.where(known, dice, 0.0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)


def write_curves(path: Path, curves: RecordedCurves) -> None:
    """Write a task to a file."""
    text = json.dumps({"header": curves.header, "samples": curves.samples, "ensembles": list(curves.ensembles)})
    dice, ensembles = (_packed(one) for one in (curves.dice, np.array(list(curves.ensembles.values()))))
    content = io.BytesIO()
    np.savez_compressed(
        content,
        dice=dice,
        ensembles=ensembles,
        is_test=curves.is_test,
        seconds=curves.seconds,
        text=np.array(text),
    )
    write(path, content.getvalue())


def _packed(dice: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(dice), np.round(dice * SCALE), UNDEFINED).astype(np.uint16)


def _unpacked(stored: np.ndarray) -> np.ndarray:
    return np.where(stored == UNDEFINED, np.nan, stored / SCALE)


@functools.cache
def read_curves(path: Path) -> RecordedCurves:
    """Return the task in a file, which each process reads only once."""
    with np.load(path, allow_pickle=False) as arrays:
        text = json.loads(str(arrays["text"]))
        return RecordedCurves(
            header=text["header"],
            samples=text["samples"],
            dice=_unpacked(arrays["dice"]),
            ensembles=dict(zip(text["ensembles"], _unpacked(arrays["ensembles"]), strict=True)),
            is_test=arrays["is_test"],
            seconds=arrays["seconds"],
        )
