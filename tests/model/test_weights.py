"""The weights file returns what was written, bit for bit, and anything else is refused."""

import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.export.predictor import Predictor
from model.inference.onnx_file import METADATA_KEY
from model.manifest import ModelProvenance, write_manifest
from model.networks import NETWORKS
from model.settings import ModelError
from model.unet import UNet, UNetConfig
from model.weights import WEIGHTS_NAME, read_weights, write_weights
from tests.support.plain_network import PLAIN, Plain, PlainConfig


def predictor() -> Predictor:
    torch.manual_seed(0)
    unets = [UNet(UNetConfig(depth=1, width=2, norm="batch")), UNet(UNetConfig(depth=2, width=3, dropout=0.25))]
    unets[0].train()(torch.randn(2, 3, 8, 8))
    return Predictor(unets, threshold=0.3, flips=True, temperature=1.7).eval()


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    write_weights(predictor(), path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return path.read_bytes()


def split(content: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(header: dict, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def described(content: bytes, **changes) -> bytes:
    """Return the file with another description in its metadata."""
    header, body = split(content)
    values = json.loads(header["__metadata__"][METADATA_KEY]) | changes
    return join(header | {"__metadata__": {METADATA_KEY: json.dumps(values)}}, body)


def test_weights_come_back_bit_for_bit(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    one, other = predictor(), read_weights(tmp_path / "w")
    assert not other.training
    assert other.configs == one.configs
    assert (*other.thresholds, other.flips, other.temperature) == (0.3, True, 1.7)
    assert one.state_dict().keys() == other.state_dict().keys()
    inputs = torch.rand(2, 3, 8, 12) * 255, torch.full((3,), 100.0), torch.full((3,), 50.0)
    with torch.inference_mode():
        assert torch.equal(one(*inputs)[0], other(*inputs)[0])
    (tmp_path / "w").write_bytes(b"")  # the predictor no longer depends on the file
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_weights_from_before_architectures_had_names_are_read(tmp_path, content):
    header, body = split(content)
    header = {name.replace("networks.", "unets.", 1): tensor for name, tensor in header.items()}
    values = json.loads(header["__metadata__"][METADATA_KEY]) | {"format": 1}
    values["unets"] = values.pop("networks")
    assert [config.pop("architecture") for config in values["unets"]] == ["unet", "unet"]
    (tmp_path / "w").write_bytes(join(header | {"__metadata__": {METADATA_KEY: json.dumps(values)}}, body))
    one, other = predictor(), read_weights(tmp_path / "w")
    assert other.configs == one.configs
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_weights_of_one_network_twice_are_kept_twice(tmp_path):
    unet = UNet(UNetConfig(depth=1, width=2))
    write_weights(Predictor([unet, unet]), tmp_path / "w")
    assert len(read_weights(tmp_path / "w").networks) == 2


def test_weights_hold_strings_and_numbers_alone(content):
    header, body = split(content)
    metadata = header.pop("__metadata__")
    assert all(isinstance(value, str) for value in metadata.values())
    assert {tensor["dtype"] for tensor in header.values()} == {"F32", "I64"}
    assert max(tensor["data_offsets"][1] for tensor in header.values()) == len(body)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:5],
        lambda content: content[:200],
        lambda content: content[:-1],
        lambda content: content + b"more",
        lambda content: struct.pack("<Q", 2**63) + content[8:],
        lambda content: struct.pack("<Q", 90_000_000) + content[8:],
        lambda content: pickle.dumps({"weights": 1}),
        lambda content: b"PK\x03\x04" + bytes(1000),
    ],
)
def test_weights_that_are_damaged_or_foreign_are_refused(tmp_path, content, damage):
    (tmp_path / "w").write_bytes(damage(content))
    with pytest.raises(ModelError, match="w cannot be read: damaged, or not a safetensors file"):
        read_weights(tmp_path / "w")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 9}, "the metadata have format 9, but this version reads 1 and 2"),
        ({"more": 1}, "must have exactly"),
        ({"threshold": 1.0}, "threshold is 1.0, but must be a number above 0 and below 1"),
        ({"temperature": float("nan")}, "temperature is nan, but must be a number above 0"),
        ({"temperature": 10**400}, "but must be a number above 0"),
        ({"flips": "yes"}, "flips are 'yes', but must be true or false"),
        ({"networks": []}, "must be a list of one configuration a network"),
        ({"networks": [{"depth": 1}] * 100_000}, "must be a list of one configuration a network"),
        ({"networks": [{"deep": 1}]}, "a network's configuration is not legal: .*deep"),
        ({"networks": [{"depth": 9}]}, "depth is 9, but must be from 1 to 7"),
        ({"networks": [{"depth": 1}, {"depth": 1, "in_channels": 1}]}, "take different numbers of channels"),
        ({"networks": [{"depth": 7, "width": 256}] * 2}, "tensors are missing"),  # it would take 64 GB
        ({"networks": [{"depth": 1, "width": 2, "norm": "batch"}]}, "tensors belong to none of its networks"),
        (
            {"networks": [{"depth": 1, "width": 2, "norm": "batch"}, {"depth": 2, "width": 256}]},
            r"down\.0\.0\.weight is F32 of shape \[3, 3, 3, 3\], but must be F32 of shape \[256, 3, 3, 3\]",
        ),
    ],
)
def test_weights_that_are_not_what_they_say_are_refused(tmp_path, content, changes, message):
    (tmp_path / "w").write_bytes(described(content, **changes))
    with pytest.raises(ModelError, match=message):
        read_weights(tmp_path / "w")


