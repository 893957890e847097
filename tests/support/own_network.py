"""A network of somebody's own, as they would write it beside this program; `NAME` is how they name it."""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from data.legal import Range

NAME = "tests.support.own_network:build"


class Ladder(nn.Module):
    """Convolutions at two resolutions, whose features are added."""

    def __init__(self, in_channels: int, num_regions: int, width: int, activation: nn.Module, drop: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.GroupNorm(1, width), activation)
        self.down = nn.Sequential(nn.Conv2d(width, width, 2, stride=2), nn.InstanceNorm2d(width), activation)
        self.up = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.drop = nn.Dropout2d(drop)
        self.head = nn.Conv2d(width, num_regions, 1)
        self.classify = nn.Linear(width, 2)  # as in many networks, a part that segmentation does not use

    def forward(self, slices: Tensor) -> Tensor:
        features = self.first(slices)
        return self.head(torch.relu(features + self.up(self.drop(self.down(features)))))


def build(
    in_channels: int,
    num_regions: int,
    width: Annotated[int, Range(at_least=1, at_most=64)] = 4,
    kind: Literal["relu", "tanh"] = "relu",
    drop: Annotated[float, Range(at_least=0, below=1)] = 0.0,
) -> nn.Module:
    """Return a new network."""
    activation = nn.ReLU() if kind == "relu" else nn.Tanh()
    return Ladder(in_channels, num_regions, width, activation, drop)


build.side_multiple = 2  # pyright: ignore[reportFunctionMemberAccess]
