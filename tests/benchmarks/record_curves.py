"""Record real learning curves: a fixed sample of the `core` space, trained to the end, as a table.

    python tests/benchmarks/record_curves.py [--data phantom:24] [--configurations 128] [--epochs 27] [--seeds 2]

Searchers and schedulers can then be compared on it in seconds. The configurations are the first of a scrambled Sobol
sequence, each trained as a trial of the search is, but on one thread and without Ray, and with several seeds, so that
the best one is not the luckiest. A row of the table: number, seed, hyperparameters, validation Dice of every epoch (nan
from where training failed), mean seconds of an epoch. Rows that are done wait in `<table>.rows.partial`, for the next
run if this one is stopped. The last line is one JSON object.
"""

import json
import math
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import tyro
from optuna.distributions import IntDistribution
from scipy.stats import qmc

from data.atomic import write
from data.pack import Pack
from data.preprocess import Preprocessing
from model.training.train import train
from search.cohort import read_cohort
from search.config import SearchConfig
from search.record.codec import without_nan
from search.record.provenance import commit
from search.space import CORE, Sample, SharedSettings, to_configs

Row = dict[str, object]
Key = tuple[int, int]
"""Number of a configuration, and seed."""

Work = tuple[int, int, Sample]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Record learning curves."""

    data: str = "phantom:24"
    """As the search's option."""

    configurations: int = 128
    """Configurations to train; a power of two fills the space most evenly."""

    epochs: int = 27
    """Epochs of each training."""

    seeds: int = 2
    """Trainings of each configuration: weights, order, augmentation and dropout differ."""

    val_fraction: float = 0.35
    """Share of the patients that Dice is of: more than a search takes, for nobody else needs them here."""

    test_fraction: float = 0.05
    """Share of the patients that stay out; the split knows no zero."""

    batch_size: int = 8
    """Slices in a batch: few patients make few steps an epoch."""

    size: int = 64
    """Side of a slice in pixels; 64 is the least for the space's deepest U-Net."""

    width: int = 8
    """Features of the U-Net at full resolution."""

    processes: int = os.cpu_count() or 1
    """Configurations that are trained at a time, on one thread each."""

    out: Path | None = None
    """Table to write. None: `results/curves_<data>.csv` beside this file."""


def main(arguments: Arguments) -> None:
    started = time.perf_counter()
    config = SearchConfig(
        data=arguments.data,
        out=Path(tempfile.gettempdir()),  # where phantoms go
        max_epochs=arguments.epochs,
        preprocessing=Preprocessing(size=arguments.size),
        **{name: getattr(arguments, name) for name in ("width", "batch_size", "val_fraction", "test_fraction")},
    )
    cohort = read_cohort(config)
    name = "".join(letter if letter.isalnum() else "_" for letter in Path(arguments.data).name).lower()
    out = arguments.out or Path(__file__).parent / "results" / f"curves_{name}.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".rows.partial")  # not `<table>.partial`, in which `write` prepares the table
    fixed = config.shared_settings(cohort.train_pack.num_channels)
    settings = {"fingerprint": cohort.fingerprint, "size": arguments.size, "commit": commit(), **vars(fixed)}
    del settings["seed"]
    samples = list(enumerate(sobol_samples(arguments.configurations)))
    work = [(number, seed, sample) for seed in range(arguments.seeds) for number, sample in samples]
    rows = _read_partial(partial, settings, work)
    record(work, rows, partial, arguments.processes, (cohort.train_pack, cohort.val_pack, fixed))
    write(out, _table(rows, arguments.epochs).encode())
    print(json.dumps(without_nan(_report(rows, arguments) | {"seconds": round(time.perf_counter() - started, 1)})))


def sobol_samples(num: int) -> list[Sample]:
    """Return the first `num` configurations of the sequence; their floats have four digits, as a table can hold."""
    sobol = qmc.Sobol(len(CORE), scramble=True, seed=np.random.default_rng(0))
    points = sobol.random_base2(math.ceil(math.log2(num)))[:num]
    return [{name: _value(name, x) for name, x in zip(CORE, point, strict=True)} for point in points.tolist()]


