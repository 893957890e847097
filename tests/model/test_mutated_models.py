"""A damaged or hostile model's folder is refused by the name of the file, or works; it never crashes or hangs the
program, takes no memory, and lets nothing be read outside of it."""

import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from model.export.predictor import Predictor
from model.inference.onnx_file import MODEL_NAME
from model.manifest import MANIFEST_NAME, ModelProvenance, write_manifest
from model.unet import UNet, UNetConfig
from model.weights import WEIGHTS_NAME, write_weights
from tests.support.checkpoint_damage import damage_checkpoint
from tests.support.model_fuzz import Loader, loader
from tests.support.model_ways import CHECKPOINT_NAME, WAYS, trained_state
from tests.support.mutation import fuzz_seed, mutate, mutate_json
from tests.support.onnx_damage import damage_onnx
from tests.support.opened import opened_files
from tests.support.service import write_service_model

UNREAD = ("card.md", "metrics.json", "model.pt2", "overlays/best.png")
"""The files that are only compared with the manifest here. `search` reads metrics.json and the pictures."""

FILES = (*[MODEL_NAME] * 6, *[WEIGHTS_NAME] * 2, *[CHECKPOINT_NAME] * 2, *[MANIFEST_NAME] * 2, "")
"""Which file is damaged, each as often as it is in the list; an empty name is one of UNREAD."""

FILE_WAYS = {MODEL_NAME: ("predict",), WEIGHTS_NAME: ("weights",), CHECKPOINT_NAME: ("checkpoint", "resume")}
"""The ways of loading that read a file. All others are found by comparing the folder."""


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A file that was damaged, and the way in which the folder is loaded then."""

    name: str
    way: str
    in_bytes: bool
    """Whether nothing was done but what a disk or a network may do."""

    is_listed: bool
    """Whether the manifest says that it is another file."""

    def fits(self, outcome: str, sound: dict[str, str]) -> bool:
        """Return whether the outcome is legal.

        Args:
            sound: What comes of a sound folder, by the way of loading it.
        """
        if outcome.startswith("UserError"):
            # A comparison names the folder, and every file that differs.
            file = self.name.removesuffix(".json")  # "the manifest" is enough
            return {"resume": "checkpoint", "verify": "best"}.get(self.way, file) in outcome
        if outcome == "MemoryError":  # the commands say of it that there is not enough memory for the model
            return True
        if self.is_listed:
            return False
        if self.name == CHECKPOINT_NAME and self.in_bytes:
            return outcome == sound[self.way]
        return outcome.startswith("works")


def write_folder(folder: Path) -> Path:
    """Write a model's folder with small files of every kind."""
    (folder / "overlays").mkdir(parents=True)
    write_service_model(folder / MODEL_NAME)
    torch.manual_seed(0)
    write_weights(Predictor([UNet(UNetConfig(width=1, depth=1))]), folder / WEIGHTS_NAME)
    (folder / CHECKPOINT_NAME).write_bytes(trained_state().to_bytes())
    for name in UNREAD:
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


def damage(folder: Path, rng: np.random.Generator, secrets: list[Path]) -> Damaged:
    """Damage one file of a folder, and perhaps write the manifest anew or remove it."""
    name = FILES[rng.integers(len(FILES))] or UNREAD[rng.integers(len(UNREAD))]
    ways: dict[str, Callable[[bytes], bytes]] = {
        MODEL_NAME: lambda old: damage_onnx(old, rng, secrets),
        WEIGHTS_NAME: lambda old: damaged_header(old, rng),
        CHECKPOINT_NAME: lambda old: damage_checkpoint(old, rng),
        MANIFEST_NAME: lambda old: mutate_json(old.decode(), rng).encode(),
    }
    path, in_bytes = folder / name, name not in ways or bool(rng.integers(3) == 0)
    old = path.read_bytes()
    new = mutate(old, rng) if in_bytes else ways[name](old)
    path.write_bytes(new)
    is_listed = False
    if name != MANIFEST_NAME:
        # Whoever can change a file can change the manifest too.
        manifest = rng.integers(4)
        if manifest < 2:
            write_manifest(folder, ModelProvenance())
        elif manifest == 2:
            (folder / MANIFEST_NAME).unlink()
        is_listed = bool(manifest == 3) and new != old and name != CHECKPOINT_NAME
    choices = FILE_WAYS.get(name) or (("predict", "verify") if name == MANIFEST_NAME else ("verify",))
    return Damaged(name=name, way=choices[rng.integers(len(choices))], in_bytes=in_bytes, is_listed=is_listed)


def fuzz(folder: Path, loading: Loader, num: int, seed: int, secrets: list[Path]) -> Counter[str]:
    """Return how often a damaged file worked and was refused; anything else fails, with the file kept."""
    originals = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    sound = {way: loading.load(way, folder) for way in WAYS}
    assert all(outcome.startswith("works: ") for outcome in sound.values()), sound
    found: Counter[str] = Counter()
    wrong = []
    for number in range(num):
        damaged = damage(folder, np.random.default_rng([seed, number]), secrets)
        outcome = loading.load(damaged.way, folder)
        if damaged.fits(outcome, sound):
            found[f"{damaged.name} {outcome.partition(':')[0]}"] += 1
        else:
            wrong.append(f"FUZZ_SEED={seed}, {number}: {damaged}: {outcome[:300]}")
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
        found = fuzz(folder, loading, 160, 0, secrets)
    assert sum(count for outcome, count in found.items() if "UserError" in outcome) > 80


def test_prediction_opens_the_model_and_its_manifest_alone(tmp_path):
    folder = write_folder(tmp_path / "best")
    others = [folder / name for name in (*UNREAD, WEIGHTS_NAME, CHECKPOINT_NAME)]
    with opened_files(others) as opened:
        WAYS["predict"](folder, "onnxruntime")
        assert opened() == set()
        WAYS["weights"](folder, "")
        WAYS["checkpoint"](folder, "")
        assert opened() == {folder / WEIGHTS_NAME, folder / CHECKPOINT_NAME}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("runtime", "num"), [("onnxruntime", 7000), ("openvino", 1500)])
def test_thousands_of_mutated_models_work_or_are_refused_by_name(tmp_path, secrets, runtime, num):
    seed = fuzz_seed()
    print(f"FUZZ_SEED={seed}")
    folder = write_folder(tmp_path / "best")
    with loader(runtime, tmp_path / "cwd") as loading:
        print(fuzz(folder, loading, num, seed, secrets))
