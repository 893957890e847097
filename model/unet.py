"""The U-Net: a network for slices, whose size and parts are set by a few fields.

Reference: Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28, with the changes that nnU-Net made usual
(padded convolutions, normalisation, leaky ReLU; doi:10.1038/s41592-020-01008-z).
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from data.legal import OneOf, Range, When
from model.segmentation_network import HalvingConfig, SegmentationNetwork, check_slices
from model.unet_blocks import ACTIVATIONS, BLOCKS, NORMS, AttentionGate

TUMOUR_PRIOR = 0.1
"""Probability of tumour that an untrained network gives every pixel. If it were a half, deep networks would need whole
epochs to learn that nearly all pixels are background (tests/benchmarks/LOG.md). Lin et al.
2017, arXiv:1708.02002, section 4.1, take 0.01."""


@dataclass(frozen=True, kw_only=True)
class UNetConfig(HalvingConfig):
    """The shape of one U-Net."""

    architecture: ClassVar[str] = "unet"

    depth: Annotated[int, Range(at_least=1, at_most=7)] = 4
    """How often the resolution is halved; sides must be divisible by 2 ** depth. Four as in Ronneberger et al."""

    width: Annotated[int, Range(at_least=1, at_most=256)] = 16
    """Features at full resolution; doubled at every halving, as in Ronneberger et al. (who used 64)."""

    dropout: Annotated[float, Range(at_least=0, below=1)] = 0.1
    """Probability with which a whole feature map is dropped, in the lower half of the U where features are many."""

    norm: Annotated[str, OneOf(*NORMS)] = "instance"
    """Normalisation: 'instance' (nnU-Net's), 'group' (of up to eight groups of features), or 'batch'. The first two do
    not depend on the batch and on the number of workers."""

    activation: Annotated[str, OneOf(*ACTIVATIONS)] = "leaky_relu"
    """The function after each norm: 'leaky_relu' of slope 0.01 (nnU-Net's), 'relu', 'gelu' or 'silu'."""

    block: Annotated[str, OneOf(*BLOCKS)] = "plain"
    """The two convolutions at each resolution: 'plain' (Ronneberger et al.) or 'residual', with a path around them."""

    attention: bool = False
    """Whether a gate weighs every pixel of a skip (Oktay et al. 2018, arXiv:1804.03999)."""

    deep_supervision: Annotated[bool, When(depth=(2, 3, 4, 5, 6, 7))] = False
    """Whether the lower resolutions on the way up have heads of their own, whose losses are added in training
    (`model.training.losses.deep_loss`). A depth of 1 has none."""

    @property
    def channels_last_on_cpu(self) -> bool:
        """Whether a CPU trains this network faster in channels_last. Batch norm is a quarter faster in it; instance
        norm is a quarter slower, because PyTorch copies its input to the other layout and back
        (tests/benchmarks/LOG.md, 2026-11-21). Group norm gains nothing."""
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
        self.head = _head(config.width, config)
        self.gates = nn.ModuleList(map(AttentionGate, widths[:-1] if config.attention else ()))
        """The gate on the skip of each level; empty without attention."""
        self.deep_heads = nn.ModuleList(
            _head(width, config) for width in (widths[1:-1] if config.deep_supervision else ())
        )
        """The heads of the levels below the first; empty without deep supervision."""

    def forward(
        self, slices: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch regions height width"]:
        """Return the logits of every pixel: that it lies in each region.

        Raises:
            UserError: The slices do not suit the network.
        """
        return self.head(self._features(slices)[0])

    def deep_logits(
        self, slices: Float[Tensor, "batch channels height width"]
    ) -> list[Float[Tensor, "batch regions _ _"]]:
        """Return the logits of every pixel, then those at a half, a quarter, ... of the resolution if there are heads
        for deep supervision."""
        heads = [self.head, *self.deep_heads]
        return [head(features) for head, features in zip(heads, self._features(slices), strict=False)]

    def _features(self, slices: Tensor) -> list[Tensor]:
        """Return the features on the way up, by level: at full resolution, at a half, and so on."""
        check_slices(slices, self.config)
        skips = []
        for level, block in enumerate(self.down):
            slices = block(slices if level == 0 else F.max_pool2d(slices, 2))
            skips.append(slices)
        found = [skips.pop()]
        for level in reversed(range(len(self.up))):
            upward, skip = self.up[level](found[0]), skips[level]
            if self.gates:
                skip = self.gates[level](skip, upward)
            found.insert(0, self.merge[level](torch.cat([skip, upward], dim=1)))
        return found[:-1]


def _block(before: int, after: int, config: UNetConfig, level: int) -> nn.Module:
    # Dropping maps at full resolution, where they are few, hurts the outline more than it regularises.
    dropout = config.dropout if 2 * level >= config.depth else 0.0
    return BLOCKS[config.block](before, after, norm=config.norm, activation=config.activation, dropout=dropout)


def _head(width: int, config: UNetConfig) -> nn.Conv2d:
    head = nn.Conv2d(width, config.num_regions, 1)
    assert head.bias is not None
    nn.init.constant_(head.bias, math.log(TUMOUR_PRIOR / (1 - TUMOUR_PRIOR)))
    return head
