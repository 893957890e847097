"""The device to train on, its fastest precision and its fastest memory layout."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from data.errors import UserError

NetworkT = TypeVar("NetworkT", bound=nn.Module)

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device and how to use it."""

    device: torch.device
    precision: str
    memory_format: torch.memory_format

    def autocast(self) -> torch.autocast:
        """Return the context in which the network runs; it changes nothing in float32."""
        enabled = self.precision != "float32"
        return torch.autocast(self.device.type, dtype=PRECISIONS[self.precision] if enabled else None, enabled=enabled)

    def put(self, array: np.ndarray) -> Tensor:
        """Return a batch's array as a tensor on the device, in the device's layout."""
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":  # from pinned memory, the copy overlaps with the step before
            tensor = tensor.pin_memory()
        return tensor.to(self.device, memory_format=self.memory_format, non_blocking=True)

    def move(self, network: NetworkT) -> NetworkT:
        """Move a network to the device, in the device's layout, and return it."""
        return network.to(self.device, memory_format=self.memory_format)  # pyright: ignore[reportCallIssue]  # torch's
        # stub of Module.to lacks memory_format, which its documentation has

    def seed(self, *parts: int) -> None:
        """Seed torch's generators of the CPU and of the device from all the parts together.

        If the parts were added up, (seed 1, epoch 2) would equal (seed 2, epoch 1). `torch.manual_seed` seeds every
        kind of device there is, which takes ten times as long: too long for every batch.
        """
        number = int(np.random.SeedSequence(parts).generate_state(1)[0])
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(number)


def find_device(precision: str = "auto", *, channels_last_on_cpu: bool = False) -> Device:
    """Return the GPU if there is one, else the CPU, with its fastest precision and memory layout.

    A GPU is fastest in channels_last. On a CPU it depends on the network; see NetworkConfig.channels_last_on_cpu. bf16
    doubles the speed of training on a CPU that has units for it (tests/benchmarks/LOG.md, 2026-11-21).

    Raises:
        UserError: `precision` is not one of auto, float32, bf16, fp16.
    """
    if precision not in ("auto", *PRECISIONS):
        raise UserError(f"precision is {precision!r}, but must be one of auto, {', '.join(PRECISIONS)}")
    if torch.cuda.is_available():
        fastest = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        device, layout = torch.device("cuda", torch.cuda.current_device()), torch.channels_last
    else:
        has_bf16 = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        fastest = "bf16" if has_bf16 else "float32"
        device = torch.device("cpu")
        layout = torch.channels_last if channels_last_on_cpu else torch.contiguous_format
    return Device(device=device, precision=fastest if precision == "auto" else precision, memory_format=layout)
