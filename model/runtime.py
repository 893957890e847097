"""An exported model, read and ready to run, without torch: by ONNX Runtime or by OpenVINO.

`auto` takes OpenVINO in bfloat16 where it is installed, the processor computes in bfloat16 (OpenVINO's own list of its
capabilities has BF16) and ONNX Runtime has no CUDA; everywhere else it takes ONNX Runtime in float32, on a GPU if that
has CUDA. In bfloat16 OpenVINO is twice as fast, with AMX six times; in float32 it gains little (LOG.md).

Nothing is unpickled or unpacked, and nothing goes over a network: openvino's telemetry package is used by its converter
alone, and loading and running a model here opens no socket (seen with strace, openvino 2026.4).
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.inference import Network
from model.settings import ModelError, Settings

MODEL_NAME = "model.onnx"
MANIFEST_NAME = "manifest.json"
METADATA_KEY = "tumour_search"
RUNTIMES = ("auto", "onnxruntime", "openvino")

MAX_BYTES = 2**31
"""Protobuf, and with it ONNX in one file, ends here; the largest network that a search can find has a tenth of it."""

_NO_MODELS = {
    b"PK": "a zip archive, as PyTorch's checkpoints are",
    b"\x80": "a pickle, as PyTorch's old checkpoints are",
    b"\x1f\x8b": "gzip",
    b"\x89HDF": "HDF5, as Keras's models are",
    b"<": "XML, as OpenVINO's own models are",
}
"""What is often mistaken for a model, by its first bytes; ONNX begins with none of these."""


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
            program; or the runtime is not installed.
    """
    file = model_file(path)
    name = choose_runtime(runtime).name
    content = _read(file)
    check_manifest(file.parent, file.name)
    try:
        network, text = {"onnxruntime": _in_onnxruntime, "openvino": _in_openvino}[name](content)
    except Exception as error:  # the runtimes have a class of their own for each way a file can be damaged
        raise ModelError(f"model {file} cannot be read as ONNX: it is damaged or no model; export it again") from error
    if text is None:
        raise ModelError(f"model {file} has no {METADATA_KEY} settings: it is not of this program; export one with it")
    try:
        return network, Settings.from_json(text)
    except ModelError as error:
        raise ModelError(f"model {file}: {error}; export it again with this version") from error


def model_file(path: Path) -> Path:
    """Return the file of a model that is named by itself or by its folder.

    Raises:
        ModelError: There is none.
    """
    file = path / MODEL_NAME if path.is_dir() else path
    if not file.is_file():
        raise ModelError(f"model {file} does not exist; name an exported {MODEL_NAME}, or the folder that holds it")
    return file


def choose_runtime(runtime: str = "auto") -> Choice:
    """Return what this runtime stands for on this machine.

    Raises:
        ModelError: There is no such runtime, or it is not installed.
    """
    if runtime not in RUNTIMES:
        raise ModelError(f"runtime is {runtime!r}, but must be one of {', '.join(RUNTIMES)}")
    if runtime == "openvino" and not _openvino_is_installed():
        raise ModelError("runtime openvino is not installed: pip install 'tumour-search[fast]', or take onnxruntime")
    has_cuda = runtime != "openvino" and len(_providers()) > 1
    if runtime == "openvino" or (runtime == "auto" and not has_cuda and _openvino_computes_in_bfloat16()):
        return Choice("openvino", "bfloat16" if _openvino_computes_in_bfloat16() else "float32", "CPU")
    return Choice("onnxruntime", "float32", "CUDA" if has_cuda else "CPU")


def check_manifest(folder: Path, name: str) -> None:
    """Return nothing: a file of the folder is the one that manifest.json beside it names, or it names none.

    Raises:
        ModelError: It is another file, or the manifest cannot be read.
    """
    manifest = folder / MANIFEST_NAME
    if not manifest.is_file():
        return
    try:
        entry = json.loads(manifest.read_bytes())["files"].get(name)
        named = None if entry is None else str(entry["sha256"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"manifest {manifest} cannot be read: it is damaged; export the model again") from error
    with (folder / name).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if named not in (None, found):
        raise ModelError(
            f"model {folder / name} is not the file that its manifest names (sha256 {found}, manifest {named}): "
            "copy the folder again as a whole, or export the model again"
        )


def _read(file: Path) -> bytes:
    num_bytes = file.stat().st_size
    if num_bytes > MAX_BYTES:
        raise ModelError(f"model {file} has {num_bytes} bytes, but at most {MAX_BYTES} are legal: it is no model")
    with file.open("rb") as stream:
        first = stream.read(8)
        for start, what in _NO_MODELS.items():
            if first.startswith(start):
                raise ModelError(f"model {file} is {what}, and is not opened; name an exported {MODEL_NAME}")
        return first + stream.read()


def _in_onnxruntime(content: bytes) -> tuple[Network, str | None]:
    onnxruntime = _import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    session = onnxruntime.InferenceSession(content, options, providers=_providers())

    def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return session.run(["probability"], {"slices": slices, "mean": mean, "std": std})[0]

    return network, session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)


def _in_openvino(content: bytes) -> tuple[Network, str | None]:
    import openvino

    core = openvino.Core()
    model = core.read_model(content)
    precision = "bf16" if _openvino_computes_in_bfloat16() else "f32"
    # Sides and batch stay open: a model that was compiled for fixed ones was no faster (LOG.md).
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()

    def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        request.infer({"slices": slices, "mean": mean, "std": std}, share_inputs=True)
        return request.get_tensor("probability").data.copy()  # the next call writes over it

    key = ["framework", METADATA_KEY]  # where OpenVINO puts the metadata of an ONNX file
    return network, model.get_rt_info(key).value if model.has_rt_info(key) else None


def _import_onnxruntime():  # here, because reading the patients, and training, do without it
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError("running a model needs onnxruntime: pip install 'tumour-search[infer]'") from error
    return onnxruntime


def _providers() -> list[str]:
    available = _import_onnxruntime().get_available_providers()
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]


def _openvino_is_installed() -> bool:
    try:
        import openvino  # noqa: F401
    except ImportError:
        return False
    return True


def _openvino_computes_in_bfloat16() -> bool:
    if not _openvino_is_installed():
        return False
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
