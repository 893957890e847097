"""Record real learning curves: a fixed sample of the `core` space, each trained to the end, written as a table.

    python tests/benchmarks/record_curves.py [--data phantom:24] [--configurations 128] [--epochs 27] [--seeds 2]

Searchers and schedulers can then be compared on the table in seconds. The configurations are the first points of a
scrambled Sobol sequence. Each is trained like a trial of a search, but on one thread and without Ray, and with several
seeds so that the best one is not simply the luckiest. A row of the table has the number, the seed, the hyperparameters,
the validation Dice of every epoch (nan after a failure) and the mean seconds per epoch. Finished rows are kept in
`<table>.rows.partial`, where the next run finds them if this one is stopped. The last line of output is a JSON object.
"""

import json
import math
import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import tyro
from optuna.distributions import FloatDistribution, IntDistribution
from scipy.stats import qmc

from data.atomic import write
from data.errors import UserError
from data.pack import Pack
from data.preprocess import Preprocessing
from model.training.train import train
from search.cohort import read_cohort
from search.config import SearchConfig
from search.record.codec import without_nan
from search.record.provenance import commit
from search.record.trials import Sample
from search.space import CORE, SharedSettings, to_configs

Key = tuple[int, int]
"""The number of a configuration, and a seed."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training that is to be done."""

    number: int
    """The place of the configuration in the Sobol sequence, from 0."""

    seed: int
    sample: Sample

    @property
    def key(self) -> Key:
        return self.number, self.seed


