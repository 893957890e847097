"""Measure the service: the time of a request, requests a second, refusals and memory, with 1, 4 and 16 clients.

    python tests/benchmarks/service.py [--size 256] [--width 32] [--rounds 7] [--options="--max-batch 1"]
    python tests/benchmarks/service.py --clients 10 100 1000 --rounds 3    # more than the service takes at once

`python -m model.serve` runs as a process of its own, on loopback. Each client sends one slice, a TIFF or a PNG in turn,
waits for the answer, and sends the next one over a new connection, as the service allows one request a connection. A
request that is refused is counted and not repeated. In each round the bare network is called on one slice, in the same
runtime in this process, and a request for `/healthz` shows what HTTP alone takes; so ratios compare moments of the same
machine. The last line of output is one JSON object.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout is what is measured

from data.preprocess import Preprocessing
from data.readers.images import write_image
from data.readers.phantom_drawing import draw_patient
from model.export.onnx_export import export_onnx
from model.export.predictor import Predictor
from model.inference.runtime import RUNTIMES, choose_runtime, load_model
from model.settings import Settings
from model.unet import UNet, UNetConfig
from search.record.provenance import commit
from tests.benchmarks.timing import rounded, seconds_of
from tests.support.load import Outcome, count_statuses, forget_peak, memory_mb, request, send_all

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
SUFFIXES = {".tif": "image/tiff", ".png": "image/png"}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure the service."""

    size: int = 128
    """Side of a slice in pixels, in the files as well as in the network."""

    width: int = 16
    """Features of the U-Net at full resolution."""

    depth: int = 4
    """Depth of the U-Net."""

    clients: tuple[int, ...] = (1, 4, 16)
    """Numbers of clients at once."""

    rounds: int = 5
    """Each number of clients is measured this often."""

    requests: int = 32
    """Requests in a round, of all clients together; at least one a client."""

    options: str = ""
    """Further options of `python -m model.serve`, such as `--options="--runtime openvino"`."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that runs."""

    pid: int
    port: int


@dataclass(frozen=True, kw_only=True)
class Round:
    """What came of the requests of one round, and the memory of the service in it."""

    outcomes: list[Outcome]
    seconds: float
    most_mb: float
    after_mb: float


def main(arguments: Arguments) -> None:
    with tempfile.TemporaryDirectory(prefix="tumour-search-") as name:
        folder = Path(name)
        bodies = _bodies(folder, arguments.size)
        settings = _export(folder / "model.onnx", arguments)
        with _service(folder / "model.onnx", arguments.options.split()) as service:
            result = _measure(service, folder / "model.onnx", settings, bodies, arguments)
    print(json.dumps(result))


def _measure(
    service: Service, model: Path, settings: Settings, bodies: list[bytes], arguments: Arguments
) -> dict[str, object]:
    bare = _bare_call(model, settings, arguments)
    rounds: dict[int, list[Round]] = {clients: [] for clients in arguments.clients}
    floors: dict[str, list[float]] = {"bare": [], "healthz": []}
    send_all(service.port, bodies[:8], num_clients=1)  # the first requests compile and allocate
    before = memory_mb(service.pid)
    for _ in range(arguments.rounds):
        floors["bare"] += [seconds_of(bare) for _ in range(10)]
        floors["healthz"] += [send_all(service.port, [HEALTH], num_clients=1)[0].seconds for _ in range(10)]
        for clients in arguments.clients:
            rounds[clients].append(_round(service, bodies, clients, arguments.requests))
    bare_p50, healthz_p50 = (statistics.median(floors[name]) for name in ("bare", "healthz"))
    fewest = [one.seconds for each in rounds[min(rounds)] for one in each.outcomes if one.status == 200]
    return {
        "clients": {str(clients): _describe(found, bare_p50) for clients, found in rounds.items()},
        "bare_ms_p50": rounded(1e3 * bare_p50),
        "healthz_ms_p50": rounded(1e3 * healthz_p50),
        "ratio_to_bare": rounded(statistics.median(fewest) / bare_p50),
        "mb_before": rounded(before),
        "runtime": str(choose_runtime(_runtime(arguments))),
        "size": arguments.size,
        "width": arguments.width,
        "depth": arguments.depth,
        "options": arguments.options,
        "rounds": arguments.rounds,
        "cores": os.cpu_count(),
        "commit": commit(),
    }


