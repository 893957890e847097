"""The service over real HTTP: the masks of `model.predict`, a sentence for every mistake, and nothing that ends it.

The models in these tests are a few nodes of ONNX: probability = sigmoid((FLAIR - mean) / std).
"""

import base64
import gzip
import http.client
import io
import json
import os
import pickle
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import nibabel
import numpy as np
import onnx
import pytest
import tifffile
import torch
import tyro

from data.errors import BadFiles
from data.preprocess import Preprocessing
from data.readers.nifti_file import read_grid
from model.export.predictor import Predictor, torch_network
from model.inference.onnx_file import METADATA_KEY
from model.inference.runtime import load_model
from model.inference.volume import predict_volume
from model.predict.__main__ import main as predict
from model.serve.__main__ import Arguments, listen, main, make_server
from model.serve.batching import BatchConfig, Batcher
from model.serve.limits import Allowance, Refusal
from model.serve.upload import num_values
from model.settings import Settings
from model.unet import NORMS, UNet, UNetConfig
from tests.support.fakes import write_lgg_patient
from tests.support.faults import assert_fault

RGB = ("pre", "flair", "post")
TOKEN = "0123456789abcdef-secret"
ROOT = Path(__file__).resolve().parents[3]


def write_model(path: Path, names: tuple[str, ...] = RGB, *, channel: int = 1, size: int = 16) -> Path:
    """Return the path of a model whose probability rises with one channel."""
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    inputs = {"slices": 1, "mean": 0, "std": 0}
    graph = onnx.helper.make_graph(
        [
            *(node("Gather", [name, "channel"], [f"{name}_one"], axis=axis) for name, axis in inputs.items()),
            node("Sub", ["slices_one", "mean_one"], ["centred"]),
            node("Div", ["centred", "std_one"], ["normalised"]),
            node("Sigmoid", ["normalised"], ["probability"]),
        ],
        "one",
        [value("slices", 1, ["b", len(names), "h", "w"]), value("mean", 1, [None]), value("std", 1, [None])],
        [value("probability", 1, ["b", "h", "w"])],
        [onnx.numpy_helper.from_array(np.array(channel), "channel")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    data_format = "lgg" if names == RGB else "nifti"
    settings = Settings(preprocessing=Preprocessing(size=size), channel_names=names, data_format=data_format)
    onnx.helper.set_model_props(model, {METADATA_KEY: settings.to_json()})
    onnx.save(model, path)
    return path


@contextmanager
def serving(model: Path, folder: Path, *options: str, token: str | None = None, slow: Callable | None = None):
    """Yield the port of a service in a thread; `slow` is called before each batch."""
    arguments = tyro.cli(Arguments, args=[str(model), *options])
    network, settings = load_model(model, runtime=arguments.runtime)

    def run(*batch: np.ndarray) -> np.ndarray:
        if slow is not None:
            slow()
        return network(*batch)

    with listen("127.0.0.1", 0) as listener, Batcher(run, arguments.batching) as batcher:
        server = make_server(arguments, batcher, settings, folder=folder, token=token, is_local=True)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def error(self) -> str:
        content = json.loads(self.body)
        assert content.keys() == {"error"}
        return content["error"]


def ask(port: int, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())
    finally:
        connection.close()


def post(port: int, name: str, content: bytes, *, output: str = "mask", headers: dict[str, str] | None = None) -> Reply:
    return ask(port, "POST", f"/predict?output={output}&filename={name}", content, headers)


def post_form(port: int, *files: tuple[str, str, bytes], output: str = "mask") -> Reply:
    """Return the answer to a form of files: field, name, content."""
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for field, name, content in files
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    return ask(port, "POST", f"/predict?output={output}", b"".join(parts) + b"--x--\r\n", headers)


def image(seed: int = 0, height: int = 20, width: int = 12, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(pixels: np.ndarray, suffix: str) -> bytes:
    if suffix == ".tif":
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels, photometric="rgb")
        return buffer.getvalue()
    return cv2.imencode(suffix, pixels[..., ::-1])[1].tobytes()


def nifti(path: Path, seed: int, shape: tuple[int, int, int] = (12, 14, 5)) -> Path:
    """Return a volume whose axes point to left, posterior and superior, with voxels of 1 x 2 x 3 mm."""
    values = np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)
    nibabel.Nifti1Image(values, np.diag([-1.0, -2.0, 3.0, 1.0])).to_filename(path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("requests")


@pytest.fixture(scope="module")
def port(model, folder) -> Iterator[int]:
    with serving(model, folder, "--max-megabytes", "2", "--max-values", "3000000") as port:
        yield port
    assert list(folder.iterdir()) == [], "what clients sent is gone"


@pytest.fixture(scope="module")
def nifti_port(folder, tmp_path_factory) -> Iterator[int]:
    model = write_model(tmp_path_factory.mktemp("model") / "model.onnx", ("t1", "flair"))
    with serving(model, folder) as port:
        yield port


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "png"), (".jpg", "png"), (".tif", "tiff")])
def test_service_answers_the_bytes_that_predict_writes(port, model, tmp_path, suffix, kind):
    source = tmp_path / f"scan{suffix}"
    source.write_bytes(encoded(image(), suffix))
    predict([str(model), str(source), "--out", str(tmp_path / "out")])
    written = {path.name: path.read_bytes() for path in (tmp_path / "out" / "scan").iterdir()}
    reply = post(port, source.name, source.read_bytes())
    assert (reply.status, reply.headers["content-type"]) == (200, f"image/{kind}")
    name = reply.headers["content-disposition"].split('"')[1]
    assert reply.body == written[name]
    assert 0 < int(reply.headers["x-tumour-pixels"]) < 240
    assert "normalised by itself" in reply.headers["x-note"]
    assert post(port, source.name, source.read_bytes(), output="overlay").body == written["scan_overlay.png"]


