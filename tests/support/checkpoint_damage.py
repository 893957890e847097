"""Checkpoints that no training writes: whole archives of tensors and values, some of which are odd."""

import io
from typing import Any

import numpy as np
import torch

from tests.support.mutation import ODD_VALUES, mutate_value


def damage_checkpoint(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a checkpoint in which one or two values were replaced by odd ones, left out or doubled."""
    state = torch.load(io.BytesIO(content), weights_only=True)
    odd = (*ODD_VALUES, *_odd_tensors())
    for _ in range(int(rng.integers(1, 3))):
        state = mutate_value(state, rng, odd)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _odd_tensors() -> tuple[Any, ...]:
    """Return tensors that no part of a checkpoint expects; two of them say that they are larger than any memory."""
    return (
        torch.zeros(()),
        torch.zeros(0),
        torch.full((3,), float("nan")),
        torch.zeros(2, 2, dtype=torch.int64),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(1).expand(10**12),
        torch.empty(10**12, device="meta"),
        torch.eye(2).to_sparse(),
    )
