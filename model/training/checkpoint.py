"""Save the whole state of a training as bytes, and read it strictly: tensors and plain values, never a pickled object.

The random generators have no state to store: every batch seeds them from (seed, epoch, batch, rank), so the seed in the
config and the numbers below determine them, on any number of workers.
"""

import io
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.errors import UserError
from model.networks import build, read_config
from model.networks.shapes import build_without_memory, check_shapes, has_all_buffers, is_whole, shapes_of
from model.segmentation_network import NetworkConfig, SegmentationNetwork
from model.settings import ModelError

FORMAT = 3
"""Increased when a field changes its meaning; a newer file is refused."""

FORMATS = (1, 2, FORMAT)
"""The formats that are read. Format 1 was always written between two epochs, so it holds no partial epoch. Formats 1
and 2 hold the configuration of a U-Net as `unet`, without the name of an architecture."""

PARTS = {"network": dict, "optimizer": dict, "schedule": dict, "scaler": dict, "history": list}
"""The parts that every checkpoint has, beside the configuration of its network, each with its type."""


class CheckpointError(UserError):
    """A file is not a checkpoint of this program, of this version, or of this network."""


@dataclass(frozen=True, kw_only=True)
class PartialEpoch:
    """The part of an epoch that is done when training halts."""

    num_batches: int = 0
    """Global batches that are done."""

    losses: Tensor | None = None
    """A row for each rank: the sum of its losses and the number of its batches. None before the first batch."""

    seconds: float = 0.0
    """How long these batches took."""

    waiting_seconds: float = 0.0
    """The part of `seconds` in which training waited for data."""

    def losses_of(self, rank: int, num_ranks: int) -> Tensor:
        """Return the sum of the losses and the number of batches that a rank continues from.

        If the number of ranks has changed, the first rank gets the totals of all ranks, and the others get zeros.
        """
        if self.losses is None:
            return torch.zeros(2)
        if len(self.losses) == num_ranks:
            return self.losses[rank].clone()
        return self.losses.sum(dim=0) if rank == 0 else torch.zeros(2)