def test_service_takes_a_content_type_instead_of_a_name(port):
    content = encoded(image(), ".png")
    named = post(port, "scan.png", content)
    assert ask(port, "POST", "/predict", content, {"Content-Type": "image/png"}).body == named.body


def test_service_takes_several_images_as_one_patient(port, model, tmp_path):
    source = write_lgg_patient(tmp_path, "A", height=20, width=12)
    predict([str(model), str(source), "--out", str(tmp_path / "out")])
    names = ("A_10.tif", "A_2.tif", "A_1.tif")
    reply = post_form(port, *(("files", name, (source / name).read_bytes()) for name in names))
    assert (reply.status, reply.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        assert archive.namelist() == ["A_1_mask.tif", "A_2_mask.tif", "A_10_mask.tif"]
        for name in archive.namelist():
            assert archive.read(name) == (tmp_path / "out" / "A" / name).read_bytes()
    assert "x-note" not in reply.headers


@pytest.mark.parametrize("by_field", [False, True])
def test_service_answers_a_nifti_in_its_own_geometry(nifti_port, tmp_path, by_field):
    t1, flair = (nifti(tmp_path / f"C_{name}.nii.gz", seed) for seed, name in enumerate(("t1", "flair")))
    names = ("a.nii.gz", "b.nii.gz") if by_field else (flair.name, t1.name)
    fields = ("flair", "t1") if by_field else ("file0", "file1")
    files = [(*both, path.read_bytes()) for *both, path in zip(fields, names, (flair, t1), strict=True)]
    reply = post_form(nifti_port, *files)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/gzip")
    answer = nibabel.Nifti1Image.from_bytes(gzip.decompress(reply.body))
    np.testing.assert_array_equal(answer.affine, nibabel.load(flair).affine)
    (tmp_path / "mask.nii.gz").write_bytes(reply.body)
    found = read_grid(tmp_path / "mask.nii.gz", labels=True).values > 0
    images = np.stack([read_grid(path, labels=False).values for path in (t1, flair)], axis=-1)
    expected = predict_volume(flair_network, images, Preprocessing(size=16)) >= 0.5
    np.testing.assert_array_equal(found, expected)
    assert float(reply.headers["x-tumour-ml"]) == pytest.approx(expected.sum() * 6 / 1000, abs=1e-4)


def flair_network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return what the written models return."""
    return 1 / (1 + np.exp(-(slices[:, 1] - mean[1]) / std[1]))


def test_service_answers_json_for_the_page(nifti_port, tmp_path):
    files = [
        (name, f"{name}.nii", nifti(tmp_path / f"{name}.nii", seed).read_bytes())
        for seed, name in enumerate(("t1", "flair"))
    ]
    answer = json.loads(post_form(nifti_port, *files, output="json").body)
    assert (answer["slices"], answer["height"], answer["width"]) == (5, 14, 12)
    assert answer["channels"] == {"t1": "t1.nii", "flair": "flair.nii"}
    assert answer["tumour_ml"] == pytest.approx(answer["tumour_pixels"] * 6 / 1000)
    assert answer["mask"]["name"] == "t1_mask.nii.gz"
    assert [one["name"] for one in answer["overlays"]] == [f"slice {n}" for n in range(1, 6)]
    assert sum(one["tumour_pixels"] for one in answer["overlays"]) == answer["tumour_pixels"]
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(answer["overlays"][0]["png"]), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (28, 24, 3)
    panel = post_form(nifti_port, *files, output="overlay")
    assert cv2.imdecode(np.frombuffer(panel.body, np.uint8), cv2.IMREAD_COLOR).shape[2] == 3


def test_service_draws_overlays_of_the_channel_that_predict_draws(nifti_port, tmp_path):
    model, case = write_model(tmp_path / "model.onnx", ("t1", "flair")), tmp_path / "C"
    case.mkdir()
    paths = [nifti(case / f"C_{name}.nii.gz", seed) for seed, name in enumerate(("t1", "flair"))]
    predict([str(model), str(case), "--out", str(tmp_path / "out")])
    files = [(path.name, path.name, path.read_bytes()) for path in paths]
    overlays = json.loads(post_form(nifti_port, *files, output="json").body)["overlays"]
    written = [tmp_path / "out" / "C" / f"C_{n}_overlay.png" for n in range(1, 6)]
    assert [base64.b64decode(one["png"]) for one in overlays] == [path.read_bytes() for path in written]
    panel = cv2.imdecode(
        np.frombuffer(post_form(nifti_port, *files, output="overlay").body, np.uint8), cv2.IMREAD_COLOR
    )
    fifth = cv2.imread(str(written[4]))  # below the other four, to the left
    assert (panel[-fifth.shape[0] :, : fifth.shape[1]] == fifth).all()


@pytest.mark.parametrize(
    ("names", "status", "message"),
    [
        (["x.nii", "y.nii"], 422, "it cannot be told which file is which"),
        (["a_t1.nii", "b_t1.nii"], 422, "it cannot be told which file is which"),
        (["a_t1.nii"], 422, "1 NIfTI file.s. came, but the model takes 2 NIfTI file.s., one for each of t1, flair"),
        (["a_t1.nii", "a_t1.nii"], 400, "two files are called a_t1.nii; rename one"),
        (["a_t1.nii", "a_flair.png"], 400, r"files of several kinds came \(NIfTI, image\); send one kind"),
    ],
)
def test_service_never_guesses_which_nifti_is_which(nifti_port, tmp_path, names, status, message):
    content = nifti(tmp_path / "one.nii", 0).read_bytes()
    reply = post_form(nifti_port, *((f"file{index}", name, content) for index, name in enumerate(names)))
    assert reply.status == status
    assert re.search(message, reply.error)


def test_service_refuses_nifti_of_two_grids(nifti_port, tmp_path):
    one, other = nifti(tmp_path / "a_t1.nii", 0), nifti(tmp_path / "a_flair.nii", 0, (12, 14, 6))
    reply = post_form(nifti_port, *((path.name, path.name, path.read_bytes()) for path in (one, other)))
    assert reply.status == 400
    assert "a_flair.nii: is 6 x 14 x 12 (slices, rows, columns), but 5 x 14 x 12 is a_t1.nii" in reply.error


def test_concurrent_requests_are_answered_each_by_itself(port, model):
    network, settings = load_model(model)
    images = [image(seed, height=10 + seed) for seed in range(24)]
    expected = [predict_volume(network, one[None], settings.preprocessing)[0] >= 0.5 for one in images]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda one: post(port, "a.png", encoded(one, ".png")), images))
    for reply, mask in zip(replies, expected, strict=True):
        assert reply.status == 200
        found = cv2.imdecode(np.frombuffer(reply.body, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(found, mask * np.uint8(255))


@pytest.mark.parametrize("norm", NORMS)
def test_batcher_gives_each_volume_the_probabilities_that_it_has_alone(norm):
    torch.manual_seed(0)
    network = torch_network(Predictor([UNet(UNetConfig(depth=1, width=2, norm=norm))]), torch.device("cpu"))
    rng = np.random.default_rng(0)
    # Of very different brightness: a mean and std taken from a neighbour would show.
    volumes = [rng.integers(0, 20 + 30 * n, (3, 16, 16, 3)).astype(np.uint8) for n in range(8)]
    sizes = []

    def counted(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        sizes.append(len(slices))
        return network(slices, mean, std)

    alone = [predict_volume(network, volume, Preprocessing(size=16)) for volume in volumes]
    config = BatchConfig(max_batch=12, wait_milliseconds=200.0)
    with Batcher(counted, config) as batcher, ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda one: predict_volume(batcher, one, Preprocessing(size=16)), volumes))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert sum(sizes) == 24
    assert max(sizes) == 12
    assert len(sizes) <= 4


def test_allowance_makes_requests_wait_for_memory():
    allowance, order = Allowance(10), []

    def second() -> None:
        with allowance.part(6):
            order.append("second")

    with allowance.part(5):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
    with pytest.raises(Refusal, match="11 values"), allowance.part(11):
        pass


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(side: int) -> bytes:
    """Return a PNG that promises side x side pixels and holds none."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10**7))
    return buffer.getvalue()


class Explosive:
    def __reduce__(self) -> tuple:
        return os.system, ("touch exploded",)


RANDOM = np.random.default_rng(0).bytes(4000)
NONSENSE = {
    "nothing": b"",
    "random": RANDOM,
    "zip": zip_bomb(),
    "pickle": pickle.dumps(Explosive()),
    "gzip": gzip.compress(RANDOM),
    "gzip bomb": gzip.compress(bytes(10**7)),
    "cut PNG": encoded(image(), ".png")[:-30],
    "cut JPEG": encoded(image(), ".jpg")[:-30],
    "cut TIFF": encoded(image(), ".tif")[:-30],
    "PNG magic": b"\x89PNG\r\n\x1a\n" + RANDOM,
    "JPEG magic": b"\xff\xd8\xff" + RANDOM,
    "TIFF magic": b"II*\0" + RANDOM,
    "BigTIFF magic": b"II+\0\x08\0\0\0" + RANDOM,
    "NIfTI magic": bytes(344) + b"n+1\0" + RANDOM,
    "html": b"<html>",
}


@pytest.mark.parametrize("content", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_refused_with_a_sentence(port, content, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for suffix in (".png", ".jpg", ".tif", ".nii", ".nii.gz"):
        reply = post(port, f"scan{suffix}", content)
        assert reply.status in (400, 413, 422), (suffix, reply)
        assert "Traceback" not in reply.error
        assert str(tmp_path.parent) not in reply.error, "paths of the server are nobody's business"
    assert ask(port, "GET", "/healthz").status == 200
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["scan.zip", "scan.pkl", "scan.onnx", "scan", "%00.exe", "scan.png.exe"])
def test_unknown_kinds_are_refused_unread(port, name):
    reply = post(port, name, zip_bomb())
    assert reply.status == 415
    assert "names must end in one of .nii.gz, .nii" in reply.error


def test_a_body_without_name_and_type_is_refused(port):
    reply = ask(port, "POST", "/predict", encoded(image(), ".png"), {"Content-Type": "application/octet-stream"})
    assert (reply.status, "say what it is by ?filename=scan.png" in reply.error) == (415, True)


def test_names_never_leave_the_folder(port):
    for name in ("../../../tmp/out.png", "/etc/passwd.png", "..%5C..%5Cout.png", "a%00%0A%22b.png", ".png"):
        reply = post(port, name, encoded(image(), ".png"))
        assert reply.status == 200
        assert re.fullmatch(r'attachment; filename="[A-Za-z0-9._-]+_mask.png"', reply.headers["content-disposition"])


@pytest.mark.parametrize("side", [2000, 20_000, 71_000, 2**31 - 1])
def test_an_image_that_is_too_large_is_refused_by_its_header(port, side):
    reply = post(port, "scan.png", png_of(side))
    assert reply.status == 413
    assert f"the request has {side * side} values (pixels x channels), but at most 3000000" in reply.error


def tiff_of(width: int, height: int, channels: int = 1, *more: tuple[int, int]) -> bytes:
    """Return a TIFF whose sides are of a type that can be negative (SLONG), and which holds no pixels."""
    sides = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, channels), (279, 1)]
    entries = b"".join(struct.pack("<HHIi", tag, 9, 1, value) for tag, value in sorted([*sides, *more]))
    return struct.pack("<2sHIH", b"II", 42, 8, len(sides) + len(more)) + entries + bytes(4)


