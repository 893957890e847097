"""The settings of one training."""

import math
from dataclasses import dataclass

from data.errors import UserError
from model.device import PRECISIONS


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How one network is trained."""

    max_epochs: int
    """Number of epochs of the whole schedule; the learning rate reaches zero at its end."""

    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""

    weight_decay: float = 1e-2
    """AdamW's decoupled weight decay; PyTorch's default."""

    batch_size: int = 16
    """Number of slices in a global batch, which is divided among the workers."""

    bce_weight: float = 0.5
    """Weight of binary cross-entropy in the loss, from 0 to 1; the rest is the weight of Dice."""

    augment: float = 1.0
    """Strength of augmentation: 0 for none, 1 for the usual one, 2 for twice that."""

    warmup_fraction: float = 0.05
    """Share of the schedule in which the learning rate rises linearly; after that it falls as a cosine."""

    clip_norm: float = 1.0
    """Largest norm of the whole gradient. Instance norm and Dice sometimes give far larger ones."""

    patience: int = 0
    """Number of epochs without a better validation Dice after which training stops early; 0 for never."""

    precision: str = "auto"
    """'float32', 'bf16', 'fp16', or 'auto': the fastest that the device has units for."""

    seed: int = 0
    """Seed of the weights, the order of slices, augmentation and dropout."""

    measure_latency: bool = False
    """Whether the metrics include the network's `latency_ms`, which is measured once, before the first epoch."""

    loader_processes: int = 0
    """Number of processes that augment slices; with 0, a thread does, which is enough for a CPU
    (tests/benchmarks/LOG.md)."""

    def __post_init__(self) -> None:
        for name, low in (("max_epochs", 1), ("batch_size", 1), ("loader_processes", 0)):
            if getattr(self, name) < low:
                raise UserError(f"{name} is {getattr(self, name)}, but must be at least {low}")
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"learning_rate is {self.learning_rate}, but must be > 0")
        if not 0 <= self.weight_decay < math.inf:
            raise UserError(f"weight_decay is {self.weight_decay}, but must be at least 0")
        for name in ("bce_weight", "warmup_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}, but must be from 0 to 1")
        if not self.clip_norm > 0:
            raise UserError(f"clip_norm is {self.clip_norm}, but must be > 0")
        if self.precision not in ("auto", *PRECISIONS):
            raise UserError(f"precision is {self.precision!r}, but must be one of auto, {', '.join(PRECISIONS)}")
        if self.patience < 0:
            raise UserError(f"patience is {self.patience}, but must be at least 0 (0 never ends early)")
