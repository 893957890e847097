"""What all networks have in common: a configuration that states a few facts, and logits for each pixel.

The rest of the program knows a network by these facts alone. model/networks.py lists the networks.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from data.errors import UserError


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(ABC):
    """The shape of one network. Each network has its own subclass, with the fields that set its size."""

    architecture: ClassVar[str]
    """The network's name in model.networks.NETWORKS, and in every file that holds a configuration."""

    in_channels: int = 3
    """Channels of a slice; the LGG set has three (pre-contrast, FLAIR, post-contrast)."""

    num_regions: int = 1
    """Regions of the tumour, each of which has a logit of its own (data/regions.py)."""

    @property
    @abstractmethod
    def side_multiple(self) -> int:
        """The number that a slice's sides must be divisible by, in pixels."""

    @property
    def min_side(self) -> int:
        """The shortest side that the network can be trained on, in pixels."""
        return self.side_multiple

    @property
    def channels_last_on_cpu(self) -> bool:
        """Whether a CPU trains this network faster in channels_last than in PyTorch's usual memory layout."""
        return False

    def to_dict(self) -> dict[str, bool | int | float | str]:
        """Return the name of the architecture and all fields; `model.networks.read_config` is the inverse."""
        return {"architecture": self.architecture, **asdict(self)}


class SegmentationNetwork(nn.Module, ABC):
    """A network that maps normalised slices to logits of the same height and width.

    Dropout and normalisation must draw on torch's default generators and on this rank's batch alone: then a training
    that was interrupted continues bit for bit.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(
        self, slices: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch regions height width"]:
        """Return the logits of every pixel: that it lies in each region. Call `check_slices` first."""


def num_parameters(network: nn.Module) -> int:
    """Return the number of parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def check_slices(slices: Tensor, config: NetworkConfig) -> None:
    """Check that slices suit a network. During an export nothing is checked, because the sides are symbols.

    Raises:
        UserError: The slices have another number of channels, or a side that the network cannot take.
    """
    if torch.compiler.is_exporting():  # the exporter makes its own checks
        return
    channels, height, width = slices.shape[1:]
    if channels != config.in_channels:
        raise UserError(f"slices have {channels} channels, but this network was built for {config.in_channels}")
    multiple = config.side_multiple
    if height % multiple or width % multiple:
        padded = [-(-side // multiple) * multiple for side in (height, width)]
        raise UserError(
            f"slices are {height} x {width} pixels, but {config} needs sides divisible by {multiple}: pad or resize "
            f"to {padded[0]} x {padded[1]}, or choose another network"
        )
