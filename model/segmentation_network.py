"""What all networks have in common: a configuration that states a few facts, and logits for each pixel.

The rest of the program knows a network by these facts alone. model/networks/registry.py lists the networks.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from data.errors import UserError
from data.legal import OneOf, Range, check_legal
from data.preprocess import MAX_CONTEXT
from data.regions import MAX_REGIONS


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(ABC):
    """The shape of one network. Each network has its own subclass, with the fields that set its size."""

    architecture: ClassVar[str]
    """The network's name in model.networks.NETWORKS, and in every file that holds a configuration."""

    in_channels: Annotated[int, Range(at_least=1, at_most=64)] = 3
    """Channels of a slice, with those of its packed neighbours; the LGG set has three a slice (pre-contrast, FLAIR,
    post-contrast)."""

    num_regions: Annotated[int, Range(at_least=1, at_most=MAX_REGIONS)] = 1
    """Regions of the tumour, each of which has a logit of its own (data/regions.py)."""

    downscale: Annotated[int, OneOf(1, 2, 4)] = 1
    """Factor by which slices are shrunk before the network and its logits enlarged after it; 1 leaves both as they are.
    So networks that see slices at different sizes are validated on the same masks."""

    context_slices: Annotated[int | None, Range(at_least=0, at_most=MAX_CONTEXT)] = None
    """Number of neighbours above and as many below that the network sees, of those that are packed; None for all."""

    packed_context: Annotated[int, Range(at_least=0, at_most=MAX_CONTEXT)] = 0
    """Number of neighbours above and as many below that are packed with every slice, as channels
    (`Preprocessing.context_slices`). The data decide it."""

    def __post_init__(self) -> None:
        check_legal(self)
        if self.context_slices is not None and self.context_slices > self.packed_context:
            raise UserError(
                f"context_slices is {self.context_slices}, but must be at most {self.packed_context}, the neighbours "
                "that are packed with every slice: pack more, or let the network see fewer"
            )

    @property
    @abstractmethod
    def network_side_multiple(self) -> int:
        """The number that the sides of what the network itself sees must be divisible by, in pixels."""

    @property
    def network_min_side(self) -> int:
        """The shortest side that the network itself can be trained on, in pixels."""
        return self.network_side_multiple

    @property
    def side_multiple(self) -> int:
        """The number that a slice's sides must be divisible by, in pixels."""
        return self.downscale * self.network_side_multiple

    @property
    def min_side(self) -> int:
        """The shortest side of a slice that the network can be trained on, in pixels."""
        return self.downscale * self.network_min_side

    @property
    def fixed_sides(self) -> bool:
        """Whether an export takes slices of one size only, because the exporter refuses sides that are symbols."""
        return False

    @property
    def channels_last_on_cpu(self) -> bool:
        """Whether a CPU trains this network faster in channels_last than in PyTorch's usual memory layout."""
        return False

    def to_dict(self) -> dict[str, bool | int | float | str | None]:
        """Return the name of the architecture and all fields; `model.networks.read_config` is the inverse."""
        return {"architecture": self.architecture, **asdict(self)}


class HalvingConfig(NetworkConfig):
    """The shape of a network that halves the resolution `depth` times."""

    depth: int

    @property
    def network_side_multiple(self) -> int:
        """The number that the sides of what the network itself sees must be divisible by, in pixels."""
        return 2**self.depth

    @property
    def network_min_side(self) -> int:
        """The shortest side that the network itself can be trained on, in pixels. It leaves two pixels at the lowest
        resolution, because the values of a single one have no spread to normalise by."""
        return 2 * self.network_side_multiple


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

    def deep_logits(
        self, slices: Float[Tensor, "batch channels height width"]
    ) -> list[Float[Tensor, "batch regions _ _"]]:
        """Return the logits that training compares with the masks: those of `forward`, then those at lower resolutions,
        if the network has any (deep supervision)."""
        return [self(slices)]


def num_parameters(network: nn.Module) -> int:
    """Return the number of parameters of a network, without those that have no part in its logits."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


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
