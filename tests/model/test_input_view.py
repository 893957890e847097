"""What a network sees of its slices: the middle neighbours, shrunk by area; and logits of the whole slices."""

from dataclasses import replace

import pytest
import torch

from data.errors import UserError
from model.input_view import InputView, with_view
from model.networks import build, read_config
from model.segmentation_network import NetworkConfig, SegmentationNetwork
from model.unet import UNet, UNetConfig
from tests.support.plain_network import Plain, PlainConfig
from tests.support.training import bytes_after, run_training, same_weights, without_clocks


def plain(config: NetworkConfig) -> SegmentationNetwork:
    assert isinstance(config, PlainConfig)
    return Plain(config)


def viewed(**options) -> SegmentationNetwork:
    """Return a convolution of one pixel that adds the channels it sees, behind a view."""
    network = with_view(plain, PlainConfig(kernel=1, **options))
    for name, parameter in network.named_parameters():
        torch.nn.init.constant_(parameter, float(name.endswith("weight")))
    return network


@pytest.mark.parametrize("options", [{}, {"packed_context": 1}, {"packed_context": 1, "context_slices": 1}])
def test_view_of_everything_is_the_network_itself(options):
    assert type(build(UNetConfig(depth=1, width=2, **options))) is UNet


@pytest.mark.parametrize(("context", "seen"), [(0, [4, 5]), (1, [2, 3, 4, 5, 6, 7])])
def test_view_keeps_the_slice_in_the_middle_and_its_nearest_neighbours(context, seen):
    # Five slices of two channels; channel k holds 10 ** k, so that the sum tells which channels were seen.
    network = viewed(in_channels=10, packed_context=2, context_slices=context)
    slices = (10.0 ** torch.arange(10)).view(1, 10, 1, 1).expand(1, 10, 2, 2)
    assert network(slices).unique().tolist() == [sum(10.0**channel for channel in seen)]


def test_view_shrinks_by_area_and_enlarges_bilinearly():
    slices = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 8.0, 4.0, 4.0]]).view(1, 1, 2, 4)
    # Areas have means 2 and 4; bilinearly, the pixels between their centres are at a quarter and three quarters.
    assert viewed(in_channels=1, downscale=2)(slices).tolist() == [[[[2.0, 2.5, 3.5, 4.0]] * 2]]


def test_view_of_a_constant_slice_is_constant_at_every_factor():
    for downscale in (1, 2, 4):
        assert (viewed(in_channels=1, downscale=downscale)(torch.full((1, 1, 8, 12), 3.0)) == 3).all()


def test_view_multiplies_the_sides_that_a_network_needs():
    config = UNetConfig(depth=3, width=2, downscale=4)
    assert (config.side_multiple, config.min_side) == (32, 64)
    assert build(config).eval()(torch.randn(1, 3, 64, 96)).shape == (1, 1, 64, 96)
    with pytest.raises(UserError, match=r"slices are 40 x 64 pixels.*divisible by 32: pad or resize to 64 x 64"):
        build(config)(torch.zeros(1, 3, 40, 64))


def test_view_enlarges_the_first_of_deep_logits_alone():
    network = build(UNetConfig(depth=2, width=2, deep_supervision=True, downscale=2)).eval()
    slices = torch.randn(1, 3, 16, 32)
    whole, half = network.deep_logits(slices)
    assert torch.equal(whole, network(slices))
    assert half.shape == (1, 1, 4, 8)  # half of what the network sees


def test_view_trains_and_resumes_bit_for_bit():
    # Its one channel a slice is that of three packed ones.
    unet = UNetConfig(depth=1, width=2, dropout=0.3, downscale=2, packed_context=1, context_slices=0)
    whole, weights = run_training(unet, max_epochs=2)
    rest, resumed = run_training(unet, max_epochs=2, resume_from=bytes_after(1, unet, max_epochs=2))
    assert without_clocks(rest) == without_clocks(whole)[1:]
    assert same_weights(resumed, weights)
    assert isinstance(whole[-1].state.network, InputView)


@pytest.mark.parametrize("context_slices", [None, 0, 1])
def test_view_survives_its_record(context_slices):
    config = UNetConfig(downscale=2, packed_context=1, context_slices=context_slices)
    assert read_config(config.to_dict()) == config


def test_view_takes_any_network_whose_config_can_be_replaced():
    seen: list[NetworkConfig] = []

    def build_network(config: NetworkConfig) -> SegmentationNetwork:
        seen.append(config)
        return plain(config)

    config = PlainConfig(in_channels=9, kernel=5, packed_context=1, context_slices=0, downscale=4)
    assert with_view(build_network, config).config == config
    assert seen == [replace(config, in_channels=3, packed_context=0, context_slices=None, downscale=1)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"downscale": 3}, "downscale is 3, but must be one of 1, 2, 4"),
        ({"packed_context": 6}, "packed_context is 6, but must be from 0 to 5"),
        ({"packed_context": 5, "context_slices": -1}, "context_slices is -1, but must be from 0 to 5, or left out"),
        ({"packed_context": 1, "context_slices": 2}, "context_slices is 2, but must be at most 1, the neighbours"),
        (
            {"in_channels": 4, "packed_context": 1, "context_slices": 0},
            "in_channels is 4, but must be divisible by 3: a slice is packed with 1 neighbours above and below",
        ),
    ],
)
def test_view_refuses_what_is_not_packed(wrong, message):
    with pytest.raises(UserError, match=message):
        build(UNetConfig(**wrong))
