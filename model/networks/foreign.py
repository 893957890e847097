"""A network that another package or person wrote, with what the rest of this program expects of every network."""

import copy
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from data.errors import UserError
from model.segmentation_network import NetworkConfig, SegmentationNetwork, check_slices
from model.unet import TUMOUR_PRIOR


class ForeignNetwork(SegmentationNetwork):
    """Any module that maps slices to logits of the same height and width; both are checked."""

    def __init__(self, config: NetworkConfig, network: nn.Module) -> None:
        """Wrap a module.

        Raises:
            UserError: What it returns are no logits.
        """
        super().__init__(config)
        self.network = network
        self._freeze_unused()

    def forward(
        self, slices: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch regions height width"]:
        """Return the logits of every pixel: that it lies in each region.

        Raises:
            UserError: The slices do not suit the network, or what it returns are no logits of them.
        """
        check_slices(slices, self.config)
        if torch.compiler.is_exporting():  # the sides are symbols then
            return self.network(slices)
        try:
            logits = self.network(slices)
        except SystemExit as error:  # a worker would end, as if its machine were lost
            raise UserError(f"{self.config.architecture} called sys.exit({error.code!r}) when given slices") from error
        _check_logits(logits, slices, self.config)
        return logits

    def _freeze_unused(self) -> None:
        """Exclude parameters that have no part in the logits, such as the last stages of an encoder that is used in
        part: workers would wait for their gradients. The network runs on shapes alone, which draws no random number."""
        side = self.config.min_side
        try:
            sketch = copy.deepcopy(self).to("meta").train()
            sketch(torch.empty(2, self.config.in_channels, side, side, device="meta")).sum().backward()
        except UserError:
            raise
        except Exception:  # it needs values, too; then model.export.rehearsal says what the real ones lack
            return
        for parameter, sketched in zip(self.parameters(), sketch.parameters(), strict=True):
            parameter.requires_grad_(parameter.requires_grad and sketched.grad is not None)


def start_at_prior(head: nn.Module) -> None:
    """Let the last convolution of a network begin with the probability of tumour that our own networks begin with."""
    assert isinstance(head, nn.Conv2d | nn.ConvTranspose2d)
    assert head.bias is not None
    nn.init.constant_(head.bias, math.log(TUMOUR_PRIOR / (1 - TUMOUR_PRIOR)))


def _check_logits(logits: Any, slices: Tensor, config: NetworkConfig) -> None:
    expected = (len(slices), config.num_regions, *slices.shape[2:])
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != expected:
        raise UserError(
            f"{config.architecture} returned {found} for slices of shape {tuple(slices.shape)}, but must return one "
            f"tensor of logits of shape {expected}: batch x regions x height x width"
        )