def nifti_of(*sides: int) -> bytes:
    """Return the header of a NIfTI file with these sides, and nothing behind it."""
    return struct.pack("<i36x8h", 348, len(sides), *sides, *[1] * (7 - len(sides))).ljust(344, b"\0") + b"n+1\0" * 50


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.nii", nifti_of(-32768, 32767, 32767), "is -32768 x 32767 x 32767"),
        ("a.nii.gz", gzip.compress(nifti_of(4, 0, 4)), "is 4 x 0 x 4"),
        ("a.tif", tiff_of(-(10**9), 1000), "is 1000 x -1000000000 x 1"),
        ("a.tif", tiff_of(1000, 0), "is 0 x 1000 x 1"),
        ("a.tif", tiff_of(1000, 1000, -3), "is 1000 x 1000 x -3"),
        ("a.tif", tiff_of(10, 10, 1, (278, -5)), "tiles or strips of no size"),
        ("a.png", png_of(0), "is 0 x 0 x 1"),
    ],
    ids=range(7),
)
def test_sides_that_are_not_positive_are_refused_by_the_header(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFiles, match=said):
        num_values(tmp_path / name)


def test_a_negative_side_frees_no_memory_for_another_file(port):
    files = [("a", "A_1.png", png_of(20_000)), ("b", "A_2.tif", tiff_of(-(10**9), 1000))]
    assert post_form(port, *files).status in (400, 413)
    with pytest.raises(AssertionError, match="a part of -1 would free"), Allowance(10).part(-1):
        pass


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True, "rowsperstrip": 3},
        {"tile": (16, 16), "compression": "zlib"},
        {"planarconfig": "separate"},
        {"bigtiff": True, "byteorder": ">"},
        None,  # LZW, as OpenCV writes
    ],
)
def test_tiffs_of_any_honest_kind_are_taken(port, tmp_path, options):
    pixels, path = image(height=40, width=30).astype(np.uint16) * 200, tmp_path / "scan.tif"
    if options is None:
        cv2.imwrite(str(path), pixels[..., ::-1])
    else:
        stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in options else pixels
        tifffile.imwrite(path, stored, photometric="rgb", **options)
    reply = post(port, "scan.tif", path.read_bytes())
    assert reply.status == 200, reply
    tifffile.imwrite(tmp_path / "plain.tif", pixels, photometric="rgb")
    assert reply.body == post(port, "scan.tif", (tmp_path / "plain.tif").read_bytes()).body


