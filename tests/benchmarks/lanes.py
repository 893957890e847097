"""Measure how much faster several trials train that share one device than one after the other.

    python tests/benchmarks/lanes.py [DATA] [--device cpu] [--size 128] [--width 16] [--lanes 1 2 4] [--rounds 5]
    python tests/benchmarks/lanes.py --device cuda --search

Each lane is a process that trains as a search does (`model.training.train` with loading and augmentation, without
validation). On a GPU each is limited to its share of the memory and has its share of the cores for augmentation, as
with `--gpus-per-worker 0.25`; on a CPU each has its share of the cores as threads. In each round 1, 2 and 4 lanes train
in turn; slices a second are those of all lanes together, and `gain` is how many times those of one lane they are, the
median of the rounds. `--search` measures the same by whole searches of Ray with random configurations, the same ones
for every number of lanes, from the start of the first epoch to the end of the last; it needs Ray. The last line of
output is one JSON object.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # for tests.benchmarks, and for a plain checkout

import tests.benchmarks.plain_checkout  # noqa: E402, F401, I001  (before the program)
import torch  # noqa: E402

from model.memory import limit_gpu_memory  # noqa: E402
from search.record.provenance import commit  # noqa: E402
from tests.benchmarks.throughput.own import Program, loader_processes  # noqa: E402
from tests.benchmarks.throughput.options import (  # noqa: E402
    add_device,
    add_size,
    chosen,
    device_name,
    make_parser,
    num_cpus,
    read_workload,
    use_device,
)
from tests.benchmarks.throughput.processes import Worker, seconds_together, workers  # noqa: E402
from tests.benchmarks.throughput.workload import Workload, summarise  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the rates and the gains."""
    arguments = _parse(argv)
    measure = _measure_searches if arguments.search else _measure_processes
    rates = measure(arguments)
    facts = chosen(arguments, ("size", "width", "batch_size", "rounds", "search"))
    facts |= {"device": device_name(arguments.device), "torch": torch.__version__, "commit": commit()}
    print(json.dumps({**gains(rates), **facts}))


def gains(rates: Mapping[int, list[float]]) -> dict[str, Any]:
    """Return how many times as fast each number of lanes is as the fewest, and the rates."""
    fewest = rates[min(rates)]
    return {
        "gain": {
            str(lanes): round(statistics.median(a / b for a, b in zip(found, fewest, strict=True)), 3)
            for lanes, found in rates.items()
        },
        "slices_per_second": summarise({str(lanes): found for lanes, found in rates.items()}),
    }


def prepare_lane(workload: Workload, device: str, num_lanes: int) -> Callable[[str], None]:
    """Return what trains for an epoch, in a process that has its share of a device."""
    if device == "cuda":
        limit_gpu_memory(1 / num_lanes)
    else:
        torch.set_num_threads(max(1, num_cpus() // num_lanes))
    program = Program(workload, norm="instance", loader_processes=loader_processes(device, num_lanes=num_lanes))
    return lambda order: program.train()


def _measure_processes(arguments: argparse.Namespace) -> dict[int, list[float]]:
    workload = read_workload(arguments, size=arguments.size)
    num_slices = workload.num_batches * workload.batch_size
    rates: dict[int, list[float]] = {count: [] for count in arguments.lanes}
    with ExitStack() as stack:
        running: dict[int, list[Worker]] = {}
        for count in arguments.lanes:
            prepare = partial(prepare_lane, workload, arguments.device, count)
            running[count] = stack.enter_context(workers([prepare] * count))
        for number in range(arguments.rounds + 1):
            for count, lanes in running.items():
                rate = count * num_slices / seconds_together(lanes, "train")
                if number > 0:  # the first round fills caches
                    rates[count].append(rate)
    return rates


def _measure_searches(arguments: argparse.Namespace) -> dict[int, list[float]]:
    from data.loaders import num_train_batches  # what follows needs Ray and all that a search needs
    from data.preprocess import Preprocessing
    from search.cohort import read_cohort
    from search.config import SearchConfig
    from tests.benchmarks.search_overhead import run_search

    rates: dict[int, list[float]] = {count: [] for count in arguments.lanes}
    samples = None
    with tempfile.TemporaryDirectory(prefix="lanes_") as folder:
        for count in arguments.lanes * arguments.rounds:
            config = SearchConfig(
                data=arguments.data or "phantom:16",
                out=Path(folder),
                name="lanes",
                trials=arguments.trials,
                max_epochs=arguments.epochs,
                searcher="random",
                scheduler="none",
                preprocessing=Preprocessing(size=arguments.size),
                batch_size=arguments.batch_size,
                width=arguments.width,
                gpus_per_worker=1 / count if arguments.device == "cuda" else 0.0,
                cpus_per_worker=max(1, min(8, num_cpus() // count)),
                max_concurrent=count,
                tracking="off",
            )
            cohort = read_cohort(config)
            found = run_search(config, cohort)
            samples = samples or found.samples
            assert found.samples == samples, "the searches tried different configurations"
            batches = num_train_batches(cohort.train_pack, batch_size=arguments.batch_size)
            num_slices = arguments.trials * arguments.epochs * batches * arguments.batch_size
            rates[count].append(num_slices / (found.seconds - found.startup_seconds))
    return rates


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_size(parser)
    add_device(parser)
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 2, 4], help="trials at a time")
    parser.add_argument("--trials", type=int, default=8, help="of a search")
    parser.add_argument("--epochs", type=int, default=3, help="of a trial of a search")
    parser.add_argument("--search", action="store_true", help="by whole searches instead")
    arguments = parser.parse_args(argv)
    use_device(parser, arguments.device)
    if arguments.device == "cpu" and max(arguments.lanes) > num_cpus():
        parser.error(f"--lanes is {max(arguments.lanes)}, but must be at most {num_cpus()}, the cores")
    return arguments


if __name__ == "__main__":
    main()
