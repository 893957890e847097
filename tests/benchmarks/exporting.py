"""Measure what the two exports of a network cost, and their proofs; then what five networks with flips cost.

    python tests/benchmarks/exporting.py

Times are of the processor, in seconds, with one thread. Each case has a process of its own, because the first export of
a process also imports and compiles what the exporter needs. The last line of output is one JSON object.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout is what is measured
from data.preprocess import Preprocessing
from model.export.onnx_export import proven_onnx
from model.export.predictor import Predictor
from model.export.torch_program import proven_program
from model.export.tracing import trace
from model.inference.onnx_file import MODEL_NAME
from model.inference.runtime import onnxruntime_network
from model.inference.volume import predict_volume
from model.networks import build
from model.settings import Settings
from model.unet import UNetConfig
from search.record.provenance import commit

NUM_SLICES, NUM_ROUNDS = 8, 5


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure exports."""

    networks: tuple[int, ...] = (1, 5)
    """Each case has one of these numbers of networks; several have flips, as the finalists of a search do."""

    depth: int = 4
    """Depth of the U-Nets."""

    width: int = 16
    """Features of the U-Nets at full resolution."""

    norm: str = "instance"
    """Norm of the U-Nets."""

    size: int = 128
    """Side of the slices on which the exports are proven, in pixels."""

    keep: Path | None = None
    """Folder for the exported files; each case has one in it."""


def main(arguments: Arguments) -> None:
    if len(arguments.networks) == 1:
        print(json.dumps(measure(arguments)))
        return
    found = {}
    for number in arguments.networks:
        options = [f"--{name}={value}" for name, value in asdict(arguments).items() if name != "networks" and value]
        command = [sys.executable, __file__, f"--networks={number}", *options]
        ended = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True)
        found[str(number)] = json.loads(ended.stdout.splitlines()[-1])
    print(json.dumps({**asdict(arguments) | {"networks": found, "keep": None}, "commit": commit()}))


def measure(arguments: Arguments) -> dict[str, float]:
    """Return the seconds of each step, the milliseconds of a slice in ONNX Runtime, and the sizes of the files."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    [number] = arguments.networks
    config = UNetConfig(depth=arguments.depth, width=arguments.width, norm=arguments.norm)
    predictor = Predictor([build(config).eval() for _ in range(number)], flips=number > 1)
    settings = Settings(preprocessing=Preprocessing(size=arguments.size), channel_names=("pre", "flair", "post"))
    shape = (NUM_SLICES, arguments.size, arguments.size, 3)
    volume = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    seconds: dict[str, float] = {}
    with _timed(seconds, "trace"):
        program = trace(predictor, settings)
    with _timed(seconds, "onnx"):
        onnx, onnx_parity = proven_onnx(predictor, settings, sample_volumes=[volume[:2]], program=program)
    with _timed(seconds, "program"):
        archive, parity = proven_program(predictor, settings, sample_volumes=[volume[:2]], program=program)
    if arguments.keep is not None:
        folder = arguments.keep / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL_NAME).write_bytes(onnx)
        (folder / "model.pt2").write_bytes(archive)
    network = onnxruntime_network(onnx)
    return {
        **{f"{name}_seconds": round(value, 2) for name, value in seconds.items()},
        "seconds": round(sum(seconds.values()), 2),
        "slice_ms": round(_fastest(lambda: predict_volume(network, volume, settings.preprocessing)), 1),
        "onnx_bytes": len(onnx),
        "program_bytes": len(archive),
        "onnx_difference": onnx_parity.max_probability_difference,
        "program_difference": parity.max_probability_difference,
    }


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.process_time()
    yield
    seconds[name] = time.process_time() - start


def _fastest(run: Callable[[], object]) -> float:
    """Return the milliseconds of a slice in the fastest of some runs over the volume."""
    times = []
    for _ in range(NUM_ROUNDS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1000 * min(times) / NUM_SLICES


if __name__ == "__main__":
    main(tyro.cli(Arguments))