def test_a_tiff_that_decodes_to_more_than_it_promises_is_refused(port):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image(channels=3), photometric="rgb", compression="zlib")
    strip = zlib.compress(bytes(50_000_000), 9)
    content = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        tags = tiff.pages.first.tags
        for tag, value in (("StripOffsets", len(content)), ("StripByteCounts", len(strip))):
            code = {3: "<H", 4: "<I", 16: "<Q"}[tags[tag].dtype]
            struct.pack_into(code, content, tags[tag].valueoffset, value)
    reply = post(port, "scan.tif", bytes(content) + strip)
    assert (reply.status, "decodes to more than its header promises" in reply.error) == (400, True)
    assert post(port, "scan.tif", buffer.getvalue()).status == 200


def test_a_request_that_is_too_large_is_refused_while_it_comes(port):
    announced = post(port, "scan.png", bytes(2_000_001))
    streamed = ask(port, "POST", "/predict?filename=scan.png", iter([bytes(500_000)] * 5))
    for reply in (announced, streamed):
        assert reply.status == 413
        assert reply.error == "the request has more than 2 MB, which is the most; send less"


def test_images_that_do_not_suit_the_model_are_refused(port):
    grey = post(port, "scan.png", encoded(image(channels=1), ".png"))
    assert (grey.status, grey.error) == (
        422,
        "scan.png has 1 channels, but the model takes 3 (pre, flair, post): predict images like those of its training",
    )
    two = [("f", name, encoded(image(height=height), ".png")) for name, height in (("A_1.png", 9), ("A_2.png", 8))]
    assert "A_2.png: is 8 x 12 x 3 of uint8, but A_1.png" in post_form(port, *two).error
    unnumbered = [("f", name, encoded(image(), ".png")) for name in ("a.png", "b.png")]
    assert "a.png: the name is not <PATIENT>_<NUMBER>.png" in post_form(port, *unnumbered).error
    masked = [("f", name, encoded(image(), ".png")) for name in ("A_1.png", "A_1_mask.png")]
    assert "A_1_mask.png is called like a mask" in post_form(port, *masked).error


