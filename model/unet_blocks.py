"""What a U-Net is built from: blocks of two convolutions, their norms and activations, and the gate on a skip."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

MAX_GROUPS = 8
"""Groups of group norm, if the number of features can be divided by it; MONAI's SegResNet has as many (Myronenko 2018,
arXiv:1810.11654)."""

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(math.gcd(MAX_GROUPS, channels), channels),
}

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def plain_block(before: int, after: int, *, norm: str, activation: str, dropout: float) -> nn.Sequential:
    """Return two convolutions, each with its norm and activation; whole maps are dropped between them."""
    first, second = _convolution(before, after, norm), _convolution(after, after, norm)
    activate = ACTIVATIONS[activation]
    return nn.Sequential(*first, activate(), *_dropout(dropout), *second, activate())


class ResidualBlock(nn.Module):
    """A plain block around which its input is added before the last activation.

    Where the number of features changes, the input goes through a convolution of one pixel and a norm.

    Reference: He et al. 2016, doi:10.1109/CVPR.2016.90; in both halves of a U-Net, Zhang et al. 2018,
    doi:10.1109/LGRS.2018.2802944; in the upper half, nnU-Net's ResEnc, Isensee et al. 2024, arXiv:2404.09556.
    """

    def __init__(self, before: int, after: int, *, norm: str, activation: str, dropout: float) -> None:
        super().__init__()
        first, second = _convolution(before, after, norm), _convolution(after, after, norm)
        self.body = nn.Sequential(*first, ACTIVATIONS[activation](), *_dropout(dropout), *second)
        self.skip = nn.Identity() if before == after else nn.Sequential(*_convolution(before, after, norm, side=1))
        self.activation = ACTIVATIONS[activation]()

    def forward(self, features: Float[Tensor, "batch before height width"]) -> Float[Tensor, "batch _ height width"]:
        return self.activation(self.body(features) + self.skip(features))


BLOCKS: dict[str, Callable[..., nn.Module]] = {"plain": plain_block, "residual": ResidualBlock}


class AttentionGate(nn.Module):
    """A weight from 0 to 1 for every pixel of a skip, from the skip and from the features that come up to it.

    Reference: Oktay et al. 2018, arXiv:1804.03999, equations 1 and 2. The gating features are those after the upward
    convolution, so they need no resizing.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(1, width // 2)
        self.of_skip = nn.Conv2d(width, inner, 1, bias=False)  # the other one has the bias of both
        self.of_gate = nn.Conv2d(width, inner, 1)
        self.weight = nn.Conv2d(inner, 1, 1)

    def forward(
        self, skip: Float[Tensor, "batch width rows columns"], gate: Float[Tensor, "batch width rows columns"]
    ) -> Float[Tensor, "batch width rows columns"]:
        return skip * self.weight(torch.relu(self.of_skip(skip) + self.of_gate(gate))).sigmoid()


def _convolution(before: int, after: int, norm: str, *, side: int = 3) -> list[nn.Module]:
    # The normalisation that follows has its own bias.
    return [nn.Conv2d(before, after, side, padding=side // 2, bias=False), NORMS[norm](after)]


def _dropout(share: float) -> list[nn.Module]:
    return [nn.Dropout2d(share)] if share else []
