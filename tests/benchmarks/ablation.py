"""Compare recipes of training: the default, and others that differ from it in a few settings, on the same folds.

    python tests/benchmarks/ablation.py kaggle_3m [--recipes learning_rate=0.002 width=32,max_epochs=20] [--epochs 30]

A recipe is written as `name=value,...`. The names are fields of the network's and the training's configuration and of
the preprocessing; the default recipe is always compared. Patients are divided into folds, the same for all recipes, and
each fold is predicted by a network that was trained on the others. Its scores are those of the last epoch, in the
masks' own size, so that no epoch is chosen on the patients that are scored. Finished trainings are kept in `--out`,
where the next run finds them.

For each recipe the script prints the mean Dice over patients and the paired difference from the default with its
standard error over patients. The last line of output is a JSON object with the same numbers.
"""

import itertools
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import torch
import tyro

from data.errors import UserError
from data.packing.cache import cached_pack, default_folder
from data.packing.pack import Pack, pack_patients
from data.patient import Patient
from data.preprocess import Preprocessing
from data.source import Source, find_source
from data.splitting.split import in_hash_order
from model.segmentation_network import NetworkConfig
from model.settings import Settings
from model.training.train import train
from model.training.train_config import TrainConfig
from search.promotion.candidates import score
from search.promotion.ranking import paired_gain
from search.record.jsonl import append_line
from search.record.provenance import commit
from search.space.configs import SharedSettings, to_configs

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.benchmarks
from tests.benchmarks.unfinished import read_finished

DEFAULT = ""
"""The recipe that changes nothing."""

PREPROCESSING = {field.name for field in fields(Preprocessing)}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Compare recipes of training."""

    data: tyro.conf.Positional[str]
    """Patients, as for `search.tune`."""

    recipes: tuple[str, ...] = ()
    """The recipes to compare with the default."""

    epochs: int = 30
    """Epochs of a training, unless the recipe says `max_epochs`."""

    size: int = 96
    """Side of a slice in pixels, unless the recipe says `size`."""

    width: int = 16
    """Features of the network at full resolution, unless the recipe says `width`."""

    folds: int = 5
    """Number of folds."""

    seeds: int = 1
    """Trainings of each fold, which differ in weights, order, augmentation and dropout."""

    processes: int = 2
    """Trainings at the same time, on one thread each."""

    out: Path = Path("ablation.jsonl")
    """File of finished trainings; one with other epochs, size or folds is refused."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One training, and the fold that it does not see."""

    recipe: str
    fold: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Done(Task):
    """A training that is done."""

    dice: dict[str, float]
    """Dice by patient, in the masks' own size; nan after a failure."""

    curve: list[float]
    """Validation Dice by epoch, at the network's size."""

    seconds: float
    """Mean seconds of an epoch without its validation."""


def main(arguments: Arguments) -> None:
    for recipe in arguments.recipes:
        _configs(arguments, recipe, seed=0, num_channels=3)  # a mistake is said before anything is trained
    header = {name: getattr(arguments, name) for name in ("data", "epochs", "size", "width", "folds")}
    header["data"] = Path(arguments.data).name
    done = [Done(**line) for line in read_finished(arguments.out, header)]
    recipes = list(dict.fromkeys((DEFAULT, *arguments.recipes)))
    wanted = itertools.product(range(arguments.seeds), recipes, range(arguments.folds))
    tasks = [Task(recipe=recipe, fold=fold, seed=seed) for seed, recipe, fold in wanted]
    known = {(one.recipe, one.fold, one.seed) for one in done}
    missing = [task for task in tasks if (task.recipe, task.fold, task.seed) not in known]
    print(f"{len(missing)} of {len(tasks)} trainings are still to be done", flush=True)
    with get_context("spawn").Pool(arguments.processes, torch.set_num_threads, (1,)) as pool:
        for one in pool.imap(_Trainer(arguments), missing):
            done.append(one)
            append_line(arguments.out, asdict(one))
            print(f"{one.recipe or 'default'}, fold {one.fold}: {statistics.mean(one.dice.values()):.4f}", flush=True)
    report = [_compare(done, recipe) for recipe in recipes]
    for line in report:
        print(line)
    print(json.dumps({**header, "seeds": arguments.seeds, "recipes": report, "commit": commit()}))


