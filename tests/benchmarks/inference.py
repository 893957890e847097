"""Measure how fast a model predicts: the command from files to files, its network alone, and that network in torch.

    python tests/benchmarks/inference.py [--size 256] [--width 32] [--rounds 7]
    python tests/benchmarks/inference.py --model runs/lgg/best --data data-sets/kaggle_3m       # and Dice

The weights are random, which costs as much as trained ones. `bare` calls a network slice by slice with batches that are
ready. A volume is all slices of a patient, with pre- and post-processing, in memory. `end to end` is the command
`python -m model.predict` with overlays, without the time in which it loads the model, which is reported separately.
The networks take turns within a round and rest between turns, because the threads of some keep spinning after their
work. Ratios are computed within each round; their median is reported. The shipped runtime is what `auto` chooses on
this machine. With --model and --data, both runtimes score the patients. The last line of output is one JSON object.
"""

import contextlib
import io
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout is what is measured
from data.preprocess import Preprocessing, prepare
from data.readers.phantom_drawing import draw_patient
from data.source import find_source
from model.export.onnx_export import export_onnx
from model.export.predictor import Predictor, torch_network
from model.inference.runtime import choose_runtime, load_model
from model.inference.volume import Network, predict_volume, to_masks
from model.predict.__main__ import main as predict
from model.predict.inputs import find_volumes, read_volume
from model.scoring.evaluate import evaluate
from model.settings import Settings
from model.unet import UNet, UNetConfig
from search.record.provenance import commit
from tests.benchmarks.timing import rounded, seconds_of

REST_SECONDS = 0.2
RUNTIMES = ("onnxruntime", "openvino")
"""The runtimes of the command, by the names of their packages."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure prediction."""

    size: int = 256
    """Side of a slice in pixels, in the files as well as in the network."""

    width: int = 32
    """Features of the U-Net at full resolution."""

    depth: int = 4
    """Depth of the U-Net."""

    patients: int = 4
    """Number of patients, with 24 slices each."""

    rounds: int = 7
    """How often each network is measured."""

    compiled: bool = True
    """Whether torch.compile is measured as well; compiling takes a minute."""

    model: Path | None = None
    """Exported model whose Dice is compared between the runtimes."""

    data: str | None = None
    """Patients for that comparison, as for `search.tune`."""


def main(arguments: Arguments) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tumour-search-"))
    try:
        result = _speed(arguments, folder)
    finally:
        shutil.rmtree(folder)
    if arguments.model is not None and arguments.data is not None:
        result["dice"] = _dice(arguments.model, arguments.data)
    print(json.dumps(result))


def _speed(arguments: Arguments, folder: Path) -> dict[str, object]:
    for number in range(arguments.patients):
        _write_patient(folder / "in" / f"P{number}", number, arguments.size)
    torch.manual_seed(0)
    predictor = Predictor([UNet(UNetConfig(width=arguments.width, depth=arguments.depth))])
    settings = Settings(preprocessing=Preprocessing(size=arguments.size), channel_names=("pre", "flair", "post"))
    volumes = [read_volume(volume, settings)[0] for volume in find_volumes(folder / "in", settings)]
    export_onnx(predictor, folder / "model.onnx", settings, sample_volumes=[volumes[0][:1]])
    shipped = choose_runtime().engine
    networks = _networks(predictor, folder / "model.onnx", compiled=arguments.compiled)
    for network in networks.values():  # the first call compiles and allocates
        _bare(network, volumes[0][:2], settings)
    times = _measure(networks, volumes, folder, settings, arguments.rounds)
    num_slices = sum(map(len, volumes))
    table = {name: _summary(found, num_slices) for name, found in times.items()}
    eager = table["eager"]["slice_ms_p50"]
    return {
        "networks": table,
        "shipped": shipped,
        "ratio_to_bare": table[shipped]["ratio_to_bare"],
        "speedup_over_eager": rounded(eager / table[shipped]["slice_ms_p50"]),
        "speedup_over_eager_end_to_end": rounded(eager / 1000 * table[shipped]["end_to_end_slices_per_second"]),
        "speedup_of_onnxruntime_over_eager": rounded(eager / table["onnxruntime"]["slice_ms_p50"]),
        "size": arguments.size,
        "width": arguments.width,
        "depth": arguments.depth,
        "slices": num_slices,
        "rounds": arguments.rounds,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", *RUNTIMES) if name in ("torch", *networks)},
        "commit": commit(),
    }


@dataclass(frozen=True, kw_only=True)
class CommandTimes:
    """Seconds of one round with the command."""

    whole: float
    load: float
    """Of `whole`, the time in which the model is loaded, measured separately."""

    bare: float
    """The time that the bare network takes for the same slices."""


@dataclass(frozen=True, kw_only=True)
class NetworkTimes:
    """Seconds that a network took, over all rounds."""

    slices: list[float] = field(default_factory=list)
    volumes: list[float] = field(default_factory=list)
    commands: list[CommandTimes] = field(default_factory=list)
    """Empty for a network that is not a runtime of the command."""


