"""The U-Net: a network for slices whose size is set by four numbers.

Reference: Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28, with the changes that nnU-Net made usual
(padded convolutions, normalisation, leaky ReLU; doi:10.1038/s41592-020-01008-z).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from data.errors import UserError
from data.regions import MAX_REGIONS
from model.segmentation_network import NetworkConfig, SegmentationNetwork, check_slices

TUMOUR_PRIOR = 0.1
"""Probability of tumour that an untrained network gives every pixel. If it were a half, deep networks would need whole
epochs to learn that nearly all pixels are background (tests/benchmarks/LOG.md). Lin et al.
2017, arXiv:1708.02002, section 4.1, take 0.01."""

NORMS = {"instance": lambda channels: nn.InstanceNorm2d(channels, affine=True), "batch": nn.BatchNorm2d}


@dataclass(frozen=True, kw_only=True)
class UNetConfig(NetworkConfig):
    """The shape of one U-Net."""

    architecture: ClassVar[str] = "unet"

    depth: int = 4
    """How often the resolution is halved; sides must be divisible by 2 ** depth. Four as in Ronneberger et al."""

    width: int = 16
    """Features at full resolution; doubled at every halving, as in Ronneberger et al. (who used 64)."""

    dropout: float = 0.1
    """Probability with which a whole feature map is dropped, in the lower half of the U where features are many."""

    norm: str = "instance"
    """Normalisation: 'instance' (nnU-Net's; independent of the batch and of the number of workers) or 'batch'."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("in_channels", 1, 64),
            ("num_regions", 1, MAX_REGIONS),
            ("depth", 1, 7),
            ("width", 1, 256),
        ):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name} is {getattr(self, name)}, but must be from {low} to {high}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout is {self.dropout}, but must be at least 0 and below 1")
        if self.norm not in NORMS:
            raise UserError(f"norm is {self.norm!r}, but must be one of {', '.join(NORMS)}")

    @property
    def side_multiple(self) -> int:
        """The number that a slice's sides must be divisible by, in pixels."""
        return 2**self.depth

    @property
    def min_side(self) -> int:
        """The shortest side that the network can be trained on, in pixels. It leaves two pixels at the bottom of the U,
        because the values of a single one have no spread to normalise by."""
        return 2 * self.side_multiple

    @property
    def channels_last_on_cpu(self) -> bool:
        """Whether a CPU trains this network faster in channels_last. Batch norm is a quarter faster in it; instance
        norm is a quarter slower, because PyTorch copies its input to the other layout and back
        (tests/benchmarks/LOG.md, 2026-11-21)."""
        return self.norm == "batch"


class UNet(SegmentationNetwork):
    """A U-Net that maps normalised slices to logits of the same height and width."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        widths = [config.width * 2**level for level in range(config.depth + 1)]
        self.down = nn.ModuleList(
            _block(before, after, config, level)
            for level, (before, after) in enumerate(zip([config.in_channels, *widths], widths, strict=False))
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[:-1])
        self.merge = nn.ModuleList(_block(2 * width, width, config, level) for level, width in enumerate(widths[:-1]))
        self.head = nn.Conv2d(config.width, config.num_regions, 1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, math.log(TUMOUR_PRIOR / (1 - TUMOUR_PRIOR)))

    def forward(
        self, slices: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch regions height width"]:
        """Return the logits of every pixel: that it lies in each region.

        Raises:
            UserError: The slices do not suit the network.
        """
        check_slices(slices, self.config)
        skips = []
        for level, block in enumerate(self.down):
            slices = block(slices if level == 0 else F.max_pool2d(slices, 2))
            skips.append(slices)
        features = skips.pop()
        for level in reversed(range(len(self.up))):
            features = self.merge[level](torch.cat([skips[level], self.up[level](features)], dim=1))
        return self.head(features)


def _block(before: int, after: int, config: UNetConfig, level: int) -> nn.Sequential:
    def convolution(channels: int) -> list[nn.Module]:
        # The normalisation that follows has its own bias.
        return [nn.Conv2d(channels, after, 3, padding=1, bias=False), NORMS[config.norm](after), nn.LeakyReLU(0.01)]

    # Dropping maps at full resolution, where they are few, hurts the outline more than it regularises.
    dropout = [nn.Dropout2d(config.dropout)] if config.dropout and 2 * level >= config.depth else []
    return nn.Sequential(*convolution(before), *dropout, *convolution(after))
