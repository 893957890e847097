"""Load an exported model and run it without torch, in ONNX Runtime or OpenVINO.

`auto` takes OpenVINO in bfloat16 if it is installed, the processor computes in bfloat16 (OpenVINO lists BF16 among its
capabilities) and ONNX Runtime has no CUDA. Otherwise it takes ONNX Runtime in float32, on a GPU if CUDA is available.
In bfloat16 OpenVINO is twice as fast; in float32 it gains little (tests/benchmarks/LOG.md).

Nothing is sent over a network. OpenVINO's telemetry package belongs to its converter; loading and running a model opens
no socket (tests/model/inference/test_runtime.py; strace of openvino 2026.4 shows no network call at all).
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from textwrap import shorten
from types import ModuleType
from typing import Literal, NamedTuple, get_args

import numpy as np

from model.inference.onnx_file import model_file, read_model
from model.inference.volume import Network, with_regions
from model.settings import ModelError, Settings

Engine = Literal["onnxruntime", "openvino"]
"""A library that runs a model."""

Runtime = Literal["auto", Engine]
"""A value of `--runtime`; `auto` picks one of the engines, depending on the machine."""

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)

MAX_REASON = 400
"""Largest number of characters quoted from a runtime that rejects a model; OpenVINO writes pages."""


class ChosenRuntime(NamedTuple):
    """The engine that runs a model on this machine, with its precision and device."""

    engine: Engine
    precision: Literal["float32", "bfloat16"]
    device: Literal["CPU", "CUDA"]

    def __str__(self) -> str:
        return f"{self.engine}, {self.precision}, on the {self.device}"


def load_model(path: Path, *, runtime: str = "auto") -> tuple[Network, Settings]:
    """Return the network of an exported model and its settings.

    Args:
        path: The model's file, or the folder that holds `model.onnx`.
        runtime: One of RUNTIMES.

    Raises:
        ModelError: The file is missing, damaged, too large, not the one that its manifest names, or was not exported by
            this program; or the runtime is not installed, or does not support the model. The network raises it too, if
            the runtime fails, or what it computes does not suit the settings.
        MemoryError: There is not enough memory.
    """
    file = model_file(path)
    content, settings = read_model(file)
    network_of = _NETWORKS[choose_runtime(runtime).engine]
    with _naming(f"model {file} cannot be read as ONNX: it is damaged or not a model; export it again"):
        network = network_of(content)

    def checked(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        with _naming(f"model {file} fails at slices of {slices.shape[1:]}: it is damaged; export it again"):
            found = network(slices, mean, std)
        shape = (len(slices), len(settings.regions), *slices.shape[2:])
        if found.shape != shape or found.dtype != np.float32:
            raise ModelError(
                f"model {file} returns {found.dtype} of shape {found.shape}, but its settings promise float32 of shape "
                f"{shape}: it is damaged; export it again"
            )
        return found

    return checked, settings


@contextmanager
def _naming(sentence: str) -> Iterator[None]:
    """Turn whatever a runtime raises into an error that begins with a sentence about the model."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # the runtimes raise a different class for each way in which a file can be damaged
        reason = shorten(f"{type(error).__name__}: {error}", MAX_REASON, placeholder=" ...")
        if re.search(r"bad[_ ]?alloc|allocate memory|out of memory", reason, re.IGNORECASE):
            raise MemoryError(reason) from error
        raise ModelError(f"{sentence} ({reason})") from error


def choose_runtime(runtime: str = "auto") -> ChosenRuntime:
    """Return the engine, precision and device that this machine uses for a runtime, one of RUNTIMES.

    Raises:
        ModelError: There is no such runtime, or it is not installed.
    """
    if runtime not in RUNTIMES:
        raise ModelError(f"runtime is {runtime!r}, but must be one of {', '.join(RUNTIMES)}")
    if runtime == "openvino" and _import_openvino() is None:
        raise ModelError("runtime openvino is not installed: pip install -e '.[fast]', or use onnxruntime")
    has_cuda = runtime != "openvino" and "CUDAExecutionProvider" in _providers()
    if runtime == "openvino" or (runtime == "auto" and not has_cuda and _openvino_computes_in_bfloat16()):
        return ChosenRuntime("openvino", "bfloat16" if _openvino_computes_in_bfloat16() else "float32", "CPU")
    return ChosenRuntime("onnxruntime", "float32", "CUDA" if has_cuda else "CPU")


def onnxruntime_network(content: bytes) -> Network:
    """Return the network in the bytes of a model's file, run in float32 by ONNX Runtime."""
    onnxruntime = _import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, and need not be printed as well
    session = onnxruntime.InferenceSession(content, options, providers=_providers())

    def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return with_regions(session.run(["probability"], {"slices": slices, "mean": mean, "std": std})[0])

    return network


def openvino_network(content: bytes) -> Network:
    """Return the network in the bytes of a model's file, run by OpenVINO."""
    openvino = _import_openvino()
    assert openvino is not None, "choose_runtime has checked it"
    _check_operators(content)
    core = openvino.Core()
    precision = "bf16" if _openvino_computes_in_bfloat16() else "f32"
    # Sides and batch stay dynamic: a model compiled for fixed ones was no faster (tests/benchmarks/LOG.md).
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(core.read_model(content), "CPU", hints).create_infer_request()

    def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        request.infer({"slices": slices, "mean": mean, "std": std}, share_inputs=True)
        return with_regions(request.get_tensor("probability").data.copy())  # the next call overwrites it

    return network


def _check_operators(content: bytes) -> None:
    """Let ONNX Runtime open the model, if it is installed: it checks the inputs of each operator.

    OpenVINO 2026.4 ends the process where some are missing, such as the weights of a convolution.
    """
    with suppress(ModelError):
        onnxruntime = _import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


_NETWORKS: dict[Engine, Callable[[bytes], Network]] = {
    "onnxruntime": onnxruntime_network,
    "openvino": openvino_network,
}


def _import_onnxruntime() -> ModuleType:  # imported late, because reading patients and training do not need it
    # From 1.29 on it reports to Microsoft unless this is set before the import (see its Privacy.md).
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError("running a model needs onnxruntime: pip install -e '.[infer]'") from error
    return onnxruntime


def _providers() -> list[str]:
    available = _import_onnxruntime().get_available_providers()
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]


def _import_openvino() -> ModuleType | None:
    try:
        import openvino
    except ImportError:
        return None
    return openvino


def _openvino_computes_in_bfloat16() -> bool:
    if not _may_compute_in_bfloat16():
        return False
    openvino = _import_openvino()
    return openvino is not None and "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def _may_compute_in_bfloat16() -> bool:
    """Return False if the processor is known to lack the units, without an import of OpenVINO, which takes as long as
    half of a prediction. Linux lists the flags of an x86 processor; OpenVINO uses bfloat16 from AVX-512 on, and in the
    late AVX2 of processors without AVX-512."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return True
    flags = re.search(r"^flags\s*:(.*)", info, re.MULTILINE)
    return flags is None or bool(re.search(r"\b(avx512|avx_ne_convert|amx)", flags[1]))
