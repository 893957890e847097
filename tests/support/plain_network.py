"""A network of one convolution, which tests register beside the U-Net."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from model.networks import Architecture
from model.segmentation_network import NetworkConfig, SegmentationNetwork, check_slices


@dataclass(frozen=True, kw_only=True)
class PlainConfig(NetworkConfig):
    """The size of the convolution's kernel."""

    architecture: ClassVar[str] = "plain"

    kernel: int = 3

    @property
    def network_side_multiple(self) -> int:
        return 1


class Plain(SegmentationNetwork):
    """One convolution."""

    def __init__(self, config: PlainConfig) -> None:
        super().__init__(config)
        self.convolution = nn.Conv2d(config.in_channels, 1, config.kernel, padding="same")

    def forward(self, slices: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch 1 height width"]:
        check_slices(slices, self.config)
        return self.convolution(slices)


PLAIN = Architecture(config=PlainConfig, network=Plain, title="Plain convolution")


class Broken(Plain):
    """A network that fails in its first step."""

    def forward(self, slices: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch 1 height width"]:
        raise ValueError("no logits today\nwith details")
