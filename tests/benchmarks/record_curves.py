"""Record real learning curves: many configurations, each trained to the end, with the Dice of every patient.

    python tests/benchmarks/record_curves.py NAME [--data phantom:24] [--split-seed 0] [--configurations 64] [--seeds 2]

The tasks (five minutes to an hour each on two cores; LGG20 and BRATS are folders of 20 patients and of cases):

    record_curves.py phantom_easy
    record_curves.py phantom_faint --contrast 0.4 --data phantom:48 --val-fraction 0.375 --test-fraction 0.375
    record_curves.py phantom_few --data phantom:9
    record_curves.py lgg_0 --data LGG20, and with --split-seed 1 and 4 as lgg_1 and lgg_4
    record_curves.py brats --data BRATS

Searchers and schedulers can then be compared on the curves in seconds (search_efficiency.py). The first configuration
is the default. Of the others, half are drawn near the default and half from the whole space. Each is trained like a
trial of a search, but on one thread and without Ray, and with several seeds, so that what is chosen with one seed can
be judged with another. After every epoch the Dice of each validation and each test patient is measured. At last the
default is trained with more seeds, and averages of these networks are judged.

The result is `results/curves/NAME.npz` beside this file (tests/support/recorded_curves.py). Finished trainings are kept
in `NAME.rows.partial` and `NAME.networks.partial`, where the next run finds them if this one is stopped. The last line
of output is a JSON object.
"""

import json
import math
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import tyro

from model.device import find_device
from model.scoring import metrics
from model.training.train import EpochResult, train
from model.training.validate import count_by_patient
from search.record.jsonl import append_line
from search.record.provenance import commit
from search.record.trials import Sample
from search.space.configs import to_configs

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests
from tests.benchmarks.recording.ensembles import record_ensembles
from tests.benchmarks.recording.task import Arguments, Task, draw_samples, read_task
from tests.benchmarks.unfinished import read_finished
from tests.support.recorded_curves import RecordedCurves, write_curves

Key = tuple[int, int]
"""The number of a configuration, and a seed."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training that is to be done."""

    number: int
    seed: int
    sample: Sample

    @property
    def key(self) -> Key:
        return self.number, self.seed


@dataclass(frozen=True, kw_only=True)
class Curve(Training):
    """A training that is done."""

    dice: list[list[float | None]]
    """The Dice of each patient after each epoch, at the network's size; None where undefined, or after a failure."""

    seconds: float
    """Mean seconds per epoch of training, without measuring Dice."""


def main(arguments: Arguments) -> None:
    started = time.perf_counter()
    task = read_task(arguments)
    names = ("contrast", "split_seed", "epochs", "val_fraction", "test_fraction", "batch_size", "size", "width")
    header: dict[str, object] = {
        "data": Path(arguments.data).name,
        **{name: getattr(arguments, name) for name in names},
    }
    header |= {"fingerprint": task.judged_pack.fingerprint, "patients": list(task.judged_pack.patient_ids)}
    samples = draw_samples(arguments.configurations)
    trainings = [
        Training(number=number, seed=seed, sample=sample)
        for seed in range(arguments.seeds)
        for number, sample in enumerate(samples)
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    partial = arguments.out / f"{arguments.name}.rows.partial"
    curves = _read_partial(partial, header, trainings)
    record(trainings, curves, partial, arguments.processes, task)
    networks = arguments.out / f"{arguments.name}.networks.partial"
    ensembles = record_ensembles(arguments.ensemble, networks, arguments.processes, task)
    recorded = _join(curves, samples, ensembles, task, header | {"commit": commit()})
    write_curves(arguments.out / f"{arguments.name}.npz", recorded)
    print(json.dumps(_report(recorded, arguments) | {"seconds": round(time.perf_counter() - started, 1)}))


def record(trainings: list[Training], curves: dict[Key, Curve], partial: Path, processes: int, task: Task) -> None:
    """Run the trainings that `curves` lacks, and add each result to it and to the partial file."""
    missing = [training for training in trainings if training.key not in curves]
    print(f"{len(missing)} of {len(trainings)} trainings are still to be done", flush=True)
    started = time.perf_counter()
    with get_context("spawn").Pool(processes, _start_worker, (task,)) as pool:
        for done, curve in enumerate(pool.imap_unordered(_train, missing), start=1):
            curves[curve.key] = curve
            append_line(partial, asdict(curve))
            minutes = (time.perf_counter() - started) / done * (len(missing) - done) / 60
            print(f"{len(curves)}/{len(trainings)}: {curve.sample}, {minutes:.1f} min left", flush=True)


_task: Task
"""Of a worker process, which gets it when it starts."""


def _start_worker(task: Task) -> None:
    global _task
    torch.set_num_threads(1)
    _task = task


def _train(training: Training) -> Curve:
    settings = replace(_task.settings, seed=training.seed)
    network, config = to_configs(training.sample, settings)
    dice: list[list[float | None]] = []
    seconds: list[float] = []
    for result in train(network, config, _task.train_pack, None):
        dice.append(_dice(result, config.batch_size))
        seconds.append(result.metrics["seconds"] - result.metrics.get("val_seconds", 0.0))
    nothing: list[float | None] = [None] * len(_task.judged_pack.patient_ids)
    dice += [nothing] * (settings.max_epochs - len(dice))
    return Curve(**asdict(training), dice=dice, seconds=round(statistics.mean(seconds), 3))


def _dice(result: EpochResult, batch_size: int) -> list[float | None]:
    if result.failure:
        return [None] * len(_task.judged_pack.patient_ids)
    counts = count_by_patient(result.state.network, _task.judged_pack, find_device("auto"), batch_size)
    return [round(one, 4) if math.isfinite(one) else None for one in metrics.METRICS["dice"](counts[:, 0]).tolist()]


def _join(
    curves: dict[Key, Curve],
    samples: list[Sample],
    ensembles: dict[int, np.ndarray],
    task: Task,
    header: dict[str, object],
) -> RecordedCurves:
    num_seeds = len(curves) // len(samples)
    keys = [[curves[number, seed] for seed in range(num_seeds)] for number in range(len(samples))]
    num_patients = len(task.judged_pack.patient_ids)
    return RecordedCurves(
        header=header,
        samples=samples,
        dice=np.array([[one.dice for one in same] for same in keys], float),
        ensembles=ensembles,
        is_test=np.arange(num_patients) >= num_patients - task.num_test_patients,
        seconds=np.array([statistics.mean(one.seconds for one in same) for same in keys]),
    )


def _read_partial(partial: Path, header: dict[str, object], trainings: Iterable[Training]) -> dict[Key, Curve]:
    """Return the curves of a recording that was stopped; start the file if there is none.

    Raises:
        UserError: The file is of a recording with other settings.
    """
    samples = {training.key: training.sample for training in trainings}
    curves = [Curve(**line) for line in read_finished(partial, header)]
    return {curve.key: curve for curve in curves if samples.get(curve.key) == curve.sample}


def _report(recorded: RecordedCurves, arguments: Arguments) -> dict[str, object]:
    ends = recorded.test[:, :, -1].mean(1)
    return {
        "name": arguments.name,
        "data": Path(arguments.data).name,
        **{name: getattr(arguments, name) for name in ("configurations", "seeds", "epochs", "size", "width")},
        "default_test_dice": round(float(ends[0]), 4),
        "best_test_dice": round(float(ends.max()), 4),
        "test_dice_quartiles": np.percentile(ends, [25, 50, 75]).round(4).tolist(),
        "commit": commit(),
    }


if __name__ == "__main__":
    main(tyro.cli(Arguments))
