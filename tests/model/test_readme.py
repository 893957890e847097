"""model/README.md names files that exist, and its examples run."""

import re
from pathlib import Path
from typing import Any

import pytest

from model import manifest, settings, weights
from model.export.onnx_export import OPSET
from model.inference.runtime import load_model
from model.networks import NETWORKS
from model.segmentation_network import NetworkConfig
from model.training import checkpoint
from model.training.checkpoint import load_checkpoint
from tests.support.fakes import write_lgg_patient
from tests.support.hand_model import write_model_of

ROOM = Path(__file__).resolve().parents[2] / "model"
TEXT = (ROOM / "README.md").read_text()


def example(heading: str) -> str:
    """Return the Python code below a heading."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return code


def test_readme_names_files_and_rooms_that_exist():
    names = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|/))`", TEXT))
    assert len(names) > 15
    places = (ROOM, ROOM / "training", ROOM.parent)
    assert [name for name in sorted(names) if not any((place / name).exists() for place in places)] == []


@pytest.mark.slow
def test_readme_shows_a_training_and_an_export_that_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(example("Training"), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2", "3"]
    network, history = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (network.config.architecture, len(history)) == ("unet", 3)
    exec(example("Export"), {})
    assert float(capsys.readouterr().out) < 1e-4
    assert load_model(tmp_path / "model.onnx", runtime="onnxruntime")[1].preprocessing.size == 64


def test_readme_shows_a_prediction_that_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "lgg" / "best").mkdir(parents=True)
    write_model_of(tmp_path / "runs" / "lgg" / "best" / "model.onnx")
    write_lgg_patient(tmp_path / "path" / "to", "a_patient")
    found: dict[str, Any] = {}
    exec(example("Predict"), found)
    assert found["masks"].shape == found["probability"].shape[1:] == found["images"].shape[:3]
    assert (found["masks"] == (found["probability"][0] >= 0.5)).all()


def test_readme_says_the_formats_of_a_models_files():
    table = TEXT.partition("\n## Files of a model\n")[2]
    formats = {
        name: text.strip() for name, text in re.findall(r"^\| `([^`]+)` \|.*\| ([^|]*) \|$", table, re.MULTILINE)
    }
    assert formats["model.onnx"] == f"settings {settings.FORMAT}, ONNX opset {OPSET}"
    assert formats["model.pt2"] == f"settings {settings.FORMAT}"
    assert formats["manifest.json"] == str(manifest.FORMAT)
    for name, module in (("weights.safetensors", weights), ("checkpoint.pt", checkpoint)):
        older = [version for version in module.FORMATS if version != module.FORMAT]
        assert formats[name] == f"{module.FORMAT} (reads {' and '.join(map(str, older))} too)"


def test_readme_names_the_facts_of_a_network():
    facts = re.findall(r"`([a-z_]+)`", TEXT.partition("by seven facts: ")[2].partition("All are")[0])
    assert len(facts) == 7
    assert all(hasattr(architecture.config(), fact) for architecture in NETWORKS.values() for fact in facts)
    view = set(re.findall(r"`([a-z_]+)`", TEXT.partition("Three more fields")[2].partition("So data")[0])) - {"build"}
    assert len(view) == 3
    of_network_alone = {"network_side_multiple", "network_min_side"}  # side_multiple and min_side are made from them
    stated = {name for name in vars(NetworkConfig) if not name.startswith("_")} - {"to_dict"} | {"architecture"}
    assert set(facts) | view == stated - of_network_alone