def _measure(
    networks: dict[str, Network], volumes: list[np.ndarray], folder: Path, settings: Settings, num_rounds: int
) -> dict[str, NetworkTimes]:
    times = {name: NetworkTimes() for name in networks}
    names = list(networks)
    for number in range(num_rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            time.sleep(REST_SECONDS)
            bare = [seconds for volume in volumes for seconds in _bare(networks[name], volume, settings)]
            times[name].slices.extend(bare)
            time.sleep(REST_SECONDS)
            times[name].volumes.extend(_volume(networks[name], volume, settings) for volume in volumes)
            if name in RUNTIMES:
                time.sleep(REST_SECONDS)
                load, whole = _command(folder, name)
                times[name].commands.append(CommandTimes(whole=whole, load=load, bare=sum(bare)))
    return times


def _write_patient(folder: Path, number: int, size: int) -> None:
    images = draw_patient(0, number)[0]
    folder.mkdir(parents=True)
    for index, image in enumerate(np.concatenate([images, images[::-1]])):
        resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
        tifffile.imwrite(folder / f"{folder.name}_{index + 1}.tif", resized, photometric="rgb")


def _networks(predictor: Predictor, model: Path, *, compiled: bool) -> dict[str, Network]:
    networks = {"onnxruntime": load_model(model, runtime="onnxruntime")[0]}
    with contextlib.suppress(ImportError):
        import openvino  # noqa: F401

        networks["openvino"] = load_model(model, runtime="openvino")[0]
    networks["eager"] = torch_network(predictor, torch.device("cpu"))
    if compiled:
        graph = torch.compile(predictor.eval())

        @torch.inference_mode()
        def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
            return graph(*map(torch.from_numpy, (slices, mean, std)))[0].numpy()

        networks["compiled"] = network
    return networks


def _bare(network: Network, volume: np.ndarray, settings: Settings) -> list[float]:
    """Return the seconds that a network takes for each slice of a volume."""
    prepared = prepare(volume, settings.preprocessing)
    batches = np.ascontiguousarray(prepared.images[:, None].transpose(0, 1, 4, 2, 3), np.float32)
    return [seconds_of(lambda batch=batch: network(batch, prepared.mean, prepared.std)) for batch in batches]


def _volume(network: Network, volume: np.ndarray, settings: Settings) -> float:
    return seconds_of(lambda: to_masks(predict_volume(network, volume, settings.preprocessing, batch_size=1), settings))


def _command(folder: Path, runtime: str) -> tuple[float, float]:
    """Return the seconds that loading the model takes, and those that the whole command takes."""
    load = seconds_of(lambda: load_model(folder / "model.onnx", runtime=runtime))
    shutil.rmtree(folder / "out", ignore_errors=True)  # the command skips patients that are already there
    arguments = [str(folder / "model.onnx"), str(folder / "in"), "--out", str(folder / "out"), "--runtime", runtime]

    def run() -> None:
        assert predict(arguments) == 0

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return load, seconds_of(run)


def _summary(times: NetworkTimes, num_slices: int) -> dict[str, float]:
    found = {
        "slice_ms_p50": 1e3 * np.percentile(times.slices, 50),
        "slice_ms_p99": 1e3 * np.percentile(times.slices, 99),
        "slices_per_second": 1 / np.percentile(times.slices, 50),
        "volume_ms_p50": 1e3 * np.percentile(times.volumes, 50),
        "volume_ms_p99": 1e3 * np.percentile(times.volumes, 99),
    }
    if rounds := times.commands:
        found |= {
            "end_to_end_slices_per_second": num_slices / statistics.median(one.whole - one.load for one in rounds),
            "load_seconds": statistics.median(one.load for one in rounds),
            "ratio_to_bare": statistics.median((one.whole - one.load) / one.bare for one in rounds),
            "ratio_to_bare_with_loading": statistics.median(one.whole / one.bare for one in rounds),
        }
    return {name: rounded(value) for name, value in found.items()}


def _dice(model: Path, data: str) -> dict[str, float]:
    """Return the mean Dice in each runtime, and the largest difference for one patient."""
    patients = find_source(data, phantom_root=Path(tempfile.gettempdir())).patients
    scores = {}
    for name in RUNTIMES:
        network, settings = load_model(model, runtime=name)
        scores[name] = np.array([score.dice for score in evaluate(network, patients, settings=settings, batch_size=1)])
    one, other = scores.values()
    return {
        **{name: round(float(np.nanmean(dice)), 5) for name, dice in scores.items()},
        "largest_difference_of_a_patient": round(float(np.nanmax(np.abs(one - other))), 5),
        "patients": len(patients),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next((line.split(": ")[1] for line in info.splitlines() if line.startswith("model name")), "")
    units = [unit for unit in ("avx512_bf16", "amx_bf16") if f" {unit}" in info]
    return " ".join([name or platform.processor(), *units])


if __name__ == "__main__":
    main(tyro.cli(Arguments))
