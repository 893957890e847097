"""The task of a recording: patients, a split, and the configurations to train."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from data.errors import UserError
from data.packing.pack import Pack, join_packs, pack_patients
from data.preprocess import Preprocessing
from data.readers.phantom_drawing import write_phantom
from data.splitting.options import SplitOptions
from search.cohort import read_cohort
from search.config import SearchConfig
from search.record.trials import Sample
from search.space.configs import SharedSettings, default_sample
from search.space.named import CORE
from search.suggestion.unit_cube import UnitCube
from tests.support.recorded_curves import NEAR


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Record learning curves."""

    name: tyro.conf.Positional[str]
    """Name of the task, and of its file."""

    data: str = "phantom:24"
    """Patients, as for `search.tune`."""

    contrast: float | None = None
    """Contrast of the lesions of `phantom:N`, which are drawn anew; 0.4 is faint."""

    split_seed: int = 0
    """Seed of the split; another makes another task of the same patients."""

    configurations: int = 64
    """Number of configurations to train, the default included."""

    epochs: int = 27
    """Epochs per training."""

    seeds: int = 2
    """Trainings per configuration, which differ in weights, order, augmentation and dropout."""

    val_fraction: float = 0.25
    """Share of the patients on which a search compares trials."""

    test_fraction: float = 0.25
    """Share of the patients on which the promoted configuration is judged."""

    batch_size: int = 8
    """Slices per batch; small, so that few patients still give enough steps per epoch."""

    size: int = 64
    """Side of a slice in pixels; the deepest U-Net of the space needs at least 64."""

    width: int = 8
    """Features of the U-Net at full resolution."""

    ensemble: int = 16
    """Trainings of the default whose averages are judged, as what a budget without a search is worth."""

    processes: int = os.cpu_count() or 1
    """Configurations that are trained at the same time, on one thread each."""

    out: Path = Path(__file__).parents[1] / "results" / "curves"
    """Folder of the file."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """All trainings have this in common."""

    train_pack: Pack
    judged_pack: Pack
    """Validation and test patients."""

    num_test_patients: int
    """The last patients of `judged_pack` are the test patients."""

    settings: SharedSettings


def read_task(arguments: Arguments) -> Task:
    """Return the slices and settings of all trainings."""
    config = SearchConfig(
        data=_data(arguments),
        out=Path(tempfile.gettempdir()),  # phantoms are written there
        max_epochs=arguments.epochs,
        seed=arguments.split_seed,
        preprocessing=Preprocessing(size=arguments.size),
        splitting=SplitOptions(val_fraction=arguments.val_fraction, test_fraction=arguments.test_fraction),
        **{name: getattr(arguments, name) for name in ("width", "batch_size")},
    )
    cohort = read_cohort(config)
    judged = pack_patients(cohort.test_patients, config.preprocessing)
    return Task(
        train_pack=cohort.train_pack,
        judged_pack=join_packs([cohort.val_pack, judged]),
        num_test_patients=len(judged.patient_ids),
        settings=config.shared_settings(cohort.train_pack.num_channels),
    )


def _data(arguments: Arguments) -> str:
    """Return the source of the patients, after drawing phantoms whose lesions have another contrast.

    Raises:
        UserError: Others than phantoms have a contrast.
    """
    if arguments.contrast is None:
        return arguments.data
    name, _, number = arguments.data.partition(":")
    if name != "phantom" or not number.isdecimal():
        raise UserError(f"contrast is for phantoms such as phantom:24, but data is {arguments.data!r}")
    root = Path(tempfile.gettempdir())
    return str(write_phantom(root, num_patients=int(number), contrast=arguments.contrast) / "kaggle_3m")


def draw_samples(number: int) -> list[Sample]:
    """Return the configurations, with floats rounded to four digits."""
    cube, rng, default = UnitCube(CORE), np.random.default_rng(0), default_sample(CORE)
    centre = np.repeat(cube.encode(default), (number - 1) // 2, axis=0)
    points = np.concatenate([cube.draw_near(rng, centre, NEAR), cube.draw(rng, number - 1 - len(centre))])
    return [default, *(_rounded(cube.decode(points[place])) for place in rng.permutation(len(points)))]


def _rounded(sample: Sample) -> Sample:
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in sample.items()}
