"""Measure the service: the time of a request and requests a second, with 1, 4 and 16 clients.

    python tests/benchmarks/service.py [--size 256] [--width 32] [--rounds 7] [--options="--max-batch 1"]

`python -m model.serve` runs as a process of its own, on loopback. Each client is a thread that sends one slice, a TIFF
or a PNG in turn, waits for the mask, and sends the next one over a new connection, as the service allows one request a
connection. In each round the bare network is called on one slice, in the same runtime in this process, and a request
for `/healthz` shows what HTTP alone takes; so ratios compare moments of the same machine. The last line of output is
one JSON object.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    """Requests in a round, of all clients together."""

    options: str = ""
    """Further options of `python -m model.serve`, such as `--options="--runtime openvino"`."""


def main(arguments: Arguments) -> None:
    with tempfile.TemporaryDirectory(prefix="tumour-search-") as name:
        folder = Path(name)
        bodies = _bodies(folder, arguments.size)
        settings = _export(folder / "model.onnx", arguments)
        with _service(folder / "model.onnx", arguments.options.split()) as port:
            result = _measure(port, folder / "model.onnx", settings, bodies, arguments)
    print(json.dumps(result))


def _measure(
    port: int, model: Path, settings: Settings, bodies: list[tuple[str, bytes]], arguments: Arguments
) -> dict[str, object]:
    bare = _bare_call(model, settings, arguments)
    seconds: dict[int, list[float]] = {clients: [] for clients in arguments.clients}
    rates: dict[int, list[float]] = {clients: [] for clients in arguments.clients}
    floors: dict[str, list[float]] = {"bare": [], "healthz": []}
    _load(port, bodies, 1, 8)  # the first requests compile and allocate
    for _ in range(arguments.rounds):
        floors["bare"] += [seconds_of(bare) for _ in range(10)]
        floors["healthz"] += [seconds_of(lambda: _request(port, "GET", "/healthz")) for _ in range(10)]
        for clients in arguments.clients:
            began = time.perf_counter()
            seconds[clients] += _load(port, bodies, clients, arguments.requests)
            rates[clients].append(arguments.requests / (time.perf_counter() - began))
    bare_p50, healthz_p50 = (statistics.median(floors[name]) for name in ("bare", "healthz"))
    return {
        "clients": {
            str(clients): {
                "ms_p50": rounded(1e3 * float(np.percentile(found, 50))),
                "ms_p99": rounded(1e3 * float(np.percentile(found, 99))),
                "requests_per_second": rounded(statistics.median(rates[clients])),
                "share_of_bare_throughput": rounded(statistics.median(rates[clients]) * bare_p50),
            }
            for clients, found in seconds.items()
        },
        "bare_ms_p50": rounded(1e3 * bare_p50),
        "healthz_ms_p50": rounded(1e3 * healthz_p50),
        "ratio_to_bare": rounded(statistics.median(seconds[min(seconds)]) / bare_p50),
        "runtime": str(choose_runtime(_runtime(arguments))),
        "size": arguments.size,
        "width": arguments.width,
        "depth": arguments.depth,
        "options": arguments.options,
        "requests": arguments.rounds * arguments.requests,
        "cores": os.cpu_count(),
        "commit": commit(),
    }


def _bodies(folder: Path, size: int) -> list[tuple[str, bytes]]:
    """Return slices as clients send them: the media type and the bytes of a file."""
    bodies = []
    for index, image in enumerate(draw_patient(0, 0)[0]):
        suffix = list(SUFFIXES)[index % len(SUFFIXES)]
        path = folder / f"slice{suffix}"
        write_image(path, cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC))
        bodies.append((SUFFIXES[suffix], path.read_bytes()))
    return bodies


def _export(path: Path, arguments: Arguments) -> Settings:
    torch.manual_seed(0)
    settings = Settings(preprocessing=Preprocessing(size=arguments.size), channel_names=("pre", "flair", "post"))
    predictor = Predictor([UNet(UNetConfig(width=arguments.width, depth=arguments.depth))])
    export_onnx(predictor, path, settings, sample_volumes=[draw_patient(0, 0)[0][:1]])
    return settings


@contextmanager
def _service(model: Path, options: Sequence[str]) -> Iterator[int]:
    """Yield the port of a service that runs until the `with` block ends."""
    command = [sys.executable, "-m", "model.serve", str(model), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        address = next((line for line in process.stdout if line.startswith("Serving ")), "")
        assert address, "the service did not start"
        yield int(address.split(" (")[0].rpartition(":")[2])
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


def _load(port: int, bodies: list[tuple[str, bytes]], num_clients: int, num_requests: int) -> list[float]:
    """Return the seconds of each request, sent by clients that begin at once and share the requests evenly."""
    start = threading.Barrier(num_clients)

    def client(number: int) -> list[float]:
        start.wait()
        found = []
        for index in range(number, num_requests, num_clients):
            kind, body = bodies[index % len(bodies)]
            found.append(seconds_of(lambda kind=kind, body=body: _request(port, "POST", "/predict", kind, body)))
        return found

    with ThreadPoolExecutor(num_clients) as pool:
        return [one for found in pool.map(client, range(num_clients)) for one in found]


def _request(port: int, method: str, path: str, kind: str = "", body: bytes | None = None) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": kind} if kind else {})
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200, content
    finally:
        connection.close()


if __name__ == "__main__":
    main(tyro.cli(Arguments))
