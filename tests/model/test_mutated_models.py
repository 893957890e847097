"""A damaged or hostile model's folder is refused by the name of the file, or works; it never crashes or hangs the
program, takes no memory, and lets nothing be read outside of it."""

import json
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from model.export.predictor import Predictor
from model.inference.onnx_file import MODEL_NAME
from model.manifest import MANIFEST_NAME, ModelProvenance, write_manifest
from model.unet import UNet, UNetConfig
from model.weights import WEIGHTS_NAME, write_weights
from tests.support.model_fuzz import Loader, loader
from tests.support.mutation import mutate, mutate_json
from tests.support.onnx_damage import damage_onnx
from tests.support.opened import opened_files
from tests.support.service import write_service_model

OTHERS = ("card.md", "metrics.json", "model.pt2")


def write_folder(folder: Path) -> Path:
    """Write a model's folder with small files of every kind."""
    folder.mkdir()
    write_service_model(folder / MODEL_NAME)
    torch.manual_seed(0)
    write_weights(Predictor([UNet(UNetConfig(width=1, depth=1))]), folder / WEIGHTS_NAME)
    for name in OTHERS:
        (folder / name).write_bytes(b'{"format": 1}')
    write_manifest(folder, ModelProvenance(trial="t001", test_dice=0.5, versions={"torch": "2"}))
    return folder


def damaged_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a safetensors file whose JSON, or the JSON in its metadata, was changed."""
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    if rng.integers(2):
        described = header["__metadata__"]["tumour_search"]
        header["__metadata__"]["tumour_search"] = mutate_json(described, rng)
        text = json.dumps(header)
    else:
        text = mutate_json(json.dumps(header), rng)
    written = text.encode("utf-8", "replace")
    size = int(rng.choice([len(written), len(written), len(written), 2**40, 0]))
    return struct.pack("<Q", size) + written + content[8 + length :]


def damage(folder: Path, rng: np.random.Generator, secrets: list[Path]) -> tuple[str, str]:
    """Damage one file of a folder; return its name and the way of loading that reads it."""
    kind = int(rng.integers(10))
    name, way = (MODEL_NAME, "predict") if kind < 6 else (WEIGHTS_NAME, "weights") if kind < 8 else (MANIFEST_NAME, "")
    path = folder / name
    old, in_bytes = path.read_bytes(), rng.integers(3) == 0
    if in_bytes:
        new = mutate(old, rng)
    elif name == MODEL_NAME:
        new = damage_onnx(old, rng, secrets)
    elif name == WEIGHTS_NAME:
        new = damaged_header(old, rng)
    else:
        new = mutate_json(old.decode(), rng).encode()
    path.write_bytes(new)
    return name, way or ("predict", "verify")[rng.integers(2)]


def fuzz(folder: Path, loading: Loader, num: int, seed: int, secrets: list[Path]) -> Counter[str]:
    """Return how often a damaged file worked and was refused; anything else fails, with the file kept."""
    originals = {path: path.read_bytes() for path in folder.iterdir()}
    found: Counter[str] = Counter()
    wrong = []
    for number in range(num):
        rng = np.random.default_rng([seed, number])
        name, way = damage(folder, rng, secrets)
        if name != MANIFEST_NAME and (has_manifest := rng.integers(4)) < 3:
            # Whoever can change a file can change the manifest too.
            write_manifest(folder, ModelProvenance()) if has_manifest else (folder / MANIFEST_NAME).unlink()
        outcome = loading.load(way, folder)
        # A comparison names the folder, and every file that differs.
        named = folder.name if way == "verify" else "manifest" if name == MANIFEST_NAME else name
        # The commands say of a MemoryError that there is not enough memory for the model.
        if outcome in ("works", "MemoryError") or (outcome.startswith("UserError") and named in outcome):
            found[f"{name} {outcome[:9]}"] += 1
        else:
            wrong.append(f"{seed}, {number}: {name} by {way}: {outcome[:300]}")
        for path, content in originals.items():
            path.write_bytes(content)
    assert not wrong, f"{len(wrong)} of {num}:\n" + "\n".join(wrong[:40])
    return found


@pytest.fixture
def secrets(tmp_path) -> Iterator[list[Path]]:
    """Files beside a model's folder and in the working directory, which nobody may open."""
    places = [tmp_path / "secret.bin", tmp_path / "cwd" / "secret.bin"]
    places[1].parent.mkdir()
    for place in places:
        place.write_bytes(bytes(64))
    with opened_files(places) as opened:
        yield places
        assert opened() == set()


def test_mutated_model_works_or_is_refused_by_its_name(tmp_path, secrets):
    folder = write_folder(tmp_path / "best")
    with loader("onnxruntime", tmp_path / "cwd") as loading:
        found = fuzz(folder, loading, 200, 0, secrets)
    assert sum(count for outcome, count in found.items() if "UserError" in outcome) > 100


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("runtime", "num"), [("onnxruntime", 8000), ("openvino", 2000)])
def test_ten_thousand_mutated_models_work_or_are_refused_by_name(tmp_path, secrets, runtime, num):
    seed = int(np.random.default_rng().integers(10**6))
    print(f"seed {seed}")
    folder = write_folder(tmp_path / "best")
    with loader(runtime, tmp_path / "cwd") as loading:
        print(fuzz(folder, loading, num, seed, secrets))
