"""A small training that tests run, halt and resume, and comparisons of its results bit for bit."""

from itertools import islice
from typing import Any

import torch

from model.training.train import EpochResult, train
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from tests.support.fakes import small_pack

UNET = UNetConfig(depth=1, width=2, dropout=0.3)
PACK = small_pack([True, False, True, False, True, False])
"""Six slices, all of which are in every epoch: three batches of two."""

Weights = dict[str, torch.Tensor]


def small_training(**changes: Any) -> TrainConfig:
    """Return the settings of four epochs in float32, with changes."""
    return TrainConfig(**{"max_epochs": 4, "batch_size": 2, "precision": "float32"} | changes)


def run_training(
    unet: UNetConfig = UNET, *, resume_from: bytes | None = None, **changes: Any
) -> tuple[list[EpochResult], Weights]:
    """Return all results of a training, and its last weights."""
    results = list(train(unet, small_training(**changes), PACK, PACK, resume_from=resume_from))
    return results, results[-1].state.network.state_dict()


def without_clocks(results: list[EpochResult]) -> list[str]:
    """Return the metrics of every epoch but the times, as text with all digits, in which nan equals nan."""
    return [
        repr({name: value for name, value in result.metrics.items() if not name.endswith("seconds")})
        for result in results
    ]


def same_weights(one: Weights, other: Weights) -> bool:
    """Return whether two networks have the same weights, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def bytes_after(num_epochs: int, unet: UNetConfig = UNET, **changes: Any) -> bytes:
    """Return the state of a training after some epochs, as bytes."""
    epochs = train(unet, small_training(**changes), PACK, PACK)
    return list(islice(epochs, num_epochs))[-1].state.to_bytes()
