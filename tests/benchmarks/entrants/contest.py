"""The rules that hold for every entrant: what it is given, what it returns, and how it is scored."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from data.patient import Patient, Volume
from data.source import Source, find_source
from model.scoring.evaluate import evaluate_patient

BATCH_SIZE = 16
"""Slices in a batch of every entrant except nnU-Net, which plans its own."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an entrant is given."""

    entrant: str
    data: str
    """Patients to train on, as for `search.tune`."""

    test: str
    """Patients to predict."""

    minutes: float
    started: float
    """When the clock began, as `time.time()` counts."""

    folder: Path
    """An empty folder to work in."""

    size: int
    reference_size: int
    search_options: tuple[str, ...]

    @property
    def seconds_used(self) -> float:
        """Seconds since the clock began."""
        return time.time() - self.started

    @property
    def seconds_left(self) -> float:
        """Seconds until the clock ends; negative after that."""
        return 60 * self.minutes - self.seconds_used


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What an entrant returns when its time is up."""

    predict: Callable[[Volume], Bool[np.ndarray, "slices height width"]]
    """Returns the masks of a patient, in the size of its slices. It looks at the images alone."""

    facts: Mapping[str, object]
    """What was trained, such as the numbers of trainings and of epochs."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """An entrant that has trained and was scored."""

    entrant: str
    seconds: float
    """Seconds from the start of the clock until the entrant was ready to predict."""

    dice: dict[str, float]
    """Dice by test patient, in the masks' own size; nan if mask and prediction are both empty."""

    facts: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """Where an entrant is written, and what it needs."""

    module: str
    function: str
    packages: tuple[str, ...] = ()
    """Packages that it needs besides those of this program."""

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [package for package in self.packages if find_spec(package) is None]


ENTRANTS = {
    "ours": Entrant(module="program", function="search"),
    "default": Entrant(module="program", function="train_default"),
    "default_ensemble": Entrant(module="program", function="train_ensemble"),
    "reference": Entrant(module="reference", function="train_reference"),
    "monai": Entrant(module="monai_unet", function="train_monai", packages=("monai",)),
    "nnunet": Entrant(module="nnunet", function="train_nnunet", packages=("nnunetv2",)),
}


def compete(task: Task) -> Score:
    """Let an entrant train until its time is up, predict the test patients, and return its score."""
    entrant = ENTRANTS[task.entrant]
    trained: Trained = getattr(import_module(f"tests.benchmarks.entrants.{entrant.module}"), entrant.function)(task)
    seconds = task.seconds_used
    dice = {}
    for patient in read_source(task.test).patients:
        volume = patient.read()
        dice[patient.id] = evaluate_patient(patient.id, trained.predict(volume)[None], volume.masks).dice
    return Score(entrant=task.entrant, seconds=round(seconds, 1), dice=dice, facts=trained.facts)


def read_source(name: str) -> Source:
    return find_source(name, phantom_root=Path(tempfile.gettempdir()))


def read_patients(task: Task) -> tuple[Patient, ...]:
    """Return the patients to train on; their files are not decoded yet."""
    return read_source(task.data).patients
