"""The packages of others are imported when one of their networks is built, and their absence is one sentence."""

import subprocess
import sys

import pytest

from data.errors import UserError
from model.networks import NETWORKS, build, find_architecture

LIST = """
import sys
from model.networks import NETWORKS, find_architecture, read_config
for name in NETWORKS:
    config = find_architecture(name).config()
    assert read_config(config.to_dict()) == config
    assert config.side_multiple and config.min_side and find_architecture(name).rules()
print(*sorted({"monai", "segmentation_models_pytorch", "timm", "torchvision", "huggingface_hub"} & {*sys.modules}))
"""


def test_listing_networks_imports_no_package_of_others():
    found = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("monai:UNet", "monai", "monai"), ("smp:FPN", "segmentation_models_pytorch", "smp")],
)
def test_build_says_which_extra_installs_a_missing_package(name, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    config = find_architecture(name).config()
    with pytest.raises(UserError, match=rf"needs the package {package}: pip install -e '.\[{extra}\]'"):
        build(config)


def test_every_network_states_rules_for_all_its_fields():
    for name, architecture in NETWORKS.items():
        assert architecture.rules().keys() | {"architecture"} == architecture.config().to_dict().keys(), name