def test_weights_of_another_program_are_refused(tmp_path, content):
    header, body = split(content)
    del header["__metadata__"]
    (tmp_path / "w").write_bytes(join(header, body))
    with pytest.raises(ModelError, match="this program did not write the file"):
        read_weights(tmp_path / "w")
    header["__metadata__"] = {METADATA_KEY: "no JSON"}
    (tmp_path / "w").write_bytes(join(header, body))
    with pytest.raises(ModelError, match="the metadata are 'no JSON', but must be a JSON object"):
        read_weights(tmp_path / "w")


def test_weights_of_half_the_precision_are_refused(tmp_path, content):
    header, body = split(content)
    name = "networks.1.head.weight"
    header[name] |= {"dtype": "BF16", "shape": [1, 6, 1, 1]}  # the same number of bytes
    (tmp_path / "w").write_bytes(join(header, body))
    with pytest.raises(ModelError, match=r"networks\.1\.head\.weight is BF16"):
        read_weights(tmp_path / "w")


def test_weights_that_are_missing_are_named(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere\.safetensors do not exist"):
        read_weights(Path(tmp_path / "nowhere.safetensors"))


class Buffered(Plain):
    """A network with a buffer that no file holds; building one with memory is counted."""

    num_built = 0

    def __init__(self, config: PlainConfig) -> None:
        super().__init__(config)
        self.register_buffer("shift", torch.full((1,), 3.0), persistent=False)
        Buffered.num_built += not self.get_buffer("shift").is_meta

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        return super().forward(slices) + self.get_buffer("shift")


def test_buffer_that_the_file_does_not_hold_takes_memory_after_the_file_was_checked(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "plain", replace(PLAIN, network=Buffered))
    one = Predictor([Buffered(PlainConfig(kernel=3))]).eval()
    write_weights(one, tmp_path / "w")
    Buffered.num_built = 0
    inputs = torch.rand(2, 3, 8, 12), torch.zeros(3), torch.ones(3)
    with torch.inference_mode():
        assert torch.equal(one(*inputs)[0], read_weights(tmp_path / "w")(*inputs)[0])
    assert Buffered.num_built == 1
    large = [one.configs[0].to_dict() | {"kernel": 7}]
    (tmp_path / "w").write_bytes(described((tmp_path / "w").read_bytes(), networks=large))
    with pytest.raises(ModelError, match="but must be F32 of shape"):
        read_weights(tmp_path / "w")
    assert Buffered.num_built == 1


def test_weights_that_are_not_those_of_the_manifest_are_refused(tmp_path, content):
    path = tmp_path / WEIGHTS_NAME
    path.write_bytes(content)
    write_manifest(tmp_path, ModelProvenance())
    read_weights(path)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match=r"weights\.safetensors is not the file that its manifest names"):
        read_weights(path)
