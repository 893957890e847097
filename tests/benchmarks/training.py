"""Measure how fast a network is trained, against the limit of the machine and against how others train.

    python tests/benchmarks/training.py [DATA] [--device cpu] [--size 128] [--width 16] [--batch-size 16] [--rounds 5]
    python tests/benchmarks/training.py --device cuda --size 128 256

`program` is this program's training as a search runs it, with loading and augmentation, without validation. The limit
is the same network on one batch that is on the device already, in two memory layouts, as it is and compiled, on a GPU
also compiled with CUDA graphs and with kernels that were tuned, all in the fastest precision; the best of these counts.
What fails is named in `left_out`. `typical`, `monai` and `reference` are others' pipelines
(throughput/peers.py). All have the same slices, size, features and batch, and take turns; each ratio is the median of
its rounds. `flop_utilisation` compares the program with a product of matrices. Without DATA, phantoms are drawn: then
torch, NumPy, OpenCV and albumentations suffice. The last line of output is one JSON object; with several sizes its
`sizes` has one for each, which is also printed as soon as it is known.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # for tests.benchmarks, and for a plain checkout


import tests.benchmarks.plain_checkout  # noqa: E402, F401, I001  (before the program)
import torch  # noqa: E402

from search.record.provenance import commit  # noqa: E402
from tests.benchmarks.throughput import own, peers  # noqa: E402
from tests.benchmarks.throughput.options import (  # noqa: E402
    add_device,
    chosen,
    device_name,
    make_parser,
    read_workload,
    use_device,
)
from tests.benchmarks.throughput.processes import TIMEOUT_SECONDS  # noqa: E402
from tests.benchmarks.throughput.rounds import Build, Rates, run_rounds  # noqa: E402
from tests.benchmarks.throughput.workload import Workload, summarise  # noqa: E402

_TUNED = "max-autotune"
"""Beginning of the modes of torch.compile that try several kernels, and need the device for themselves meanwhile."""

_COMPILE_MODES = {"cpu": ("default",), "cuda": ("default", "reduce-overhead", "max-autotune-no-cudagraphs")}
"""Modes of torch.compile by device; "reduce-overhead" is CUDA graphs, and no other mode differs on a CPU."""

PEERS: dict[str, Build] = {"typical": peers.Typical, "monai": peers.Monai, "reference": peers.Reference}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the rates and the ratios."""
    arguments = _parse(argv)
    found = []
    for size in arguments.size:
        found.append(_measure(arguments, size))
        print(json.dumps(found[-1]), flush=True)
    if len(found) > 1:
        print(json.dumps({"sizes": found}))


def _measure(arguments: argparse.Namespace, size: int) -> dict[str, Any]:
    workload = read_workload(arguments, size=size)
    limits = limit_builds(
        arguments.norm, compile_modes=() if arguments.no_compile else _COMPILE_MODES[arguments.device]
    )
    builds = {"program": partial(own.Program, norm=arguments.norm, loader_processes=arguments.loaders), **limits}
    tuned = [name for name in builds if name.startswith(_TUNED)]
    rates = run_rounds(
        {**builds, **PEERS},
        workload,
        rounds=arguments.rounds,
        timeout_seconds=arguments.timeout_seconds,
        together=[name for name in (*builds, *PEERS) if name not in tuned] if arguments.device == "cuda" else (),
    )
    return {**ratios(rates, limits), "size": size, **_facts(arguments, workload, rates)}


def ratios(rates: Rates, limits: Sequence[str] | dict[str, Build]) -> dict[str, Any]:
    """Return how fast the program is beside the best limit and beside each peer."""
    found = rates.slices_per_second
    able = [name for name in limits if name in found]
    best = max(able, key=lambda name: statistics.median(found[name]), default=None)

    def ratio(other: str | None) -> float | None:
        if other not in found or "program" not in found:
            return None
        return round(statistics.median(a / b for a, b in zip(found["program"], found[other], strict=True)), 3)

    return {
        "ratio_to_limit": ratio(best),
        **{f"speedup_over_{name}": ratio(name) for name in PEERS},
        "limit": best,
        "slices_per_second": summarise(found),
        "peak_mb": {name: round(peak) for name, peak in rates.peak_mb.items()},
        "left_out": rates.left_out,
    }


def _facts(arguments: argparse.Namespace, workload: Workload, rates: Rates) -> dict[str, Any]:
    resident = own.Resident(workload, norm=arguments.norm, layout=torch.contiguous_format)
    flops, matmul = resident.flops(), own.matmul_rate(side=8192 if arguments.device == "cuda" else 2048)
    rate = statistics.median(rates.slices_per_second.get("program", [math.nan]))
    device = own.find_device()
    return {
        "gigaflops_per_slice": round(flops / 1e9, 3),
        "matmul_teraflops": round(matmul / 1e12, 3),
        "flop_utilisation": None if math.isnan(rate) else round(rate * flops / matmul, 3),
        "device": device_name(arguments.device),
        "precision": device.precision,
        "data": Path(arguments.data).name or "drawn",
        "num_batches": workload.num_batches,
        **chosen(arguments, ("width", "batch_size", "norm", "rounds", "loaders")),
        "torch": torch.__version__,
        "commit": commit(),
    }


def limit_builds(norm: str, *, compile_modes: Sequence[str] = ()) -> dict[str, Build]:
    """Return the ways to train on one batch whose best is the limit, by name: as it is, and compiled in some modes."""
    layouts = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    kinds = {"eager": None, **{"compiled" if mode == "default" else mode: mode for mode in compile_modes}}
    return {
        f"{kind}_{name}": partial(own.Resident, norm=norm, layout=layout, compile_mode=mode)
        for kind, mode in kinds.items()
        for name, layout in layouts.items()
        if name == "channels_last" or not kind.startswith(_TUNED)  # tuning takes a minute, and a GPU's layout is known
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_device(parser)
    parser.add_argument(
        "--size", type=int, nargs="+", default=[128], help="sides of slices in pixels, one after the other"
    )
    parser.add_argument("--norm", choices=("instance", "batch", "group"), default="instance")
    parser.add_argument("--loaders", type=int, help="processes that augment for the program; none: as a search has")
    parser.add_argument("--no-compile", action="store_true", help="leave out what torch.compile makes")
    parser.add_argument("--timeout-seconds", type=float, default=TIMEOUT_SECONDS, help="longest build, longest round")
    arguments = parser.parse_args(argv)
    use_device(parser, arguments.device)
    if arguments.loaders is None:
        arguments.loaders = own.loader_processes(arguments.device)
    return arguments


if __name__ == "__main__":
    main()