def record(work: list[Work], rows: dict[Key, Row], partial: Path, processes: int, shared: tuple) -> None:
    """Train what is missing in `rows`, and put each result there and at the end of the partial file."""
    missing = [(number, seed, sample) for number, seed, sample in work if (number, seed) not in rows]
    print(f"{len(missing)} of {len(work)} trainings are to be done", flush=True)
    started = time.perf_counter()
    with get_context("spawn").Pool(processes, _start_worker, shared) as pool, partial.open("a") as file:
        for done, row in enumerate(pool.imap_unordered(_train, missing), start=1):
            rows[_key(row)] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
            minutes = (time.perf_counter() - started) / done * (len(missing) - done) / 60
            note = f"Dice {row['val_dice'][-1]}, {minutes:.1f} min left"
            print(f"{len(rows)}/{len(work)}: {row['sample']}: {note}", flush=True)


def _start_worker(train_pack: Pack, val_pack: Pack, fixed: SharedSettings) -> None:
    global _shared
    torch.set_num_threads(1)
    _shared = train_pack, val_pack, fixed


def _train(work: Work) -> Row:
    number, seed, sample = work
    train_pack, val_pack, fixed = _shared
    configs = to_configs(sample, replace(fixed, seed=seed))
    epochs = [result.metrics for result in train(*configs, train_pack, val_pack)]
    scores = [round(epoch.get("val_dice", math.nan), 5) for epoch in epochs]  # one that failed was not validated
    scores += [math.nan] * (fixed.max_epochs - len(scores))
    seconds = round(statistics.mean(epoch["seconds"] for epoch in epochs), 3)
    return {"number": number, "seed": seed, "sample": sample, "val_dice": scores, "seconds": seconds}


def _value(name: str, x: float) -> int | float:
    axis = CORE[name]
    if isinstance(axis, IntDistribution):
        return axis.low + int(x * (axis.high - axis.low + 1))
    value = axis.low * (axis.high / axis.low) ** x if axis.log else axis.low + x * (axis.high - axis.low)
    return float(f"{value:.4g}")


def _read_partial(partial: Path, settings: Row, work: list[Work]) -> dict[Key, Row]:
    """Return the rows of a recording that was stopped; begin the file where there is none."""
    lines = partial.read_text().splitlines(keepends=True) if partial.exists() else [json.dumps(settings) + "\n"]
    if (found := json.loads(lines[0])) != settings:
        raise ValueError(f"{partial} is of {found}, but this recording of {settings}: delete it, or choose another out")
    lines = [line for line in lines if line.endswith("\n")]
    write(partial, "".join(lines).encode())  # without a line that a kill cut short
    wanted = {(number, seed) for number, seed, _ in work}
    return {_key(row): row for row in map(json.loads, lines[1:]) if _key(row) in wanted}


def _key(row: Row) -> Key:
    return row["number"], row["seed"]


def _table(rows: dict[Key, Row], epochs: int) -> str:
    columns = [f"val_dice_{epoch}" for epoch in range(1, epochs + 1)]
    lines = [["configuration", "seed", *CORE, *columns, "seconds_per_epoch"]]
    for key, row in sorted(rows.items()):
        lines.append([*key, *row["sample"].values(), *row["val_dice"], row["seconds"]])
    return "".join(",".join(map(str, line)) + "\n" for line in lines)


def _report(rows: dict[Key, Row], arguments: Arguments) -> Row:
    result = {"data": Path(arguments.data).name}
    result |= {name: getattr(arguments, name) for name in ("configurations", "seeds", "epochs", "size", "width")}
    curves = np.array([row["val_dice"] for row in rows.values()])
    quartiles = np.nanpercentile(curves[:, -1], [25, 50, 75]).round(5).tolist()
    return result | {"best_dice": float(np.nanmax(curves)), "final_dice_quartiles": quartiles, "commit": commit()}


if __name__ == "__main__":
    main(tyro.cli(Arguments))
