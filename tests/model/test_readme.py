"""model/README.md names files that exist, and its example of training runs."""

import re
from pathlib import Path

from model.networks import NETWORKS
from model.segmentation_network import NetworkConfig
from model.training.checkpoint import load_checkpoint

ROOM = Path(__file__).resolve().parents[2] / "model"
TEXT = (ROOM / "README.md").read_text()
TRAINING = TEXT.partition("\n## Training\n")[2].partition("\n## ")[0]


def test_readme_names_files_and_rooms_that_exist():
    names = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|/))`", TEXT))
    assert len(names) > 15
    places = (ROOM, ROOM / "training", ROOM.parent)
    assert [name for name in sorted(names) if not any((place / name).exists() for place in places)] == []


def test_readme_shows_a_training_that_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", TRAINING, re.DOTALL)
    exec(code, {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2", "3"]
    network, history = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (network.config.architecture, len(history)) == ("unet", 3)


def test_readme_names_the_facts_of_a_network():
    facts = re.findall(r"`([a-z_]+)`", TEXT.partition("by five facts: ")[2].partition("All are")[0])
    assert len(facts) == 5
    assert all(hasattr(architecture.config(), fact) for architecture in NETWORKS.values() for fact in facts)
    assert set(facts) == {name for name in vars(NetworkConfig) if not name.startswith("_")} - {"to_dict"} | {
        "architecture"
    }
