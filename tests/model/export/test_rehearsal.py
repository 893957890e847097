"""A rehearsal takes a network through training and both exports, and says in a sentence what stands in the way."""

import pytest
import torch
from torch import Tensor, nn

from data.errors import UserError
from data.preprocess import Preprocessing
from model.export.rehearsal import rehearse
from model.networks import find_architecture
from model.settings import Settings
from model.unet import UNetConfig
from tests.support import own_network

SETTINGS = Settings(preprocessing=Preprocessing(size=8), channel_names=("t1", "flair", "t1ce"))


class Asks(nn.Module):
    """A network that computes as it likes, depending on the values of its input."""

    def __init__(self, in_channels: int, num_regions: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(in_channels, num_regions, 1)

    def forward(self, slices: Tensor) -> Tensor:
        return self.head(slices) if slices.sum() > 0 else self.head(-slices)


def asks(in_channels: int, num_regions: int) -> nn.Module:
    return Asks(in_channels, num_regions)


def fails(in_channels: int, num_regions: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, 3, 1), nn.Conv2d(4, num_regions, 1))


asks.side_multiple = fails.side_multiple = 2  # pyright: ignore[reportFunctionMemberAccess]


def test_rehearsal_proves_both_exports_and_leaves_the_random_state():
    before = torch.random.get_rng_state()
    parity = rehearse(find_architecture(own_network.NAME).config(), SETTINGS)  # with a group and an instance norm
    assert (parity.num_slices, parity.max_probability_difference < 1e-4) == (2, True)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("asks", "the network .*asks cannot be exported: Could not guard on data-dependent expression"),
        ("fails", "the network .*fails cannot be trained on 8 x 8 pixels: .*expected input.* to have 4 channels"),
    ],
)
def test_rehearsal_says_what_a_network_cannot_do(name, message):
    with pytest.raises(UserError, match=message):
        rehearse(find_architecture(f"{__name__}:{name}").config(), SETTINGS)


def test_rehearsal_says_that_the_sides_do_not_suit():
    with pytest.raises(UserError, match=r"slices are 8 x 8 pixels, but .* needs sides divisible by 16"):
        rehearse(UNetConfig(depth=4, width=2), SETTINGS)