class TrainState:
    """Everything that a training needs to continue as if it had never stopped."""

    def __init__(
        self,
        network: SegmentationNetwork,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        scaler: torch.amp.GradScaler,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.schedule = schedule
        self.scaler = scaler
        self.history: list[dict[str, float | int]] = []
        """The metrics of every finished epoch, in order."""

        self.partial_epoch = PartialEpoch()

    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
        return len(self.history)

    def to_bytes(self) -> bytes:
        """Return the state as `torch.load(weights_only=True)` reads it."""
        buffer = io.BytesIO()
        self.write_to(buffer)
        return buffer.getvalue()

    def write_to(self, file: io.BufferedIOBase) -> None:
        """Write what `to_bytes` returns, without a copy of it: a third faster for a file.

        Raises:
            OSError: The file cannot be written.
        """
        content = {
            "format": FORMAT,
            "network_config": self.network.config.to_dict(),
            "network": self.network.state_dict(),
            "optimizer_name": _name(self.optimizer),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
            "under_way": asdict(self.partial_epoch),
        }
        try:
            torch.save(content, file)  # pyright: ignore[reportArgumentType]  # its stub names IO[bytes], not io's classes
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch hides what the system said
                raise error.__context__ from error
            raise

    def restore(self, content: bytes) -> None:
        """Replace this state by the one in the bytes that `to_bytes` returned earlier.

        Raises:
            CheckpointError: The bytes are not a checkpoint, or are one of another network or optimizer.
        """
        state = _read(content, "checkpoint")
        own = (self.network.config.architecture,)  # so that nothing else that the bytes may name is imported
        # An older program did not write how many neighbours are packed, because every network saw all of them.
        packed = {"packed_context": self.network.config.packed_context}
        if (found := _network_config(state, "checkpoint", own, packed)) != self.network.config:
            raise CheckpointError(
                f"checkpoint is of {found}, but this training is of {self.network.config}; resume with the same network"
            )
        # An older program wrote no name, because it had one optimizer.
        if (found := state.get("optimizer_name", "AdamW")) != _name(self.optimizer):
            raise CheckpointError(
                f"checkpoint is of the optimizer {found}, but this training has {_name(self.optimizer)}; "
                "resume with the same optimizer"
            )
        tensors = _tensors(state, self.network, "checkpoint")
        try:
            self.network.load_state_dict(tensors)
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            if state["scaler"]:  # empty where it trained without one, on a device of another precision
                self.scaler.load_state_dict(state["scaler"])
            self.partial_epoch = PartialEpoch(**state.get("under_way", {}))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # torch takes the parts as they come, and raises whatever it meets first
            raise _damaged(
                "checkpoint", f"it does not continue a training ({type(error).__name__}: {error})"
            ) from error
        self.history = list(state["history"])


def load_checkpoint(
    path: Path, *, own: Collection[str] = ()
) -> tuple[SegmentationNetwork, list[dict[str, float | int]]]:
    """Return a checkpoint's network, on the CPU and in evaluation mode, and the metrics of its epochs, in order.

    Args:
        own: The functions `package.module:function` that may build the network; the file's word is not enough.

    Raises:
        CheckpointError: The file is damaged, of another program, or of another version, or names another function.
    """
    name = str(path)
    state = _read(path.read_bytes(), name)
    config = _network_config(state, name, own)
    network = build_without_memory(config)
    tensors = _tensors(state, network, name)
    # What the file says has been checked against shapes; now the network may take memory.
    network = network if has_all_buffers(network) else build(config)
    network.load_state_dict(tensors, assign=True)
    return network.eval(), state["history"]


def _name(optimizer: torch.optim.Optimizer) -> str:
    return type(optimizer).__name__


def _read(content: bytes, name: str) -> dict[str, Any]:
    """Return the parts of a checkpoint, each of its own type."""
    try:
        _check_archive(content)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler and the zip reader raise many classes of exceptions
        raise CheckpointError(f"{name} cannot be read as a checkpoint: {error}") from error
    found = state.get("format") if isinstance(state, dict) else type(state).__name__
    if type(found) is not int or found not in FORMATS:
        raise CheckpointError(f"{name} has checkpoint format {found!r:.80}, but this version reads 1, 2 and 3")
    for part, kind in PARTS.items():
        if not isinstance(state.get(part), kind):
            raise _damaged(name, f"its {part} is of type {type(state.get(part)).__name__}, but must be {kind.__name__}")
    if not all(map(_is_epoch, state["history"])):
        raise _damaged(name, "its history must hold numbers by name for each epoch, but has something else")
    return state


def _check_archive(content: bytes) -> None:
    """Check the sums of the archive that a checkpoint is; torch 2.13 does not, and a changed weight would go unseen.

    Raises:
        BadZipFile: It is no archive, or a damaged one.
        ValueError: A part has changed, or is compressed, so that it may be of any size in memory.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if packed := [part.filename for part in archive.infolist() if part.compress_type != zipfile.ZIP_STORED]:
            raise ValueError(f"{packed[0]} in it is compressed, but a checkpoint is not")
        if changed := archive.testzip():
            raise ValueError(f"{changed} in it has changed since it was written")


def _is_epoch(metrics: object) -> bool:
    return isinstance(metrics, dict) and all(
        isinstance(name, str) and type(value) in (int, float) for name, value in metrics.items()
    )


def _network_config(
    state: Mapping[str, Any], name: str, own: Collection[str], otherwise: Mapping[str, Any] | None = None
) -> NetworkConfig:
    """Return the configuration in a checkpoint, with other values for fields that it does not have."""
    found = state.get("network_config" if state["format"] == FORMAT else "unet")
    if not isinstance(found, dict) or not all(map(_is_field, found.items())):
        raise _damaged(name, "it does not describe its network")
    try:
        return read_config({**(otherwise or {}), **found}, own=own)
    except UserError as error:
        raise CheckpointError(f"{name}: {error}") from error


def _is_field(item: tuple[object, object]) -> bool:
    name, value = item
    return isinstance(name, str) and isinstance(value, bool | int | float | str | None)


def _tensors(state: Mapping[str, Any], network: SegmentationNetwork, name: str) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's network, after comparing them with those of a network like it.

    Raises:
        CheckpointError: They differ in name, shape or type, or are not whole.
    """
    found = {str(key): value for key, value in state["network"].items()}
    if not all(map(is_whole, found.values())):
        raise _damaged(name, "its network holds something else than whole tensors")
    try:
        check_shapes(shapes_of(network.state_dict()), shapes_of(found))
    except ModelError as error:
        raise _damaged(name, str(error)) from error
    return {key: value.contiguous() for key, value in found.items()}


def _damaged(name: str, reason: str) -> CheckpointError:
    return CheckpointError(f"{name} is damaged: {reason}; use another checkpoint")
