"""The loss of training: a weighted sum of binary cross-entropy and Dice over the regions, both from logits."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from model.training import parallel
from model.training.train_config import TrainConfig

SMOOTHING_PIXELS = 1.0
"""Added to the numerator and denominator of Dice, so that a batch without tumour has a finite gradient."""


def training_loss(
    logits: Float[Tensor, "batch regions height width"],
    masks: Float[Tensor, "batch regions height width"],
    config: TrainConfig,
) -> Float[Tensor, ""]:
    """Return the loss that the config selects."""
    return bce_dice_loss(logits, masks, bce_weight=config.bce_weight)


def bce_dice_loss(
    logits: Float[Tensor, "batch regions height width"],
    masks: Float[Tensor, "batch regions height width"],
    *,
    bce_weight: float,
) -> Float[Tensor, ""]:
    """Return `bce_weight * BCE + (1 - bce_weight) * (1 - Dice)`.

    BCE is the mean over this rank's pixels and over regions. Dice pools the whole global batch, over all ranks, before
    it divides: a slice without tumour then contributes false positives only, and the loss does not depend on the number
    of workers. It is the mean over regions.

    Reference: soft Dice, Milletari et al. 2016, doi:10.1109/3DV.2016.79, with plain sums in place of sums of squares.
    """
    bce = F.binary_cross_entropy_with_logits(logits, masks)
    regions = zip(logits.sigmoid().unbind(1), masks.unbind(1), strict=True)
    sums = [torch.stack([(probability * mask).sum(), probability.sum(), mask.sum()]) for probability, mask in regions]
    intersection, predicted, true = parallel.differentiable_sum(torch.stack(sums, dim=1))
    dice = (2 * intersection + SMOOTHING_PIXELS) / (predicted + true + SMOOTHING_PIXELS)
    return bce_weight * bce + (1 - bce_weight) * (1 - dice.mean())