@dataclass(frozen=True, kw_only=True)
class Curve(Training):
    """A training that is done."""

    val_dice: list[float]
    """The validation Dice of every epoch; nan after a failure."""

    seconds: float
    """Mean seconds per epoch."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all trainings have in common."""

    train_pack: Pack
    val_pack: Pack
    settings: SharedSettings


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Record learning curves."""

    data: str = "phantom:24"
    """Patients, as for `search.tune`."""

    configurations: int = 128
    """Number of configurations to train; a power of two fills the space most evenly."""

    epochs: int = 27
    """Epochs per training."""

    seeds: int = 2
    """Trainings per configuration, which differ in weights, order, augmentation and dropout."""

    val_fraction: float = 0.35
    """Share of the patients on which Dice is measured; larger than in a search, because no test patients are needed."""

    test_fraction: float = 0.05
    """Share of the patients that are left out, because a split always has test patients."""

    batch_size: int = 8
    """Slices per batch; small, so that few patients still give enough steps per epoch."""

    size: int = 64
    """Side of a slice in pixels; the deepest U-Net of the space needs at least 64."""

    width: int = 8
    """Features of the U-Net at full resolution."""

    processes: int = os.cpu_count() or 1
    """Configurations that are trained at the same time, on one thread each."""

    out: Path | None = None
    """Table to write; by default `results/curves_<data>.csv` beside this file."""


def main(arguments: Arguments) -> None:
    started = time.perf_counter()
    config = SearchConfig(
        data=arguments.data,
        out=Path(tempfile.gettempdir()),  # phantoms are written there
        max_epochs=arguments.epochs,
        preprocessing=Preprocessing(size=arguments.size),
        **{name: getattr(arguments, name) for name in ("width", "batch_size", "val_fraction", "test_fraction")},
    )
    cohort = read_cohort(config)
    name = "".join(letter if letter.isalnum() else "_" for letter in Path(arguments.data).name).lower()
    out = arguments.out or Path(__file__).parent / "results" / f"curves_{name}.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".rows.partial")  # `write` uses `<table>.partial` itself
    shared = Shared(
        train_pack=cohort.train_pack,
        val_pack=cohort.val_pack,
        settings=config.shared_settings(cohort.train_pack.num_channels),
    )
    header = {"fingerprint": cohort.fingerprint, "size": arguments.size, "commit": commit(), **vars(shared.settings)}
    del header["seed"]
    samples = sobol_samples(arguments.configurations)
    trainings = [
        Training(number=number, seed=seed, sample=sample)
        for seed in range(arguments.seeds)
        for number, sample in enumerate(samples)
    ]
    curves = _read_partial(partial, header, trainings)
    record(trainings, curves, partial, arguments.processes, shared)
    write(out, _table(curves, arguments.epochs).encode())
    print(json.dumps(without_nan(_report(curves, arguments) | {"seconds": round(time.perf_counter() - started, 1)})))


def sobol_samples(num: int) -> list[Sample]:
    """Return the first `num` configurations of the sequence, with floats rounded to four digits as in the table."""
    sobol = qmc.Sobol(len(CORE), scramble=True, rng=np.random.default_rng(0))
    points = sobol.random_base2(math.ceil(math.log2(num)))[:num]
    return [{name: _value(name, x) for name, x in zip(CORE, point, strict=True)} for point in points.tolist()]


def record(trainings: list[Training], curves: dict[Key, Curve], partial: Path, processes: int, shared: Shared) -> None:
    """Run the trainings that `curves` lacks, and add each result to it and to the partial file."""
    missing = [training for training in trainings if training.key not in curves]
    print(f"{len(missing)} of {len(trainings)} trainings are still to be done", flush=True)
    started = time.perf_counter()
    with get_context("spawn").Pool(processes, _start_worker, (shared,)) as pool, partial.open("a") as file:
        for done, curve in enumerate(pool.imap_unordered(_train, missing), start=1):
            curves[curve.key] = curve
            file.write(json.dumps(asdict(curve)) + "\n")
            file.flush()
            minutes = (time.perf_counter() - started) / done * (len(missing) - done) / 60
            note = f"Dice {curve.val_dice[-1]}, {minutes:.1f} min left"
            print(f"{len(curves)}/{len(trainings)}: {curve.sample}: {note}", flush=True)


_shared: Shared
"""Of a worker process, which gets it when it starts."""


def _start_worker(shared: Shared) -> None:
    global _shared
    torch.set_num_threads(1)
    _shared = shared


def _train(training: Training) -> Curve:
    settings = replace(_shared.settings, seed=training.seed)
    configs = to_configs(training.sample, settings)
    epochs = [result.metrics for result in train(*configs, _shared.train_pack, _shared.val_pack)]
    scores = [round(epoch.get("val_dice", math.nan), 5) for epoch in epochs]  # a failed epoch was not validated
    scores += [math.nan] * (settings.max_epochs - len(scores))
    seconds = round(statistics.mean(epoch["seconds"] for epoch in epochs), 3)
    return Curve(number=training.number, seed=training.seed, sample=training.sample, val_dice=scores, seconds=seconds)


def _value(name: str, x: float) -> int | float:
    """Return the value of an axis at a place between 0 and 1."""
    axis = CORE[name]
    if isinstance(axis, IntDistribution):
        return axis.low + int(x * (axis.high - axis.low + 1))
    assert isinstance(axis, FloatDistribution)
    value = axis.low * (axis.high / axis.low) ** x if axis.log else axis.low + x * (axis.high - axis.low)
    return float(f"{value:.4g}")


def _read_partial(partial: Path, header: dict[str, object], trainings: list[Training]) -> dict[Key, Curve]:
    """Return the curves of a recording that was stopped; start the file if there is none.

    Raises:
        UserError: The file is of a recording with other settings.
    """
    lines = partial.read_text().splitlines(keepends=True) if partial.exists() else [json.dumps(header) + "\n"]
    if (found := json.loads(lines[0])) != header:
        raise UserError(f"{partial} was recorded with {found}, not with {header}: delete it, or choose another --out")
    lines = [line for line in lines if line.endswith("\n")]  # a kill can cut the last one short
    write(partial, "".join(lines).encode())
    wanted = {training.key for training in trainings}
    curves = [Curve(**json.loads(line)) for line in lines[1:]]
    return {curve.key: curve for curve in curves if curve.key in wanted}


def _table(curves: dict[Key, Curve], epochs: int) -> str:
    columns = [f"val_dice_{epoch}" for epoch in range(1, epochs + 1)]
    lines: list[list[object]] = [["configuration", "seed", *CORE, *columns, "seconds_per_epoch"]]
    for key, curve in sorted(curves.items()):
        lines.append([*key, *curve.sample.values(), *curve.val_dice, curve.seconds])
    return "".join(",".join(map(str, line)) + "\n" for line in lines)


def _report(curves: dict[Key, Curve], arguments: Arguments) -> dict[str, object]:
    dice = np.array([curve.val_dice for curve in curves.values()])
    return {
        "data": Path(arguments.data).name,
        **{name: getattr(arguments, name) for name in ("configurations", "seeds", "epochs", "size", "width")},
        "best_dice": float(np.nanmax(dice)),
        "final_dice_quartiles": np.nanpercentile(dice[:, -1], [25, 50, 75]).round(5).tolist(),
        "commit": commit(),
    }


if __name__ == "__main__":
    main(tyro.cli(Arguments))
