"""The U-Net: shapes at every depth, its size worked by hand, what its norms see, and its error messages."""

import pytest
import torch
from torch import nn

from data.errors import UserError
from model.segmentation_network import num_parameters
from model.unet import NORMS, UNet, UNetConfig


def tiny(**options) -> UNet:
    """Return a U-Net of width 2 with seeded weights."""
    torch.manual_seed(0)
    return UNet(UNetConfig(**{"width": 2, "depth": 1, "dropout": 0.0, **options}))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_unet_keeps_height_and_width_at_every_depth(depth, norm):
    network = tiny(depth=depth, norm=norm).eval()
    height, width = network.config.side_multiple, 2 * network.config.side_multiple
    assert network(torch.randn(2, 3, height, width)).shape == (2, 1, height, width)


def test_unet_has_the_parameters_counted_by_hand():
    # Blocks are convolution, norm, convolution, norm; a norm has a scale and a shift per feature.
    full = (1 * 2 * 9 + 4) + (2 * 2 * 9 + 4)
    half = (2 * 4 * 9 + 8) + (4 * 4 * 9 + 8)
    up = 4 * 2 * 4 + 2
    merge = (4 * 2 * 9 + 4) + (2 * 2 * 9 + 4)
    head = 2 + 1
    assert num_parameters(tiny(in_channels=1)) == full + half + up + merge + head == 447


@pytest.mark.parametrize("seed", range(3))
def test_unet_with_instance_norm_sees_each_slice_alone(seed):
    network = tiny(norm="instance").train()
    slices = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(network(slices)[:1], network(slices[:1]))


def test_unet_with_batch_norm_sees_each_slice_alone_only_in_evaluation():
    network = tiny(norm="batch")
    slices = torch.randn(4, 3, 8, 8)
    assert not torch.allclose(network.train()(slices)[:1], network(slices[:1]))
    torch.testing.assert_close(network.eval()(slices)[:1], network(slices[:1]))


def test_unet_drops_features_only_in_training():
    network = tiny(depth=2, dropout=0.5)
    slices = torch.randn(1, 3, 8, 8)
    assert not torch.equal(network.train()(slices), network(slices))
    assert torch.equal(network.eval()(slices), network(slices))


def test_unet_drops_features_only_in_the_lower_half():
    network = tiny(depth=4, dropout=0.5)
    levels = [any(isinstance(part, nn.Dropout2d) for part in block.children()) for block in network.down]
    assert levels == [False, False, True, True, True]


def test_unet_gives_every_parameter_a_gradient():
    network = tiny(depth=2)
    network(torch.randn(1, 3, 8, 8)).square().mean().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_unet_names_the_nearest_legal_sides():
    with pytest.raises(UserError, match=r"20 x 32 pixels, but .*depth=3.* divisible by 8: .* to 24 x 32"):
        tiny(depth=3)(torch.zeros(1, 3, 20, 32))


def test_unet_names_the_channels_it_was_built_for():
    with pytest.raises(UserError, match="2 channels, but this network was built for 3"):
        tiny()(torch.zeros(1, 2, 8, 8))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depth": 0}, "depth is 0, but must be from 1 to 7"),
        ({"width": 257}, "width is 257, but must be from 1 to 256"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"dropout": 1.0}, "dropout is 1.0, but must be at least 0 and below 1"),
        ({"norm": "layer"}, "norm is 'layer', but must be one of instance, batch"),
    ],
)
def test_unet_config_refuses_illegal_shapes(wrong, message):
    with pytest.raises(UserError, match=message):
        UNetConfig(**wrong)


def test_unet_untrained_expects_little_tumour():
    torch.manual_seed(0)
    network = UNet(UNetConfig(depth=2, width=8)).eval()
    with torch.inference_mode():
        probabilities = network(torch.randn(4, 3, 32, 32)).sigmoid()
    assert 0.02 < probabilities.mean() < 0.25