def test_requests_that_make_no_sense_are_answered_as_json(port):
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for method, path, body, headers, status in (
        ("GET", "/nothing", None, {}, 404),
        ("GET", "/predict", None, {}, 405),
        ("POST", "/predict?output=film&filename=a.png", b"x", {}, 422),
        ("POST", "/predict?filename=" + "a" * 300 + ".png", b"x", {}, 422),
        ("POST", "/predict", b"", {}, 415),
        ("POST", "/predict", b"no form", form, 400),
        ("POST", "/predict", b"--x--\r\n", form, 400),
        ("POST", "/predict", b"x", {"Content-Type": "multipart/form-data"}, 400),
        ("GET", "/", None, {"Host": "attacker.example"}, 400),
    ):
        reply = ask(port, method, path, body, headers)
        assert (reply.status, bool(reply.error)) == (status, True), path
    for raw in (b"\0\1\2\3\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(raw)
            assert connection.recv(100).startswith(b"HTTP/1.1 4")
    assert ask(port, "GET", "/healthz").status == 200


def test_a_fault_is_logged_and_answered_without_its_traceback(model, folder, caplog):
    def fail() -> None:
        raise RuntimeError("the network is ill")

    with serving(model, folder, slow=fail) as port:
        reply = post(port, "scan.png", encoded(image(), ".png"))
        assert (reply.status, reply.error) == (500, "the service failed at this request; its log says why")
        assert ask(port, "GET", "/healthz").status == 200
    assert "the network is ill" in caplog.text


def test_a_full_queue_is_said_and_nothing_waits_for_it(model, folder):
    began, go = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        go.wait(20)

    content = encoded(image(), ".png")
    with serving(model, folder, "--max-requests", "1", slow=wait) as port, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, port, "scan.png", content)
        began.wait(20)
        try:
            second = post(port, "scan.png", content)
            health = ask(port, "GET", "/healthz")
        finally:
            go.set()
        assert (second.status, second.headers["retry-after"]) == (503, "1")
        assert "1 requests are being worked on" in second.error
        assert (health.status, first.result().status) == (200, 200)
        assert post(port, "scan.png", content).status == 200


