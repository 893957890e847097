"""The loss of training: a weighted sum of a loss over pixels and one over the regions' overlap, both from logits."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from model.training import parallel
from model.training.train_config import TrainConfig

SMOOTHING_PIXELS = 1.0
"""Added to the numerator and denominator of Dice, so that a batch without tumour has a finite gradient."""


def deep_loss(
    logits: Sequence[Float[Tensor, "batch regions _ _"]],
    masks: Float[Tensor, "batch regions height width"],
    config: TrainConfig,
) -> Float[Tensor, ""]:
    """Return the weighted sum of the losses of logits at several resolutions, the full one first.

    A weight is half of the one before, and all add up to 1. A mask at a lower resolution has the nearest pixels of the
    whole one.

    Reference: deep supervision, Lee et al. 2015, arXiv:1409.5185; the weights and masks as in nnU-Net, Isensee et al.
    2021, doi:10.1038/s41592-020-01008-z.
    """
    weights = [2.0 ** (len(logits) - 1 - level) / (2 ** len(logits) - 1) for level in range(len(logits))]
    losses = [training_loss(one, _resized(masks, one), config) for one in logits]
    return sum((weight * loss for weight, loss in zip(weights, losses, strict=True)), start=torch.zeros_like(losses[0]))


def training_loss(
    logits: Float[Tensor, "batch regions height width"],
    masks: Float[Tensor, "batch regions height width"],
    config: TrainConfig,
) -> Float[Tensor, ""]:
    """Return `bce_weight * pixel loss + (1 - bce_weight) * overlap loss`, with the losses that the config names.

    The loss over pixels is the mean over this rank's pixels and over regions. The loss over overlap pools the whole
    global batch, over all ranks, before it divides: a slice without tumour then contributes false positives only, and
    the loss does not depend on the number of workers. It is the mean over regions.
    """
    if config.pixel_loss == "focal":
        pixels = focal_loss(logits, masks, gamma=config.focal_gamma)
    else:
        pixels = F.binary_cross_entropy_with_logits(logits, masks)
    index = tversky_index(logits, masks, alpha=config.tversky_alpha if config.overlap_loss == "tversky" else 0.5)
    return config.bce_weight * pixels + (1 - config.bce_weight) * (1 - index.mean())


def focal_loss(
    logits: Float[Tensor, "batch regions height width"],
    masks: Float[Tensor, "batch regions height width"],
    *,
    gamma: float,
) -> Float[Tensor, ""]:
    """Return the mean of `-(1 - p) ** gamma * log(p)`, where p is the probability given to a pixel's true class.

    Reference: Lin et al. 2017, arXiv:1708.02002, equation 4.
    """
    towards_truth = logits * (2 * masks - 1)
    # In logarithms, because a power below 1 of a probability that was rounded to 0 has an infinite gradient.
    return -(torch.exp(gamma * F.logsigmoid(-towards_truth)) * F.logsigmoid(towards_truth)).mean()


def tversky_index(
    logits: Float[Tensor, "batch regions height width"],
    masks: Float[Tensor, "batch regions height width"],
    *,
    alpha: float,
) -> Float[Tensor, " regions"]:
    """Return `TP / (TP + alpha * FP + (1 - alpha) * FN)` of each region, over the whole global batch; 0.5 gives Dice.

    TP, FP and FN are sums of probabilities.

    Reference: Salehi et al. 2017, arXiv:1706.05721, equation 2, with beta = 1 - alpha. For Dice: Milletari et al. 2016,
    doi:10.1109/3DV.2016.79, with plain sums in place of sums of squares.
    """
    regions = zip(logits.sigmoid().unbind(1), masks.unbind(1), strict=True)
    sums = [torch.stack([(probability * mask).sum(), probability.sum(), mask.sum()]) for probability, mask in regions]
    intersection, predicted, true = parallel.differentiable_sum(torch.stack(sums, dim=1))
    # TP + alpha * (predicted - TP) + (1 - alpha) * (true - TP) is alpha * predicted + (1 - alpha) * true; both ends are
    # doubled, so that Dice is what it always was, bit for bit.
    return (2 * intersection + SMOOTHING_PIXELS) / (2 * alpha * predicted + 2 * (1 - alpha) * true + SMOOTHING_PIXELS)


def _resized(masks: Tensor, logits: Tensor) -> Tensor:
    if masks.shape == logits.shape:
        return masks
    # "nearest-exact" samples at the centres of pixels, as the resizing of slices does (data/preprocess.py).
    return F.interpolate(masks, size=logits.shape[2:], mode="nearest-exact")
