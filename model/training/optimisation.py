"""The optimizers and the schedules of the learning rate, by name."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from model.training.train_config import TrainConfig

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "sgd": partial(torch.optim.SGD, nesterov=True, fused=True),
    "radam": partial(torch.optim.RAdam, decoupled_weight_decay=True),  # PyTorch has no fused one
}

POLY_EXPONENT = 0.9
"""As in nnU-Net (doi:10.1038/s41592-020-01008-z), which took it from DeepLab (arXiv:1606.00915, equation 3)."""

SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "cosine": lambda step, num_steps: 0.5 * (1 + math.cos(math.pi * step / num_steps)),
    "poly": lambda step, num_steps: (1 - step / num_steps) ** POLY_EXPONENT,
    "constant": lambda step, num_steps: 1.0,
}
"""The factor on the learning rate, from the number of steps since the warm-up and the number of all steps after it."""


def build_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer of a network's parameters, before its first step."""
    options = {"momentum": config.momentum} if config.optimizer == "sgd" else {}
    build = OPTIMIZERS[config.optimizer]
    return build(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, **options)


def build_schedule(optimizer: torch.optim.Optimizer, config: TrainConfig, *, num_steps: int) -> LambdaLR:
    """Return the schedule of the learning rate: a linear warm-up, then the one that the config names."""
    num_warmup = round(config.warmup_fraction * num_steps)
    fall, num_after = SCHEDULES[config.schedule], max(1, num_steps - num_warmup)

    def factor(step: int) -> float:
        return (step + 1) / num_warmup if step < num_warmup else fall(step - num_warmup, num_after)

    return LambdaLR(optimizer, factor)