def test_a_token_is_asked_for_and_never_written(model, folder, caplog):
    content = encoded(image(), ".png")
    caplog.set_level("DEBUG")
    with serving(model, folder, token=TOKEN) as port:
        for header in (None, "Bearer wrong", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xff"):
            reply = post(port, "scan.png", content, headers={"Authorization": header} if header is not None else {})
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
            assert TOKEN not in reply.error
        assert post(port, "scan.png", content, headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
        assert json.loads(ask(port, "GET", "/healthz").body)["token_needed"] is True
    assert "POST '/predict' 401" in caplog.text
    assert TOKEN not in caplog.text
    assert "scan.png" not in caplog.text, "a name may be a patient's"


def test_slow_clients_are_left(model, folder):
    with serving(model, folder, "--timeout-seconds", "0.5") as port:
        silent = socket.create_connection(("127.0.0.1", port), timeout=10)
        slow = socket.create_connection(("127.0.0.1", port), timeout=10)
        with silent, slow:
            silent.sendall(b"GET / HT")
            slow.sendall(b"POST /predict?filename=a.png HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
            answer = b"".join(iter(partial(slow.recv, 1000), b""))
            assert answer.startswith(b"HTTP/1.1 408")
            assert answer.endswith(b'{"error":"the request took over 0.5 s; send it faster"}')
            with suppress(ConnectionResetError):
                assert silent.recv(10) == b""
        assert ask(port, "GET", "/healthz").status == 200


def test_pages_load_nothing_from_elsewhere(port):
    for path in ("/", "/docs"):
        reply = ask(port, "GET", path)
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe" not in policy
        assert b"http://" not in reply.body
        assert b"https://" not in reply.body
        assert (reply.headers["x-content-type-options"], reply.headers["cache-control"]) == ("nosniff", "no-store")
        assert "access-control-allow-origin" not in reply.headers
    paths = json.loads(ask(port, "GET", "/openapi.json").body)["paths"]
    assert paths.keys() == {"/predict", "/healthz"}
    health = json.loads(ask(port, "GET", "/healthz").body)
    assert (health["status"], health["channels"], health["size"]) == ("ok", list(RGB), 16)


def refusal(capsys, *arguments: object) -> str:
    try:
        status = main([str(one) for one in arguments])
    except SystemExit as stopped:  # what tyro raises while it reads the arguments
        status = stopped.code
    assert status == 2
    return capsys.readouterr().err.strip()


def test_command_names_what_is_wrong_in_one_sentence(model, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TUMOUR_SEARCH_TOKEN", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = taken.getsockname()[1]
        assert "(Address already in use); choose another" in refusal(capsys, model, "--port", used)
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    assert "error: model nothing does not exist" in refusal(capsys, "nothing", "--port", 0)
    assert "cannot be read as ONNX" in refusal(capsys, bad, "--port", 0)
    assert "port is 70000, but must be 0 to 65535" in refusal(capsys, model, "--port", 70000)
    assert "cannot listen at 192.0.2.1" in refusal(capsys, model, "--host", "192.0.2.1", "--port", 0)
    assert "max_megabytes is 0, but must be above 0" in refusal(capsys, model, "--max-megabytes", 0)
    assert "max_batch is 0, but must be at least 1" in refusal(capsys, model, "--max-batch", 0)
    message = refusal(capsys, model, "--host", "0.0.0.0", "--port", 0)
    assert "reached from other machines, but there is no token: give --token-file" in message
    (tmp_path / "token").write_text("secret words\n")
    message = refusal(capsys, model, "--port", 0, "--token-file", tmp_path / "token")
    assert "is not legal: it must be at least 16" in message
    assert "secret" not in message
    assert "token file" in refusal(capsys, model, "--port", 0, "--token-file", tmp_path)
    monkeypatch.setenv("TUMOUR_SEARCH_TOKEN", "")
    assert "the token in TUMOUR_SEARCH_TOKEN is not legal" in refusal(capsys, model, "--port", 0)


def test_fault_of_the_command_keeps_its_traceback(model, capsys, monkeypatch):
    def fail(*_: object) -> None:
        raise ValueError("planted")

    monkeypatch.setattr("model.serve.__main__.make_server", lambda *_, **__: fail())
    assert_fault(capsys, main, [str(model), "--port", "0"])


NEITHER = """
import sys
class Neither:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "ray"):
            raise ModuleNotFoundError(f"a service needs no {name}", name=name)
sys.meta_path.insert(0, Neither())
import model.serve.__main__ as s
"""


@contextmanager
def command(model: Path, temporary: Path, before: str = "") -> Iterator[tuple[subprocess.Popen, int]]:
    """Yield the process of the command, without torch and Ray, and its port."""
    code = f"{NEITHER}{before}\ns.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(model), "--port", "0", "--runtime", "onnxruntime"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    try:
        runtime, first = process.stdout.readline(), process.stdout.readline()
        assert runtime.startswith("runtime: onnxruntime, float32, on the "), process.stderr.read()
        assert first.startswith(f"Serving {model} on http://127.0.0.1:"), process.stderr.read()
        assert first.endswith(" (Ctrl-C ends it)\n")
        yield process, int(first.split(":")[2].split()[0])
    finally:
        process.kill()
        process.communicate()


SLOW = """
import time
load = s.load_model
def load_slow(path, **options):
    network, settings = load(path, **options)
    return lambda *batch: (time.sleep(60), network(*batch))[1], settings
s.load_model = load_slow
"""


@pytest.mark.parametrize(("number", "before"), [(signal.SIGINT, SLOW), (signal.SIGTERM, "")])
def test_a_signal_ends_the_service_within_two_seconds(model, tmp_path, number, before):
    content = encoded(image(), ".png")
    with command(model, tmp_path, before) as (process, port), ThreadPoolExecutor(1) as pool:
        reply = pool.submit(post, port, "scan.png", content)
        if before:
            while not list(tmp_path.glob("tumour-search-*/*/received/scan.png")):
                time.sleep(0.02)
        else:
            assert reply.result().status == 200
        began = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
        assert time.monotonic() - began < 2
        assert process.returncode == 0
        assert "Traceback" not in errors
        assert list(tmp_path.iterdir()) == []
        assert not before or reply.result().status == 503