def _compare(done: Sequence[Done], recipe: str) -> dict[str, object]:
    """Return the recipe's mean Dice, and its paired difference from the default with the standard error."""
    before, after = _by_patient(done, DEFAULT), _by_patient(done, recipe)
    seeds = {one.seed for one in done if one.recipe == recipe}
    paired = [(before[key], dice) for key, dice in sorted(after.items()) if key in before]
    patients = sorted({patient for (patient, _), _ in after.items()})
    means = [
        [statistics.mean(kind[patient, seed] for seed in seeds) for patient in patients] for kind in (before, after)
    ]
    gain, error = paired_gain(*means)
    seconds = [statistics.median(one.seconds for one in done if one.recipe == name) for name in (DEFAULT, recipe)]
    return {
        "recipe": recipe or "default",
        "dice": round(statistics.mean(dice for _, dice in paired), 4),
        "median": round(statistics.median(means[1]), 4),
        "gain": round(gain, 4),
        "standard_error": round(error, 4),
        "seconds_ratio": round(seconds[1] / seconds[0], 2),
        "num_trainings": sum(one.recipe == recipe for one in done),
    }


def _by_patient(done: Iterable[Done], recipe: str) -> dict[tuple[str, int], float]:
    return {
        (patient, one.seed): 0.0 if math.isnan(dice) else dice
        for one in done
        if one.recipe == recipe
        for patient, dice in one.dice.items()
    }


@dataclass(frozen=True)
class _Trainer:
    """Runs tasks; it is sent to the worker processes, each of which reads the patients from the cache."""

    arguments: Arguments

    def __call__(self, task: Task) -> Done:
        source = find_source(self.arguments.data, phantom_root=Path(tempfile.gettempdir()))
        preprocessing = _preprocessing(self.arguments, task.recipe)
        pack = _pack(source, preprocessing)
        held_out = in_hash_order(pack.patient_ids, seed=0)[task.fold :: self.arguments.folds]
        configs = _configs(self.arguments, task.recipe, seed=task.seed, num_channels=pack.num_channels)
        rest = [name for name in pack.patient_ids if name not in held_out]
        *_, last = results = list(train(*configs, pack.select(rest), pack.select(held_out)))
        dice = dict.fromkeys(held_out, math.nan)
        if not last.failure:
            settings = Settings(preprocessing=preprocessing, channel_names=source.name_channels(pack.images.shape[3]))
            dice = {one.patient: one.dice for one in score([last.state.network], _select(source, held_out), settings)}
        epochs = [result.metrics for result in results]
        return Done(
            **asdict(task),
            dice=dice,
            curve=[round(epoch.get("val_dice", math.nan), 4) for epoch in epochs],
            seconds=round(statistics.median(epoch["seconds"] - epoch["val_seconds"] for epoch in epochs), 3),
        )


def _select(source: Source, names: Sequence[str]) -> list[Patient]:
    return [patient for patient in source.patients if patient.id in names]


def _pack(source: Source, preprocessing: Preprocessing) -> Pack:
    return cached_pack(
        source.patients, preprocessing, default_folder(), lambda: pack_patients(source.patients, preprocessing)
    )


def _preprocessing(arguments: Arguments, recipe: str) -> Preprocessing:
    values = _values(recipe)
    return Preprocessing(**{"size": arguments.size, **{name: values[name] for name in PREPROCESSING & set(values)}})


def _configs(arguments: Arguments, recipe: str, *, seed: int, num_channels: int) -> tuple[NetworkConfig, TrainConfig]:
    sample = {name: value for name, value in _values(recipe).items() if name not in PREPROCESSING}
    epochs, width = sample.pop("max_epochs", arguments.epochs), sample.pop("width", arguments.width)
    shared = SharedSettings(
        in_channels=num_channels,
        max_epochs=epochs,
        batch_size=sample.pop("batch_size", 16),
        width=width,
        patience=0,
        precision="auto",
        seed=seed,
    )
    return to_configs(sample, shared)


def _values(recipe: str) -> dict:
    """Return the settings that a recipe names: numbers, true or false, or text.

    Raises:
        UserError: A part of it is not `name=value`.
    """
    values = {}
    for part in filter(None, recipe.split(",")):
        name, equals, text = part.partition("=")
        if not equals:
            raise UserError(f"recipe {recipe!r} has the part {part!r}, but must be name=value,name=value")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


if __name__ == "__main__":
    main(tyro.cli(Arguments))
