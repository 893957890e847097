"""Measure how fast a network is trained, against the limit of the machine and against how others train.

    python tests/benchmarks/training.py [DATA] [--device cpu] [--size 128] [--width 16] [--batch-size 16] [--rounds 5]

`program` is this program's training as a search runs it, with loading and augmentation, without validation. The limit
is the same network on one batch that is on the device already, in two memory layouts, as it is and compiled, all in the
fastest precision; the best of these counts. `typical`, `monai` and `reference` are others' pipelines
(throughput/peers.py). All have the same slices, size, features and batch, and take turns; each ratio is the median of
its rounds. `flop_utilisation` compares the program with a product of matrices. Without DATA, phantoms are drawn: then
torch, NumPy, OpenCV and albumentations suffice. The last line of output is one JSON object.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import types
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # for tests.benchmarks, and for a plain checkout


class _Shapes(types.ModuleType):
    """Stands for jaxtyping where that is missing: its annotations say shapes, and nothing more."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__class_getitem__": classmethod(lambda cls, shape: Any)})


try:
    import jaxtyping  # noqa: F401
except ImportError:
    sys.modules["jaxtyping"] = _Shapes("jaxtyping")

import torch  # noqa: E402

from search.record.provenance import commit  # noqa: E402
from tests.benchmarks.throughput import own, peers  # noqa: E402
from tests.benchmarks.throughput.rounds import Build, Rates, run_rounds  # noqa: E402
from tests.benchmarks.throughput.workload import (  # noqa: E402
    DrawnPatient,
    Workload,
    make_workload,
    summarise,
)

NUM_DRAWN = 64
"""Phantoms that are drawn at most."""

PEERS: dict[str, Build] = {"typical": peers.Typical, "monai": peers.Monai, "reference": peers.Reference}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the rates and the ratios."""
    arguments = _parse(argv)
    workload = _workload(arguments)
    limits = _limits(arguments.norm, compiled=not arguments.no_compile)
    rates = run_rounds(
        {"program": partial(own.Program, norm=arguments.norm), **limits, **PEERS}, workload, rounds=arguments.rounds
    )
    print(json.dumps({**ratios(rates, limits), **_facts(arguments, workload, rates)}))


def ratios(rates: Rates, limits: Sequence[str] | dict[str, Build]) -> dict[str, Any]:
    """Return how fast the program is beside the best limit and beside each peer."""
    found = rates.slices_per_second
    best = max((name for name in limits if name in found), key=lambda name: statistics.median(found[name]))

    def ratio(other: str) -> float | None:
        if other not in found:
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
    rate = statistics.median(rates.slices_per_second["program"])
    device = own.find_device()
    return {
        "gigaflops_per_slice": round(flops / 1e9, 3),
        "matmul_teraflops": round(matmul / 1e12, 3),
        "flop_utilisation": round(rate * flops / matmul, 3),
        "device": torch.cuda.get_device_name()
        if arguments.device == "cuda"
        else f"{len(os.sched_getaffinity(0))} CPUs",
        "precision": device.precision,
        "data": Path(arguments.data).name or "drawn",
        "num_batches": workload.num_batches,
        **{name: getattr(arguments, name) for name in ("size", "width", "batch_size", "norm", "rounds")},
        "torch": torch.__version__,
        "commit": commit(),
    }


def _limits(norm: str, *, compiled: bool) -> dict[str, Build]:
    layouts = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    kinds = {"eager": False, "compiled": True} if compiled else {"eager": False}
    return {
        f"{kind}_{name}": partial(own.Resident, norm=norm, layout=layout, compiled=is_compiled)
        for kind, is_compiled in kinds.items()
        for name, layout in layouts.items()
    }


def _workload(arguments: argparse.Namespace) -> Workload:
    if arguments.data:
        from data.source import find_source  # the readers of files need packages that drawn phantoms do not

        patients = find_source(arguments.data, phantom_root=Path(tempfile.gettempdir())).patients
    else:
        patients = [DrawnPatient(id=f"PHANTOM_{number:04d}", number=number) for number in range(1, NUM_DRAWN + 1)]
    return make_workload(
        patients,
        size=arguments.size,
        batch_size=arguments.batch_size,
        width=arguments.width,
        num_batches=arguments.batches,
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="", help="patients, as for search.tune; none: phantoms are drawn")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", type=int, default=128, help="side of a slice in pixels")
    parser.add_argument("--width", type=int, default=16, help="features at full resolution")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--batches", type=int, default=8, help="batches of a round, at least")
    parser.add_argument("--norm", choices=("instance", "batch", "group"), default="instance")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true", help="leave out what torch.compile makes")
    arguments = parser.parse_args(argv)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device")
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return arguments


if __name__ == "__main__":
    main()
