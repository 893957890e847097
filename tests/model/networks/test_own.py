"""Somebody's own function is a network: its parameters are fields, and only a caller who trusts it has it imported."""

import io
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from data.errors import UserError
from data.legal import Range
from model.export.predictor import Predictor
from model.networks import build, find_architecture, read_config
from model.settings import ModelError
from model.training.checkpoint import CheckpointError, load_checkpoint
from model.training.train import train
from model.training.train_config import TrainConfig
from model.weights import read_weights, write_weights
from tests.support.fakes import small_pack
from tests.support.own_network import NAME

OWN = find_architecture(NAME)
VIEW = ("in_channels", "num_regions", "downscale", "context_slices", "packed_context")
"""The fields of every network."""


def without_regions(in_channels: int) -> nn.Module: ...
def without_default(in_channels: int, num_regions: int, width: int) -> nn.Module: ...
def without_annotation(in_channels: int, num_regions: int, width=3) -> nn.Module: ...
def with_a_list(in_channels: int, num_regions: int, widths: tuple[int, ...] = (1, 2)) -> nn.Module: ...
def with_any(in_channels: int, num_regions: int, *widths: int) -> nn.Module: ...
def with_a_name(in_channels: int, num_regions: int, width: "Foo" = 3) -> nn.Module: ...  # noqa: F821  # pyright: ignore
def with_a_field(in_channels: int, num_regions: int, downscale: int = 1) -> nn.Module: ...
def no_module(in_channels: int, num_regions: int) -> int:
    return 3


def one_number(in_channels: int, num_regions: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, num_regions, 1), nn.AdaptiveAvgPool2d(1))


def two_results(in_channels: int, num_regions: int) -> nn.Module:
    return nn.LSTM(in_channels, num_regions)


def deep(in_channels: int, num_regions: int, depth: int = 3) -> nn.Module:
    return nn.Conv2d(in_channels, num_regions, 1)


deep.side_multiple = lambda depth: 2**depth  # pyright: ignore[reportFunctionMemberAccess]
deep.min_side = 5  # pyright: ignore[reportFunctionMemberAccess]
deep.fixed_sides = True  # pyright: ignore[reportFunctionMemberAccess]


def picky(in_channels: int, num_regions: int, width: int = 3) -> nn.Module:
    raise KeyError(width)


def leaves(in_channels: int, num_regions: int) -> nn.Module:
    sys.exit(3)


class Leaving(nn.Conv2d):
    def forward(self, input):
        sys.exit("no slices like these")


def leaving(in_channels: int, num_regions: int) -> nn.Module:
    return Leaving(in_channels, num_regions, 1)


def odd(in_channels: int, num_regions: int) -> nn.Module:
    return nn.Conv2d(in_channels, num_regions, 1)


odd.side_multiple = 0.5  # pyright: ignore[reportFunctionMemberAccess]


def test_own_network_states_its_parameters_as_rules():
    rules = OWN.rules()
    assert [*rules] == [*VIEW, "width", "kind", "drop"]
    assert (rules["width"].range, rules["width"].default) == (Range(at_least=1, at_most=64), 4)
    assert rules["kind"].choices == ("relu", "tanh")


def test_own_config_is_flat_and_equal_after_files_and_pickles():
    config = OWN.config(width=8, in_channels=1)
    assert config.to_dict() == {
        "architecture": NAME,
        "in_channels": 1,
        "num_regions": 1,
        "downscale": 1,
        "context_slices": None,
        "packed_context": 0,
        "width": 8,
        "kind": "relu",
        "drop": 0.0,
    }
    assert read_config(config.to_dict(), own=[NAME]) == config == pickle.loads(pickle.dumps(config))
    assert config != OWN.config(width=9, in_channels=1)
    assert hash(config) == hash(replace(config))


def test_own_facts_are_attributes_of_the_function():
    assert (OWN.config().side_multiple, OWN.config().min_side, OWN.config().fixed_sides) == (2, 4, False)
    config = find_architecture(f"{__name__}:deep").config(depth=4)
    assert (config.side_multiple, config.min_side, config.fixed_sides) == (16, 5, True)
    assert find_architecture(f"{__name__}:one_number").config().side_multiple == 32


