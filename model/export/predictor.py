"""A trained network with everything that its exported graph contains, and a way to run it in torch."""

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.inference.volume import Network, with_regions
from model.segmentation_network import SegmentationNetwork, num_parameters

MIN_PROBABILITY = 1e-6
"""Distance that averaged probabilities keep from 0 and 1, where their logits would be infinite."""


class Predictor(nn.Module):
    """One network or an ensemble, with the normalisation before it, and flips, temperature and threshold after it."""

    def __init__(
        self,
        networks: Sequence[SegmentationNetwork],
        *,
        threshold: float | Sequence[float] = 0.5,
        flips: bool = False,
        temperature: float = 1.0,
    ) -> None:
        """Join networks.

        Args:
            threshold: The threshold of all regions, or one for each.
        """
        super().__init__()
        assert networks, "a predictor needs at least one network"
        self.networks = nn.ModuleList(networks)
        self.configs = tuple(network.config for network in networks)
        self.flips, self.temperature = flips, temperature
        self.thresholds = tuple([threshold] * self.num_regions if isinstance(threshold, int | float) else threshold)
        """The threshold of each region."""

    @property
    def in_channels(self) -> int:
        """Number of channels that the networks see."""
        return self.configs[0].in_channels

    @property
    def num_regions(self) -> int:
        """Number of regions that each network segments."""
        return self.configs[0].num_regions

    @property
    def side_multiple(self) -> int:
        """Number by which the sides of a slice must be divisible."""
        return math.lcm(*(config.side_multiple for config in self.configs))

    @property
    def min_side(self) -> int:
        """The shortest side that all networks can be trained on, in pixels."""
        return max(config.min_side for config in self.configs)

    @property
    def fixed_sides(self) -> bool:
        """Whether an export takes slices of one size only, because one of the networks does."""
        return any(config.fixed_sides for config in self.configs)

    @property
    def num_parameters(self) -> int:
        """Number of parameters of all networks together."""
        return num_parameters(self)

    def forward(
        self,
        slices: Float[Tensor, "batch channels height width"],
        mean: Float[Tensor, " channels"],
        std: Float[Tensor, " channels"],
    ) -> tuple[Float[Tensor, "batch *regions height width"], Bool[Tensor, "batch *regions height width"]]:
        """Return the probability of tumour for raw intensities, and whether it reaches the threshold.

        Of several regions there is one for each, along a second axis.
        """
        normalised = (slices - mean[:, None, None]) / std[:, None, None]
        logits = [network(normalised) for network in self.networks]
        if self.flips:
            mirrored = normalised.flip(3)  # left and right of a head look alike, up and down do not
            logits += [network(mirrored).flip(3) for network in self.networks]
        probability = (_mean_logit(logits) / self.temperature).sigmoid()
        if self.num_regions == 1:
            probability = probability.squeeze(1)
            return probability, probability >= self.thresholds[0]
        reached = [one >= threshold for one, threshold in zip(probability.unbind(1), self.thresholds, strict=True)]
        return probability, torch.stack(reached, dim=1)


def _mean_logit(logits: list[Tensor]) -> Tensor:
    """Return the logit of the mean probability."""
    if len(logits) == 1:
        return logits[0]
    mean = torch.stack([one.sigmoid() for one in logits]).mean(0)
    return mean.clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY).logit()


def torch_network(predictor: Predictor, device: torch.device) -> Network:
    """Return a function that runs a copy of the predictor in float32 on a device; the original may go on training."""
    predictor = copy.deepcopy(predictor).to(device, torch.float32).eval()

    @torch.inference_mode()
    def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        batch, mean_, std_ = (torch.from_numpy(array).to(device) for array in (slices, mean, std))
        # TF32, the default of a GPU for convolutions, keeps 10 of the 23 bits of float32.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return with_regions(predictor(batch, mean_, std_)[0].cpu().numpy())

    return network
