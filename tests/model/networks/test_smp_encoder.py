"""The encoders of segmentation_models_pytorch: their names, and the weights that a training starts from."""

import pytest
import safetensors.torch
import torch

import tests.support.torchvision_operators  # noqa: F401  (before segmentation_models_pytorch is imported)
from data.errors import UserError
from model.networks import build, start_weights
from model.networks.smp_config import SmpLinknetConfig, SmpSegformerConfig
from model.segmentation_network import SegmentationNetwork
from model.training.train import train
from model.training.train_config import TrainConfig
from tests.support.fakes import small_pack

ENCODER = "network.encoder"


@pytest.fixture(scope="module")
def source() -> SegmentationNetwork:
    """A network whose encoder others start from."""
    return build(SmpLinknetConfig(encoder="resnet18", depth=3))


@pytest.mark.parametrize("form", ["safetensors", "encoder", "whole network"])
def test_start_weights_come_from_a_file(source, form, tmp_path):
    file = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    weights = dict(source.get_submodule(ENCODER).state_dict())
    if form == "safetensors":
        safetensors.torch.save_file(weights, file)
    else:
        torch.save(weights if form == "encoder" else source.get_submodule("network").state_dict(), file)
    network = build(SmpLinknetConfig(encoder="resnet18", depth=3, pretrained=str(file)))
    started = network.get_submodule(ENCODER)
    assert not torch.equal(started.state_dict()["conv1.weight"], weights["conv1.weight"])
    start_weights(network)
    assert all(torch.equal(value, weights[name]) for name, value in started.state_dict().items())


def test_start_weights_of_three_colours_keep_their_sum_over_four_channels(source, tmp_path):
    torch.save(source.get_submodule(ENCODER).state_dict(), tmp_path / "w.pt")
    network = build(SmpLinknetConfig(encoder="resnet18", depth=3, in_channels=4, pretrained=str(tmp_path / "w.pt")))
    start_weights(network)
    found, expected = (one.get_submodule(ENCODER).state_dict()["conv1.weight"] for one in (network, source))
    torch.testing.assert_close(found[:, 1], expected[:, 1] * 3 / 4)
    torch.testing.assert_close(found[:, 3], expected[:, 0] * 3 / 4)


def test_resumed_training_needs_no_pretrained_weights(source, tmp_path):
    file = tmp_path / "w.pt"
    torch.save(source.get_submodule(ENCODER).state_dict(), file)
    config = SmpLinknetConfig(encoder="resnet18", depth=3, pretrained=str(file))
    training = TrainConfig(max_epochs=2, batch_size=2, precision="float32")
    pack = small_pack([True, False], size=config.min_side)
    state = next(iter(train(config, training, pack, None))).state.to_bytes()
    file.unlink()
    assert len([*train(config, training, pack, None, resume_from=state)]) == 1
    with pytest.raises(UserError, match=r"pretrained is '.*w.pt', and no such file exists"):
        next(iter(train(config, training, pack, None)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv1.weight": torch.zeros(1)}, "its weights are not those of resnet18: .*Missing key"),
        ({"conv1.weight": [1, 2]}, "must hold tensors by name"),
        (torch.zeros(1), "hold a Tensor, but must hold tensors by name"),
        (pytest.raises, "cannot be read: they must be safetensors, or a state_dict"),  # a function would be imported
    ],
)
def test_start_weights_refuse_what_is_not_the_encoders(source, content, message, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    source.config = SmpLinknetConfig(encoder="resnet18", depth=3, pretrained=str(tmp_path / "w.pt"))
    with pytest.raises(UserError, match=message):
        start_weights(source)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SmpLinknetConfig(encoder="resnet19"), "encoder is 'resnet19', but must be one of .*, such as resnet1.*timm"),
        (SmpLinknetConfig(encoder="tu-resnet19"), "encoder is 'tu-resnet19', but .* such as tu-resnet1"),
        (SmpLinknetConfig(encoder="mit_b0"), "smp:Linknet refuses the encoder mit_b0 with depth 5"),
        (SmpSegformerConfig(encoder="tu-vit_tiny_patch16_224"), "smp:Segformer refuses the encoder tu-vit_tiny"),
    ],
)
def test_build_refuses_an_encoder_that_does_not_exist_or_suit(config, message):
    with pytest.raises(UserError, match=message):
        build(config)
