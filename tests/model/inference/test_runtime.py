"""A model runs the same in both runtimes, and files that are not models are refused before a runtime opens them."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from data.preprocess import Preprocessing
from model.export.onnx_export import export_onnx
from model.export.predictor import Predictor
from model.inference.onnx_file import MAX_BYTES
from model.inference.runtime import choose_runtime, load_model
from model.settings import ModelError, Settings
from model.unet import UNet, UNetConfig
from tests.support.hand_model import SETTINGS, flair_network, write_model_of


@pytest.fixture
def model(tmp_path):
    return write_model_of(tmp_path / "model.onnx")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    settings = Settings(preprocessing=Preprocessing(size=32), channel_names=("pre", "flair", "post"))
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    volume = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    export_onnx(Predictor([UNet(UNetConfig(depth=2, width=4))]), path, settings, sample_volumes=[volume])
    return path


def batch(num_slices: int, size: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    slices = np.random.default_rng(num_slices).integers(0, 256, (num_slices, 3, size, size)).astype(np.float32)
    return slices, np.full(3, 120, np.float32), np.full(3, 60, np.float32)


def test_runtimes_agree(exported):
    pytest.importorskip("openvino")
    one, other = (load_model(exported, runtime=runtime)[0] for runtime in ("onnxruntime", "openvino"))
    for num_slices in (1, 3, 2):
        found, expected = other(*batch(num_slices, 32)), one(*batch(num_slices, 32))
        assert found.shape == expected.shape == (num_slices, 1, 32, 32)
        np.testing.assert_allclose(found, expected, atol=0.02)  # bfloat16 keeps 8 bits
        assert np.abs(found - expected).mean() < 0.002


def test_openvino_does_not_overwrite_what_it_returned(model):
    pytest.importorskip("openvino")
    network, settings = load_model(model, runtime="openvino")
    assert settings == SETTINGS
    slices, mean, std = batch(2)
    found = network(slices, mean, std)
    network(slices * 0, mean, std)
    np.testing.assert_allclose(found, flair_network(slices, mean, std), atol=0.01)


def test_auto_takes_openvino_with_bfloat16_and_without_cuda():
    openvino, onnxruntime = pytest.importorskip("openvino"), pytest.importorskip("onnxruntime")
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    assert choose_runtime().engine == ("openvino" if "BF16" in capabilities and not has_cuda else "onnxruntime")


def test_auto_takes_onnxruntime_without_openvino(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert choose_runtime()[:2] == ("onnxruntime", "float32")
    assert load_model(model)[1] == SETTINGS
    with pytest.raises(ModelError, match=r"openvino is not installed: pip install -e '.\[fast\]'"):
        load_model(model, runtime="openvino")


def test_unknown_and_missing_runtimes_are_named(model, monkeypatch):
    with pytest.raises(ModelError, match="runtime is 'torch', but must be one of auto, onnxruntime, openvino"):
        load_model(model, runtime="torch")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"needs onnxruntime: pip install -e '.\[infer\]'"):
        load_model(model)


class Bomb:
    def __reduce__(self):
        return os.mkdir, (str(Path.cwd() / "exploded"),)


def write_pickle(path):
    path.write_bytes(pickle.dumps(Bomb()))


def write_zip(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", pickle.dumps(Bomb()))
        archive.writestr("zeros", bytes(10_000_000))


def write_checkpoint(path):
    torch.save({"bomb": Bomb()}, path)


def write_large(path):
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a sparse file, which takes no space


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_pickle, "is a pickle, like PyTorch's old checkpoints, and is not opened; name an exported model.onnx"),
        (write_zip, "is a zip archive, like PyTorch's checkpoints, and is not opened"),
        (write_checkpoint, "is a zip archive"),
        (write_large, "has 2147483649 bytes, but at most 2147483648 are legal: it is not a model"),
        (lambda path: path.write_text("<net name='x'/>"), "is XML, like OpenVINO's own models"),
        (lambda path: path.write_bytes(b"GIF89a" + bytes(100)), "cannot be read as ONNX"),
        (lambda path: path.write_bytes(b"\xff" * 100), "cannot be read as ONNX"),
    ],
)
def test_load_model_opens_no_foreign_file(tmp_path, monkeypatch, write, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_load_model_refuses_a_file_truncated_at_any_byte(model, runtime):
    pytest.importorskip(runtime)
    content = model.read_bytes()
    for num_bytes in range(0, len(content), 7):
        model.write_bytes(content[:num_bytes])
        with pytest.raises(ModelError, match=r"model.onnx (cannot be read as ONNX|has no tumour_search settings)"):
            load_model(model, runtime=runtime)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_load_model_says_why_a_runtime_rejects_a_graph(model, runtime):
    pytest.importorskip(runtime)
    content = model.read_bytes()
    model.write_bytes(content.replace(b"Sigmoid", b"Sigmund"))
    said = r"cannot be read as ONNX: it is damaged or not a model; export it again \([A-Za-z]+: .*Sigmund.*\)$"
    with pytest.raises(ModelError, match=said) as refused:
        load_model(model, runtime=runtime)
    assert len(str(refused.value)) < len(str(model)) + 500


def test_load_model_does_not_call_a_file_damaged_if_memory_is_short(model, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(onnxruntime, "InferenceSession", exhausted)
    with pytest.raises(MemoryError):
        load_model(model, runtime="onnxruntime")


def write_manifest(folder: Path, files: object) -> None:
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": files}))


def test_file_is_compared_with_its_manifest(model):
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    write_manifest(model.parent, {"model.onnx": {"sha256": digest, "bytes": model.stat().st_size}})
    assert load_model(model, runtime="onnxruntime")[1] == SETTINGS
    write_manifest(model.parent, {"model.onnx": {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(ModelError, match=rf"is not the file that its manifest names \(sha256 {digest}, manifest 0000"):
        load_model(model, runtime="onnxruntime")
    write_manifest(model.parent, {"other.onnx": {"sha256": "0" * 64, "bytes": 1}})
    assert load_model(model, runtime="onnxruntime")[1] == SETTINGS


def test_read_model_reads_a_file_once_and_keeps_one_copy(model):
    graph = onnx.load(model)
    graph.doc_string = "x" * 20_000_000
    onnx.save(graph, model)
    num_bytes = model.stat().st_size
    write_manifest(model.parent, {"model.onnx": {"sha256": hashlib.sha256(model.read_bytes()).hexdigest(), "bytes": 1}})
    code = (
        "import sys, tracemalloc\n"
        "from pathlib import Path\n"
        "from model.inference.onnx_file import read_model\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, arguments: event == 'open' and opened.append(str(arguments[0])))\n"
        "tracemalloc.start()\n"
        f"content, _ = read_model(Path({str(model)!r}))\n"
        f"print(len(content), opened.count({str(model)!r}), tracemalloc.get_traced_memory()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    num_read, num_opened, peak = map(int, done.stdout.split())
    assert (num_read, num_opened) == (num_bytes, 1)
    assert peak < 1.5 * num_bytes


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"format": 1, "files": 1}', '{"format": 1, "files": {"model.onnx": {}}}']
)
def test_damaged_manifest_is_named(model, text):
    (model.parent / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match=r"manifest\.json "):
        load_model(model)


def test_running_a_model_opens_no_socket(model, tmp_path):
    code = (
        "import sys\n"
        "def refuse(event, arguments):\n"
        "    assert event not in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'), event\n"
        "sys.addaudithook(refuse)\n"
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from model.inference.runtime import load_model\n"
        f"network, _ = load_model(Path({str(model)!r}))\n"
        "network(np.zeros((1, 3, 16, 16), np.float32), np.zeros(3, np.float32), np.ones(3, np.float32))\n"
        "print('torch' in sys.modules)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
    assert not list(tmp_path.glob("*.ses")), "ONNX Runtime's telemetry was on"
