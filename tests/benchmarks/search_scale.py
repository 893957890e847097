"""Measure what thousands of trials cost the driver, in searches whose epochs sleep and whose Dice has a closed form.

    python tests/benchmarks/search_scale.py [--trials 2000] [--lanes 16] [--epoch-seconds 1.0]

Everything but the training is real: Ray, Tune, the coordinator, the journal, the table and the checkpoints on disk. The
driver's CPU time and memory are sampled once a second, and the samples give

    ratio_to_ideal       wall clock from the first epoch's start to the last one's end, over epochs * seconds / lanes
    ms_per_result        CPU time of the driver per epoch
    fixed_per_result     the same in units of a fixed piece of Python (timing.py), so that machines can be compared
    growth_exponent      of the driver's CPU time in the number of trials, from a tenth of them to all; 1 is linear
    mb_per_1000_trials   growth of the driver's memory over the same span

For comparison, Ray's release test runs 10,000 trials of one second on 16 CPUs in 715 s where 625 s are ideal (1.14). A
ratio of 1.10 and an exponent near 1 are accepted. A search of a few seconds is too short for the last two figures,
which are then null. The last line of output is one JSON object.
"""

import json
import math
import os
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import ray
import tyro
from ray import cloudpickle, tune

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.support
from search.cluster.engine import run_search
from search.cluster.session import ray_session
from search.config import SearchConfig
from search.record.codec import without_nan
from search.record.provenance import commit
from search.record.trials import TrialRow, count_states
from tests.benchmarks.timing import fixed_python_ms, rounded
from tests.support import closed_form_lane, fakes


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure a search without training."""

    trials: int = 2000
    """Number of configurations to try."""

    max_epochs: int = 3
    """Epochs of a trial that is not stopped early."""

    lanes: int = 16
    """Trials that run at the same time."""

    epoch_seconds: float = 1.0
    """How long an epoch sleeps."""

    searcher: str = SearchConfig().searcher
    """What suggests configurations; as for `search.tune`."""

    scheduler: str = SearchConfig().scheduler
    """What stops trials early; as for `search.tune`."""


@dataclass(frozen=True, kw_only=True)
class DriverSample:
    """The state of the driver at one moment."""

    num_trials: int
    """Trials that have ended."""

    cpu_seconds: float
    memory_bytes: int


def main(arguments: Arguments) -> None:
    out = Path(tempfile.mkdtemp(prefix="search_scale_"))
    config = SearchConfig(
        out=out,
        name="scale",
        trials=arguments.trials,
        max_epochs=arguments.max_epochs,
        searcher=arguments.searcher,
        scheduler=arguments.scheduler,
        tracking="off",
    )
    config.folder.mkdir()
    for module in (closed_form_lane, fakes):  # workers cannot import the tests
        cloudpickle.register_pickle_by_value(module)
    sampler = Sampler(config.folder / "trials.jsonl")
    started = time.perf_counter()
    with ray_session():
        lane = tune.with_parameters(
            closed_form_lane.ClosedFormLane, max_epochs=config.max_epochs, epoch_seconds=arguments.epoch_seconds
        )
        share = ray.cluster_resources()["CPU"] / arguments.lanes
        rows = run_search(config, tune.with_resources(lane, {"CPU": share}), num_lanes=arguments.lanes)
        samples = sampler.stop()
    seconds = time.perf_counter() - started
    shutil.rmtree(out)
    print(json.dumps(without_nan(_report(arguments, rows, samples, seconds))))


class Sampler(threading.Thread):
    """A thread that samples this process once a second until it is stopped."""

    def __init__(self, table: Path) -> None:
        super().__init__(daemon=True)
        self._table = table
        self._samples: list[DriverSample] = []
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        num_trials, position = 0, 0
        while not self._stopped.wait(1.0):
            if self._table.exists():
                with self._table.open("rb") as file:
                    file.seek(position)
                    num_trials += file.read().count(b"\n")
                    position = file.tell()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            memory = pages * os.sysconf("SC_PAGE_SIZE")
            cpu_seconds = time.process_time()
            self._samples.append(DriverSample(num_trials=num_trials, cpu_seconds=cpu_seconds, memory_bytes=memory))

    def stop(self) -> list[DriverSample]:
        """End the thread and return all samples, the oldest first."""
        self._stopped.set()
        self.join()
        return self._samples


def _report(
    arguments: Arguments, rows: list[TrialRow], samples: list[DriverSample], seconds: float
) -> dict[str, object]:
    epochs = [epoch for row in rows for epoch in row.epochs]
    ended = [epoch.elapsed_seconds for epoch in epochs if epoch.elapsed_seconds is not None]
    training = max(ended) - min(ended) + arguments.epoch_seconds
    ideal = len(epochs) * arguments.epoch_seconds / arguments.lanes
    begun = next(sample for sample in samples if sample.num_trials >= 1)
    early = next(sample for sample in samples if sample.num_trials >= arguments.trials / 10)
    late = samples[-1]
    spent = [sample.cpu_seconds - begun.cpu_seconds for sample in (early, late)]
    is_long = begun.num_trials < early.num_trials < late.num_trials  # else it ended within a few samples
    growth = math.log(spent[1] / spent[0]) / math.log(late.num_trials / early.num_trials) if is_long else math.nan
    memory = (late.memory_bytes - early.memory_bytes) / (late.num_trials - early.num_trials) if is_long else math.nan
    ms_per_result = 1000 * spent[1] / len(epochs)
    return {
        "ratio_to_ideal": round(training / ideal, 3),
        "ms_per_result": round(ms_per_result, 2),
        "fixed_per_result": rounded(ms_per_result / fixed_python_ms(), 3),
        "growth_exponent": round(growth, 3),
        "mb_per_1000_trials": round(memory / 1000, 2),
        "driver_mb": {str(sample.num_trials): round(sample.memory_bytes / 1e6) for sample in (begun, early, late)},
        "driver_cpu_seconds": {str(early.num_trials): round(spent[0], 1), str(late.num_trials): round(spent[1], 1)},
        "training_seconds": round(training, 1),
        "ideal_seconds": round(ideal, 1),
        "whole_seconds": round(seconds, 1),
        "epochs": len(epochs),
        "states": {state: number for state, number in count_states(rows).items() if number},
        **{name: getattr(arguments, name) for name in ("trials", "max_epochs", "lanes", "epoch_seconds")},
        "searcher": arguments.searcher,
        "scheduler": arguments.scheduler,
        "cores": os.cpu_count(),
        "commit": commit(),
    }


if __name__ == "__main__":
    main(tyro.cli(Arguments))
