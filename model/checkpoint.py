"""A training's whole state as bytes, and those bytes on disk: atomic, strict, and never a pickle.

The state of the random generators is not stored because there is none to store: every epoch seeds them from
(seed, epoch, rank), so the seed in the config and the epoch below are the generators' state, on any number of workers.
"""

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from model.unet import UNet, UNetConfig

FORMAT = 1
"""Raised when a field changes meaning; an older or newer file is refused."""


class CheckpointError(ValueError):
    """A file that is not a checkpoint of this program, or not of this version, or not of this configuration."""


class TrainState:
    """What one training needs to go on as if it had never stopped."""

    def __init__(
        self,
        network: UNet,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        scaler: torch.amp.GradScaler,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.schedule = schedule
        self.scaler = scaler
        self.history: list[dict[str, Any]] = []

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return len(self.history)

    def to_bytes(self) -> bytes:
        """Return the state, readable by `torch.load(weights_only=True)`."""
        buffer = io.BytesIO()
        self.write_to(buffer)
        return buffer.getvalue()

    def write_to(self, file: io.BufferedIOBase) -> None:
        """Write what `to_bytes` returns; to a file in two thirds of the time, because it is not copied."""
        torch.save(
            {
                "format": FORMAT,
                "unet": asdict(self.network.config),
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scaler": self.scaler.state_dict(),
                "history": self.history,
            },
            file,
        )

    def restore(self, content: bytes) -> None:
        """Continue from the bytes of an earlier `to_bytes`.

        Raises:
            CheckpointError: The bytes are not a checkpoint, or one of another network.
        """
        state = _read(content, "checkpoint")
        if state["unet"] != asdict(self.network.config):
            raise CheckpointError(f"checkpoint is of {state['unet']}, but this training is of {self.network.config}")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.history = list(state["history"])


def load_checkpoint(path: Path) -> tuple[UNet, list[dict[str, Any]]]:
    """Return the network of a checkpoint, on the CPU and ready to evaluate, and the metrics of its epochs, in order.

    Raises:
        CheckpointError: The file is damaged, foreign, or of another version.
    """
    state = _read(path.read_bytes(), str(path))
    network = UNet(UNetConfig(**state["unet"]))
    network.load_state_dict(state["network"])
    return network.eval(), state["history"]


def load_network(path: Path) -> UNet:
    """Return the network of a checkpoint; see `load_checkpoint`."""
    return load_checkpoint(path)[0]


def _read(content: bytes, name: str) -> dict[str, Any]:
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler or the zip reader meets in foreign bytes
        raise CheckpointError(f"{name} cannot be read as a checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(f"{name} has checkpoint format {found!r}, but this version reads format {FORMAT}")
    return state
