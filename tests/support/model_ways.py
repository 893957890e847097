"""Everything that this program does with a model's folder, by name; each way returns what came of it as text."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from model.manifest import verify_manifest
from model.predict.exported_model import ExportedModel
from model.training.checkpoint import TrainState, load_checkpoint
from model.unet import UNet, UNetConfig
from model.weights import WEIGHTS_NAME, read_weights

CHECKPOINT_NAME = "checkpoint.pt"
MAX_VALUES = 10**6
"""Larger tensors come from a damaged file alone, and are compared by their shape."""


def new_state() -> TrainState:
    """Return the state of a training that has not begun."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(width=1, depth=1))
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return TrainState(network, optimizer, schedule, torch.amp.GradScaler("cpu", enabled=False))


def trained_state() -> TrainState:
    """Return the state of a training after one batch, which was its only one."""
    state = new_state()
    state.network(torch.ones(1, 3, 8, 8)).sum().backward()
    state.optimizer.step()
    state.history.append({"epoch": 1, "train_loss": 0.5, "val_dice": 0.25})
    return state


def _predict(folder: Path, runtime: str) -> str:
    model = ExportedModel.load(folder, runtime=runtime)
    if model.settings.num_inputs <= 100:
        images = np.arange(2 * 20 * 12 * model.settings.num_channels, dtype=np.uint8)
        model.segment(images.reshape(2, 20, 12, -1))
    names = [*model.settings.channel_names, *(region.name for region in model.settings.regions)]
    return json.dumps(names) + " ".join(names)


def _read_weights(folder: Path, runtime: str) -> str:
    return _digest(read_weights(folder / WEIGHTS_NAME).state_dict().values())


def _load_checkpoint(folder: Path, runtime: str) -> str:
    network, history = load_checkpoint(folder / CHECKPOINT_NAME)
    return json.dumps([_digest(network.state_dict().values()), network.config.to_dict(), history])


def _resume(folder: Path, runtime: str) -> str:
    state = new_state()
    state.restore((folder / CHECKPOINT_NAME).read_bytes())
    parts = [value for one in state.optimizer.state.values() for value in one.values()]
    moments = [value for value in parts if isinstance(value, torch.Tensor)]
    return json.dumps([_digest([*state.network.state_dict().values(), *moments]), state.history])


def _verify(folder: Path, runtime: str) -> str:
    return str(len(verify_manifest(folder).files))


WAYS: dict[str, Callable[[Path, str], str]] = {
    "predict": _predict,
    "weights": _read_weights,
    "checkpoint": _load_checkpoint,
    "resume": _resume,
    "verify": _verify,
}


def _digest(tensors: Iterable[torch.Tensor]) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        is_plain = tensor.layout == torch.strided and not tensor.is_meta and tensor.numel() <= MAX_VALUES
        found.update(tensor.numpy().tobytes() if is_plain else str(tensor.shape).encode())
    return found.hexdigest()
