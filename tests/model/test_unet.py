"""The U-Net: shapes at every depth, its size worked by hand, what its norms see, and its error messages."""

import pytest
import torch
from torch import nn

from data.errors import UserError
from model.segmentation_network import num_parameters
from model.unet import UNet, UNetConfig
from model.unet_blocks import ACTIVATIONS, NORMS, AttentionGate, ResidualBlock


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


@pytest.mark.parametrize(
    ("options", "extra"),
    [
        # A convolution of one pixel and a norm around each of the three blocks, all of which change the width.
        ({"block": "residual"}, (1 * 2 + 4) + (2 * 4 + 8) + (4 * 2 + 4)),
        # One feature inside the gate: from the skip, from below with a bias, and the weight with a bias.
        ({"attention": True}, 2 + (2 + 1) + (1 + 1)),
        ({"deep_supervision": True}, 0),
        ({"activation": "gelu", "norm": "group"}, 0),
    ],
)
def test_unet_variant_has_the_parameters_counted_by_hand(options, extra):
    assert num_parameters(tiny(in_channels=1, **options)) == 447 + extra


def test_unet_with_deep_supervision_has_a_head_at_every_lower_resolution():
    one, other = (tiny(depth=3, deep_supervision=deep) for deep in (True, False))
    assert num_parameters(one) == num_parameters(other) + (4 + 1) + (8 + 1)


def test_unet_by_default_has_the_weights_that_older_files_hold():
    names = list(tiny().state_dict())
    assert (len(names), names[0], names[-1]) == (22, "down.0.0.weight", "head.bias")
    assert {name.split(".")[0] for name in names} == {"down", "up", "merge", "head"}


EVERY_PART = {"norm": "group", "block": "residual", "attention": True, "deep_supervision": True, "activation": "silu"}


@pytest.mark.parametrize("options", [{}, {"deep_supervision": True}, {**EVERY_PART, "num_regions": 2}])
def test_unet_gives_logits_at_the_resolutions_of_its_heads(options):
    network, slices = tiny(depth=3, **options).eval(), torch.randn(2, 3, 16, 32)
    found = network.deep_logits(slices)
    regions = network.config.num_regions
    sides = [(16, 32), (8, 16), (4, 8)][: 3 if options else 1]
    assert [one.shape for one in found] == [(2, regions, *side) for side in sides]
    assert torch.equal(found[0], network(slices))


@pytest.mark.parametrize("options", [{"block": "residual"}, {"attention": True}, EVERY_PART])
def test_unet_variant_gives_every_parameter_a_gradient(options):
    network = tiny(depth=2, **options)
    torch.stack([one.square().mean() for one in network.deep_logits(torch.randn(2, 3, 16, 16))]).sum().backward()
    without = [name for name, one in network.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_unet_has_its_activation_after_every_norm(activation):
    parts = [type(part) for part in tiny(activation=activation).down[0].modules()][1:]
    kind = type(ACTIVATIONS[activation]())
    assert parts == [nn.Conv2d, nn.InstanceNorm2d, kind, nn.Conv2d, nn.InstanceNorm2d, kind]


def test_residual_block_of_no_change_is_its_activation():
    block = ResidualBlock(2, 2, norm="instance", activation="relu", dropout=0.0)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    features = torch.randn(1, 2, 4, 4)
    assert torch.equal(block(features), features.relu())


def test_attention_gate_is_worked_by_hand():
    gate = AttentionGate(1)
    for parameter, value in zip(gate.parameters(), (2.0, 3.0, -1.0, 0.5, 0.25), strict=True):
        nn.init.constant_(parameter, value)
    skip, below = torch.tensor([[[[1.0, -4.0]]]]), torch.tensor([[[[2.0, 1.0]]]])
    # relu(2 * 1 + 3 * 2 - 1) = 7 and relu(2 * -4 + 3 - 1) = 0, then half of it and a quarter.
    expected = skip * torch.tensor([[[[3.75, 0.25]]]]).sigmoid()
    torch.testing.assert_close(gate(skip, below), expected)


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (3, 1), (6, 2), (12, 4), (16, 8), (256, 8)])
def test_group_norm_has_as_many_groups_as_divide_its_features(channels, groups):
    norm = NORMS["group"](channels)
    assert isinstance(norm, nn.GroupNorm)
    assert norm.num_groups == groups


@pytest.mark.parametrize("norm", ["instance", "group"])
@pytest.mark.parametrize("seed", range(3))
def test_unet_with_a_norm_of_each_slice_sees_each_slice_alone(seed, norm):
    network = tiny(norm=norm).train()
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
        ({"norm": "layer"}, "norm is 'layer', but must be one of instance, batch, group"),
        ({"activation": "elu"}, "activation is 'elu', but must be one of leaky_relu, relu, gelu, silu"),
        ({"block": "dense"}, "block is 'dense', but must be one of plain, residual"),
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