def _round(service: Service, bodies: list[bytes], clients: int, num_requests: int) -> Round:
    sent = [bodies[index % len(bodies)] for index in range(max(num_requests, clients))]
    forget_peak(service.pid)
    began = time.perf_counter()
    outcomes = send_all(service.port, sent, num_clients=clients)
    seconds = time.perf_counter() - began
    time.sleep(1)  # what the last requests took is free again
    memory = memory_mb(service.pid, "VmHWM"), memory_mb(service.pid)
    return Round(outcomes=outcomes, seconds=seconds, most_mb=memory[0], after_mb=memory[1])


def _describe(rounds: Sequence[Round], bare_p50: float) -> dict[str, object]:
    outcomes = [one for each in rounds for one in each.outcomes]
    rates = [sum(one.status == 200 for one in each.outcomes) / each.seconds for each in rounds]
    answered = [1e3 * one.seconds for one in outcomes if one.status == 200]
    refused = [1e3 * one.seconds for one in outcomes if one.status != 200]
    return {
        "statuses": count_statuses(outcomes),
        "ms_p50": rounded(float(np.percentile(answered, 50))),
        "ms_p99": rounded(float(np.percentile(answered, 99))),
        "refused_ms_p50": rounded(float(np.percentile(refused, 50))) if refused else None,
        "refused_ms_p99": rounded(float(np.percentile(refused, 99))) if refused else None,
        "requests_per_second": rounded(statistics.median(rates)),
        "share_of_bare_throughput": rounded(statistics.median(rates) * bare_p50),
        "mb_most": rounded(max(one.most_mb for one in rounds)),
        "mb_after": rounded(rounds[-1].after_mb),
    }


def _bodies(folder: Path, size: int) -> list[bytes]:
    """Return requests with a slice each."""
    bodies = []
    for index, image in enumerate(draw_patient(0, 0)[0]):
        suffix = list(SUFFIXES)[index % len(SUFFIXES)]
        path = folder / f"slice{suffix}"
        write_image(path, cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC))
        bodies.append(request("/predict", path.read_bytes(), SUFFIXES[suffix]))
    return bodies


def _export(path: Path, arguments: Arguments) -> Settings:
    torch.manual_seed(0)
    settings = Settings(preprocessing=Preprocessing(size=arguments.size), channel_names=("pre", "flair", "post"))
    predictor = Predictor([UNet(UNetConfig(width=arguments.width, depth=arguments.depth))])
    export_onnx(predictor, path, settings, sample_volumes=[draw_patient(0, 0)[0][:1]])
    return settings


@contextmanager
def _service(model: Path, options: Sequence[str]) -> Iterator[Service]:
    """Yield a service that runs until the `with` block ends."""
    command = [sys.executable, "-m", "model.serve", str(model), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        address = next((line for line in process.stdout if line.startswith("Serving ")), "")
        assert address, "the service did not start"
        yield Service(pid=process.pid, port=int(address.split(" (")[0].rpartition(":")[2]))
    finally:
        process.terminate()
        process.wait(timeout=10)


def _bare_call(model: Path, settings: Settings, arguments: Arguments) -> Callable[[], object]:
    network = load_model(model, runtime=_runtime(arguments))[0]
    image = draw_patient(0, 0)[0][0]
    resized = cv2.resize(image, (arguments.size, arguments.size)).astype(np.float32)
    batch = np.ascontiguousarray(resized.transpose(2, 0, 1)[None])
    num_channels = len(settings.channel_names)
    mean, std = np.full(num_channels, 50, np.float32), np.full(num_channels, 50, np.float32)
    network(batch, mean, std)
    return lambda: network(batch, mean, std)


def _runtime(arguments: Arguments) -> str:
    return next((one for one in arguments.options.split() if one in RUNTIMES), "auto")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
