"""An exported model, read and ready to run, without torch: by ONNX Runtime or by OpenVINO.

`auto` takes OpenVINO in bfloat16 where it is installed, the processor computes in bfloat16 (OpenVINO's own list of its
capabilities has BF16) and ONNX Runtime has no CUDA; everywhere else it takes ONNX Runtime in float32, on a GPU if that
has CUDA. In bfloat16 OpenVINO is twice as fast; in float32 it gains little (LOG.md).

Nothing goes over a network: openvino's telemetry package serves its converter, and loading and running a model here
opens no socket (test_runtime.py; strace of openvino 2026.4 shows no network call at all).
"""

import os
from pathlib import Path
from textwrap import shorten
from types import ModuleType
from typing import NamedTuple

import numpy as np

from model.inference.onnx_file import model_file, read_model
from model.inference.volume import Network
from model.settings import ModelError, Settings

RUNTIMES = ("auto", "onnxruntime", "openvino")

MAX_REASON = 400
"""Characters of what a runtime says of a model that it does not take; OpenVINO says pages."""


class Choice(NamedTuple):
    """What runs a model on this machine."""

    name: str
    """'onnxruntime' or 'openvino'."""

    precision: str
    """'float32' or 'bfloat16'."""

    device: str
    """'CPU' or 'CUDA'."""


def load_model(path: Path, *, runtime: str = "auto") -> tuple[Network, Settings]:
    """Return the network of an exported model (the file, or the folder that holds model.onnx) and its settings.

    Raises:
        ModelError: The file is missing, damaged, too large, not what its manifest names, or was not exported by this
            program; or the runtime is not installed, or lacks something.
        MemoryError: The memory does not suffice.
    """
    file = model_file(path)
    content, settings = read_model(file)
    start = {"onnxruntime": _in_onnxruntime, "openvino": _in_openvino}[choose_runtime(runtime).name]
    try:
        return start(content), settings
    except MemoryError:
        raise
    except Exception as error:  # the runtimes have a class of their own for each way a file can be damaged
        reason = shorten(f"{type(error).__name__}: {error}", MAX_REASON, placeholder=" ...")
        raise ModelError(
            f"model {file} cannot be read as ONNX: it is damaged or no model; export it again ({reason})"
        ) from error


def choose_runtime(runtime: str = "auto") -> Choice:
    """Return what this runtime stands for on this machine.

    Raises:
        ModelError: There is no such runtime, or it is not installed.
    """
    if runtime not in RUNTIMES:
        raise ModelError(f"runtime is {runtime!r}, but must be one of {', '.join(RUNTIMES)}")
    if runtime == "openvino" and _import_openvino() is None:
        raise ModelError("runtime openvino is not installed: pip install 'tumour-search[fast]', or take onnxruntime")
    has_cuda = runtime != "openvino" and "CUDAExecutionProvider" in _providers()
    if runtime == "openvino" or (runtime == "auto" and not has_cuda and _openvino_computes_in_bfloat16()):
        return Choice("openvino", "bfloat16" if _openvino_computes_in_bfloat16() else "float32", "CPU")
    return Choice("onnxruntime", "float32", "CUDA" if has_cuda else "CPU")


def _in_onnxruntime(content: bytes) -> Network:
    onnxruntime = _import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    session = onnxruntime.InferenceSession(content, options, providers=_providers())

    def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return session.run(["probability"], {"slices": slices, "mean": mean, "std": std})[0]

    return network


def _in_openvino(content: bytes) -> Network:
    core = _import_openvino().Core()
    precision = "bf16" if _openvino_computes_in_bfloat16() else "f32"
    # Sides and batch stay open: a model that was compiled for fixed ones was no faster (LOG.md).
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(core.read_model(content), "CPU", hints).create_infer_request()

    def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        request.infer({"slices": slices, "mean": mean, "std": std}, share_inputs=True)
        return request.get_tensor("probability").data.copy()  # the next call writes over it

    return network


def _import_onnxruntime() -> ModuleType:  # here, because reading the patients, and training, do without it
    # From 1.29 on it reports to Microsoft unless this is set before it is imported (its Privacy.md).
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError("running a model needs onnxruntime: pip install 'tumour-search[infer]'") from error
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
    openvino = _import_openvino()
    return openvino is not None and "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
