"""What a network sees of the slices that it is given: all of them, or smaller ones with fewer neighbours.

Data are packed once, at one size and with the most neighbours; so networks that see less of them are trained on the
same pack, and validated on the same masks.
"""

from collections.abc import Callable
from dataclasses import replace

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from data.errors import UserError
from model.segmentation_network import NetworkConfig, SegmentationNetwork, check_slices


def with_view(
    build_network: Callable[[NetworkConfig], SegmentationNetwork], config: NetworkConfig
) -> SegmentationNetwork:
    """Return the network of a config, which sees what the config says of every slice.

    If that is all of it, this is `build_network(config)` itself.

    Raises:
        UserError: The channels of a slice cannot be divided among it and its neighbours.
    """
    sees_all = config.context_slices in (None, config.packed_context)
    if sees_all and config.downscale == 1:
        return build_network(config)
    num_packed, context = 2 * config.packed_context + 1, config.packed_context if sees_all else config.context_slices
    assert context is not None
    if config.in_channels % num_packed:
        raise UserError(
            f"in_channels is {config.in_channels}, but must be divisible by {num_packed}: a slice is packed with "
            f"{config.packed_context} neighbours above and below"
        )
    channels = config.in_channels // num_packed * (2 * context + 1)
    seen = replace(config, in_channels=channels, downscale=1, context_slices=None, packed_context=context)
    return InputView(config, build_network(seen))


class InputView(SegmentationNetwork):
    """A network that sees a part of each slice, and whose logits are enlarged to the whole one."""

    def __init__(self, config: NetworkConfig, network: SegmentationNetwork) -> None:
        """Begin with the config of the view, and the network that was built for what it leaves."""
        super().__init__(config)
        self.network = network

    def forward(
        self, slices: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch regions height width"]:
        """Return the logits of every pixel of the whole slices.

        Raises:
            UserError: The slices do not suit the network.
        """
        return self._enlarged(self.network(self._seen(slices)))

    def deep_logits(
        self, slices: Float[Tensor, "batch channels height width"]
    ) -> list[Float[Tensor, "batch regions _ _"]]:
        """Return the logits of the whole slices, then those at lower resolutions as the network gives them."""
        whole, *lower = self.network.deep_logits(self._seen(slices))
        return [self._enlarged(whole), *lower]

    def _seen(self, slices: Tensor) -> Tensor:
        """Return what the network sees: the slice in the middle of the channels with its nearest neighbours, shrunk by
        area."""
        check_slices(slices, self.config)
        num_left_out = (self.config.in_channels - self.network.config.in_channels) // 2  # at either end
        if num_left_out:
            slices = slices[:, num_left_out:-num_left_out]
        return F.avg_pool2d(slices, self.config.downscale) if self.config.downscale > 1 else slices

    def _enlarged(self, logits: Tensor) -> Tensor:
        if self.config.downscale == 1:
            return logits
        return F.interpolate(logits, scale_factor=float(self.config.downscale), mode="bilinear", align_corners=False)
