"""Measure what models of one architecture gain when they are trained side by side in one program.

    python tests/benchmarks/side_by_side.py [DATA] [--device cpu] [--size 128] [--width 16] [--models 1 2 4 8]
    python tests/benchmarks/side_by_side.py --device cuda --compile

`alone` is one model trained as a search trains it; the others are 1, 2, 4 and 8 models in one program by torch.func
(throughput/stacked.py), each with its own seed, learning rate, weight of the losses and dropout. All step through the
same batches, which are on the device already, and take turns. Slices a second are those of all models together; `gain`
is how many times as many they are as those of the fastest that is alone, the median of the rounds, and
`gain_by_cpu_time` the same by the time spent on a CPU, which counts with OMP_NUM_THREADS=1 on a busy machine. On a GPU
both memory layouts are tried. Before that, models without dropout take a few steps in float64, side by side and each
alone: `largest_difference` is the greatest relative difference of their losses, and must be below 1e-6.

The norm is instance or group norm: batch norm's running statistics cannot be vmapped. Without DATA, phantoms are drawn:
then torch, NumPy, OpenCV and albumentations suffice. The last line of output is one JSON object.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # for tests.benchmarks, and for a plain checkout

import tests.benchmarks.plain_checkout  # noqa: E402, F401, I001  (before the program)
import torch  # noqa: E402

from model.device import find_device  # noqa: E402
from model.training.train_config import TrainConfig  # noqa: E402
from search.record.provenance import commit  # noqa: E402
from tests.benchmarks.throughput.own import Steps  # noqa: E402
from tests.benchmarks.throughput.options import (  # noqa: E402
    add_device,
    add_size,
    chosen,
    make_parser,
    read_workload,
    use_device,
)
from tests.benchmarks.throughput.processes import TIMEOUT_SECONDS  # noqa: E402
from tests.benchmarks.throughput.rounds import Build, run_rounds  # noqa: E402
from tests.benchmarks.throughput.stacked import (  # noqa: E402
    Alone,
    SideBySide,
    Stack,
    make_members,
    network_of,
    resident_batches,
)
from tests.benchmarks.throughput.workload import Workload, summarise  # noqa: E402

CHECKED_STEPS = 5
TOLERANCE = 1e-6
"""Of losses in float64 after some steps. Rounding alone gives 1e-12; a wrong learning rate or seed, 1e-3."""


def main(argv: Sequence[str] | None = None) -> None:
    """Check, measure, print the rates and the gains, and exit with status 1 if the check has failed."""
    arguments = _parse(argv)
    workload = read_workload(arguments, size=arguments.size)
    difference = largest_difference(workload, norm=arguments.norm, num_models=2)
    builds, num_models = _builds(arguments)
    rates = run_rounds(
        builds,
        workload,
        rounds=arguments.rounds,
        timeout_seconds=arguments.timeout_seconds,
        together=list(builds) if arguments.device == "cuda" else (),
    )
    found = gains(rates.slices_per_second, num_models)
    facts = {
        "gain_by_cpu_time": gains(rates.slices_per_cpu_second, num_models)["gain"],
        "peak_mb": {name: round(peak) for name, peak in rates.peak_mb.items()},
        "left_out": rates.left_out,
        "largest_difference": difference,
        "right": difference < TOLERANCE,
        "num_batches": workload.num_batches,
        **chosen(arguments, ("size", "width", "batch_size", "norm", "rounds")),
        "precision": find_device().precision,
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else f"{torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "commit": commit(),
    }
    print(json.dumps({**found, **facts}))
    if difference >= TOLERANCE:
        raise SystemExit(1)


def gains(rates: Mapping[str, list[float]], num_models: Mapping[str, int]) -> dict[str, Any]:
    """Return the slices a second of all models of a program together, and how many times those of one alone they are.

    Args:
        rates: Of each program in each round, in slices that every one of its models saw in a second.
        num_models: Of each program; 0 for one that is alone.
    """
    total = {name: [max(1, num_models[name]) * rate for rate in found] for name, found in rates.items()}
    alone = [name for name in total if num_models[name] == 0]
    best = max(alone, key=lambda name: statistics.median(total[name]), default=None)
    gain = {
        name: round(statistics.median(one / other for one, other in zip(total[name], total[best], strict=True)), 3)
        for name in total
        if best is not None and num_models[name] > 0
    }
    return {"gain": gain, "alone": best, "slices_per_second": summarise(total)}


def largest_difference(workload: Workload, *, norm: str, num_models: int) -> float:
    """Return the greatest relative difference between the losses of models side by side and of each one alone.

    It is found after some steps in float64, in which rounding cannot hide an error, and without dropout, since the
    models side by side draw other random numbers than those that are alone.
    """
    members, network = make_members(num_models), network_of(workload, norm, dropout=0.0)
    device = replace(find_device("float32"), memory_format=torch.contiguous_format)
    with _float64():
        batches = [tuple(one.double() for one in pair) for pair in resident_batches(workload, device)]
        batches = [batches[step % len(batches)] for step in range(CHECKED_STEPS)]
        stack = Stack(network, members, device)
        together = torch.stack([stack.take(*batch) for batch in batches])
        alone = []
        for member in members:
            config = TrainConfig(
                max_epochs=1, seed=member.seed, learning_rate=member.learning_rate, bce_weight=member.bce_weight
            )
            steps = Steps(network, config, device)
            alone.append(torch.stack([steps.take(*batch) for batch in batches]))
    expected = torch.stack(alone, dim=1)
    return ((together - expected) / expected).abs().max().item()


@contextmanager
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _builds(arguments: argparse.Namespace) -> tuple[dict[str, Build], dict[str, int]]:
    """Return what is built, and how many models each has side by side; 0 for one that is alone."""
    layouts = {"contiguous": torch.contiguous_format}
    if arguments.device == "cuda":
        layouts["channels_last"] = torch.channels_last
    builds, num_models = {}, {}
    for layout, memory_format in layouts.items():
        for kind, mode in {"eager": None, "compiled": "default"}.items() if arguments.compile else [("eager", None)]:
            options = {"norm": arguments.norm, "layout": memory_format, "compile_mode": mode}
            builds[f"alone_{kind}_{layout}"] = partial(Alone, **options)
            num_models[f"alone_{kind}_{layout}"] = 0
            for count in arguments.models if mode is None else [max(arguments.models)]:
                builds[f"{count}_{kind}_{layout}"] = partial(SideBySide, num_models=count, **options)
                num_models[f"{count}_{kind}_{layout}"] = count
    return builds, num_models


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_size(parser)
    add_device(parser)
    parser.add_argument("--models", type=int, nargs="+", default=[1, 2, 4, 8], help="models in one program")
    parser.add_argument("--norm", choices=("instance", "group"), default="instance")
    parser.add_argument("--compile", action="store_true", help="also compile one alone, and the most models")
    parser.add_argument("--timeout-seconds", type=float, default=TIMEOUT_SECONDS, help="longest build, longest round")
    arguments = parser.parse_args(argv)
    use_device(parser, arguments.device)
    return arguments


if __name__ == "__main__":
    main()
