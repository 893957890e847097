"""The GPUs that torch sees, and what it would train on: torch is asked in a process of its own."""

import warnings
from dataclasses import asdict, dataclass
from typing import Any

from data.errors import first_line
from search.doctor.facts.probe import ask

TORCH_SECONDS = 120.0
"""How long torch may take to load and to try the GPUs: seconds, or a minute from a network folder."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU that torch sees."""

    name: str
    total: float
    free: float
    """Bytes that no process uses; so is `total`, of all bytes."""

    capability: str
    """CUDA's compute capability, such as "9.0"."""

    problem: str
    """Why torch cannot compute on it; "" if it can."""


@dataclass(frozen=True, kw_only=True)
class TorchFacts:
    """What torch says of this machine."""

    version: str
    cuda: str
    """The version of CUDA that it was built for; "" for a build without CUDA."""

    problem: str
    """What torch complains of while it looks for GPUs."""

    gpus: tuple[Gpu, ...]
    device: str
    precision: str
    layout: str


def ask_torch() -> TorchFacts:
    """Return what torch says.

    Raises:
        NoAnswer: It is not installed, is broken, or hangs.
    """
    found = ask(__name__, "read_torch", seconds=TORCH_SECONDS)
    return TorchFacts(**found | {"gpus": tuple(Gpu(**gpu) for gpu in found["gpus"])})


def read_torch() -> dict[str, Any]:
    """Return the fields of TorchFacts. It loads torch, and is meant for a process of its own."""
    import torch

    from model.device import find_device
    from model.unet import UNetConfig

    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        has_gpu = torch.cuda.is_available()
        gpus = [_try_gpu(number) for number in range(torch.cuda.device_count())] if has_gpu else []
    device = find_device(channels_last_on_cpu=UNetConfig(in_channels=3).channels_last_on_cpu)
    facts = TorchFacts(
        version=torch.__version__,
        cuda=torch.version.cuda or "",
        problem=str(complaints[0].message) if complaints else "",
        gpus=tuple(gpus),
        device=device.device.type,
        precision=device.precision,
        layout=str(device.memory_format).removeprefix("torch."),
    )
    return asdict(facts)


def _try_gpu(number: int) -> Gpu:
    """Return what is known of a GPU, after computing something on it as training does."""
    import torch

    properties = torch.cuda.get_device_properties(number)
    problem, free = "", 0
    try:
        images = torch.ones(1, 3, 16, 16, device=f"cuda:{number}")
        torch.nn.functional.conv2d(images, torch.ones(4, 3, 3, 3, device=images.device)).sum().item()
        free = torch.cuda.mem_get_info(number)[0]
    except RuntimeError as error:  # torch raises it for kernels that are missing, and for memory
        problem = first_line(error) or type(error).__name__
    return Gpu(
        name=properties.name,
        total=properties.total_memory,
        free=free,
        capability=f"{properties.major}.{properties.minor}",
        problem=problem,
    )
