"""What a device is fast at: where to train, in which precision, in which memory layout."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

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
        """Return a batch's array there, in its layout."""
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":  # pinned, the copy overlaps with the step before
            tensor = tensor.pin_memory()
        return tensor.to(self.device, memory_format=self.memory_format, non_blocking=True)

    def seed(self, *parts: int) -> None:
        """Seed what draws random numbers here and there, from all the parts.

        A sum of them would make (seed 1, epoch 2) the same as (seed 2, epoch 1). `torch.manual_seed` does the same for
        every kind of device, and takes ten times as long: too much for every batch.
        """
        number = int(np.random.SeedSequence(parts).generate_state(1)[0])
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(number)


def find_device(precision: str = "auto", *, norm: str = "instance") -> Device:
    """Return the GPU if there is one, else the CPU, with its fastest precision and the fastest layout for a norm.

    Measured (tests/benchmarks/LOG.md, 2026-11-21): bf16 doubles a CPU's training where it has units for it;
    channels_last is a quarter faster there with batch norm, and a quarter slower with instance norm, which copies to
    the other layout and back.

    Raises:
        ValueError: `precision` is none of auto, float32, bf16, fp16.
    """
    if precision not in ("auto", *PRECISIONS):
        raise ValueError(f"precision is {precision!r}, but must be one of auto, {', '.join(PRECISIONS)}")
    if torch.cuda.is_available():
        fastest = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        device, layout = torch.device("cuda", torch.cuda.current_device()), torch.channels_last
    else:
        has_bf16 = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        fastest = "bf16" if has_bf16 else "float32"
        device, layout = torch.device("cpu"), torch.channels_last if norm == "batch" else torch.contiguous_format
    return Device(device=device, precision=fastest if precision == "auto" else precision, memory_format=layout)