def test_own_parameters_without_a_part_in_the_logits_are_frozen():
    network = build(OWN.config())
    assert [name for name, one in network.named_parameters() if not one.requires_grad] == [
        "network.classify.weight",
        "network.classify.bias",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "no_such_module:build",
            r"no_such_module of the network .* cannot be imported \(ModuleNotFoundError: .*install",
        ),
        (f"{__name__}:nothing", f"{__name__} has no function nothing: name it as package.module:function"),
        (f"{__name__}:without_regions", "without_regions has no parameter num_regions, but must begin: "),
        (f"{__name__}:without_default", "parameter width of .*without_default needs a default, .* a whole number"),
        (f"{__name__}:without_annotation", "parameter width of .*without_annotation must be annotated as bool, int"),
        (f"{__name__}:with_any", "widths of .*with_any is variadic positional, but must be a parameter with a name"),
        (f"{__name__}:with_a_name", r"the parameters of .*with_a_name cannot be read \(NameError: name 'Foo' is not"),
        (f"{__name__}:with_a_field", "downscale of .*with_a_field has the name of a field of every network: rename it"),
        (f"{__name__}:with_a_list", "parameter widths of .*with_a_list must be annotated as bool, int"),
    ],
)
def test_find_architecture_refuses_a_function_that_it_cannot_use(name, message):
    with pytest.raises(UserError, match=message):
        find_architecture(name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 0}, "width is 0, but must be from 1 to 64"),
        ({"kind": "step"}, "kind is 'step', but must be one of relu, tanh"),
        ({"in_channels": 0}, "in_channels is 0, but must be from 1 to 64"),
        ({"depth": 3}, f"depth is no parameter of {NAME}; it has {', '.join(VIEW)}, width, kind, drop"),
    ],
)
def test_own_config_refuses_what_the_annotations_do_not_allow(values, message):
    with pytest.raises(UserError, match=message):
        OWN.config(**values)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("no_module", "no_module returned a int, but must return a torch.nn.Module"),
        (
            "one_number",
            r"returned \(2, 1, 1, 1\) for slices of shape \(2, 3, 64, 64\), .* logits of shape \(2, 1, 64, 64\)",
        ),
        ("picky", r"picky raised KeyError: 3, when called with in_channels=3, num_regions=1, width=3"),
        ("leaves", r"leaves raised SystemExit: 3, when called with in_channels=3, num_regions=1"),
        ("leaving", r"leaving called sys.exit\('no slices like these'\) when given slices"),
        ("odd", "side_multiple of .*odd is 0.5, but must be a whole number from 1 on"),
    ],
)
def test_build_refuses_what_is_no_segmentation(function, message):
    with pytest.raises(UserError, match=message):
        build(find_architecture(f"{__name__}:{function}").config())


def state_of(tmp_path: Path) -> bytes:
    pack = small_pack([True, False])
    [epoch] = train(OWN.config(), TrainConfig(max_epochs=1, batch_size=2, precision="float32"), pack, None)
    (tmp_path / "checkpoint.pt").write_bytes(epoch.state.to_bytes())
    write_weights(Predictor([epoch.state.network]), tmp_path / "w")
    return epoch.state.to_bytes()


def test_file_does_not_choose_what_is_imported(tmp_path):
    state_of(tmp_path)
    assert load_checkpoint(tmp_path / "checkpoint.pt", own=[NAME])[0].config == OWN.config()
    assert read_weights(tmp_path / "w", own=[NAME]).configs == (OWN.config(),)
    allow = rf"{NAME}.*if you trust that function, name it yourself, as own=\['{NAME}'\] or --network"
    with pytest.raises(CheckpointError, match=allow):
        load_checkpoint(tmp_path / "checkpoint.pt", own=["another:function"])
    with pytest.raises(ModelError, match=allow):
        read_weights(tmp_path / "w")


def test_restore_imports_nothing_that_the_bytes_name(tmp_path, monkeypatch):
    evil = tmp_path / "evil_network.py"
    evil.write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    content = torch.load(io.BytesIO(state_of(tmp_path)), weights_only=True)
    content["network_config"]["architecture"] = "evil_network:build"
    torch.save(content, tmp_path / "changed.pt")
    pack = small_pack([True, False])
    training = TrainConfig(max_epochs=1, batch_size=2, precision="float32")
    with pytest.raises(CheckpointError, match="built by 'evil_network:build', and a file does not decide"):
        next(train(OWN.config(), training, pack, None, resume_from=(tmp_path / "changed.pt").read_bytes()))  # pyright: ignore[reportArgumentType]
    assert "evil_network" not in sys.modules
