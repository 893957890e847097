"""What torch would train on: the GPU or the processor, in which precision, as torch itself sees it."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from data.errors import first_line
from search.doctor.finding import Finding, fail, format_bytes, ok, warn
from search.doctor.nvidia import Nvidia, find_nvidia
from search.doctor.packages import INSTALL, REINSTALL, installed_version
from search.doctor.probe import NoAnswer, ask

TORCH_SECONDS = 120.0
"""How long torch may take to load and to try the GPUs: seconds, or a minute from a network folder."""

LEAST_FREE = 2e9
"""Free memory of a GPU below which there is hardly room for a trial."""

VISIBLE = "CUDA_VISIBLE_DEVICES"


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
    threads: int


def check_training(environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Return what torch would train on; a torch that cannot be loaded is a finding too."""
    nvidia = find_nvidia()
    try:
        facts = ask_torch()
    except NoAnswer as error:
        remedy = (
            INSTALL
            if error.missing
            else f"it is broken; install it again: {REINSTALL} torch=={installed_version('torch')}"
        )
        return [fail("torch", str(error), remedy), *_driver(nvidia)]
    return [*_torch(facts), *_driver(nvidia), *judge_gpus(facts, nvidia, environment)]


@cache
def ask_torch() -> TorchFacts:
    """Return what torch says.

    Raises:
        NoAnswer: It is not installed, is broken, or hangs.
    """
    found = ask(__name__, "read_torch", seconds=TORCH_SECONDS)
    return TorchFacts(**found | {"gpus": tuple(Gpu(**gpu) for gpu in found["gpus"])})


def read_torch() -> dict[str, object]:
    """Return the facts of `ask_torch`. It loads torch, and is meant for a process of its own."""
    import torch

    from model.device import find_device
    from model.unet import UNetConfig

    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        has_gpu = torch.cuda.is_available()
        gpus = [_try_gpu(number) for number in range(torch.cuda.device_count())] if has_gpu else []
    device = find_device(channels_last_on_cpu=UNetConfig(in_channels=3).channels_last_on_cpu)
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda or "",
        "problem": str(complaints[0].message) if complaints else "",
        "gpus": gpus,
        "device": device.device.type,
        "precision": device.precision,
        "layout": str(device.memory_format).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def _try_gpu(number: int) -> dict[str, object]:
    """Return the facts of a GPU, after computing something on it as training does."""
    import torch

    properties = torch.cuda.get_device_properties(number)
    problem, free = "", 0
    try:
        images = torch.ones(1, 3, 16, 16, device=f"cuda:{number}")
        torch.nn.functional.conv2d(images, torch.ones(4, 3, 3, 3, device=images.device)).sum().item()
        free = torch.cuda.mem_get_info(number)[0]
    except RuntimeError as error:  # torch raises it for kernels that are missing, and for memory
        problem = first_line(error) or type(error).__name__
    capability = f"{properties.major}.{properties.minor}"
    total = properties.total_memory
    return {"name": properties.name, "total": total, "free": free, "capability": capability, "problem": problem}


def judge_gpus(facts: TorchFacts, nvidia: Nvidia, environment: Mapping[str, str]) -> list[Finding]:
    """Return a finding for each GPU that torch sees, or why it sees none; and what training uses."""
    found = [_judge_gpu(number, gpu) for number, gpu in enumerate(facts.gpus)] or [
        _why_none(facts, nvidia, environment)
    ]
    if (visible := environment.get(VISIBLE)) is not None and facts.gpus:
        found.append(
            ok(VISIBLE, f"{visible!r}: torch sees {len(facts.gpus)} of {max(nvidia.count, len(facts.gpus))} GPUs")
        )
    device = "the GPU" if facts.device == "cuda" else "the processor"
    found.append(ok("training uses", f"{device}, in {facts.precision}, with images in memory as {facts.layout}"))
    return found


def _torch(facts: TorchFacts) -> list[Finding]:
    return [ok("torch", f"{facts.version}, built for {f'CUDA {facts.cuda}' if facts.cuda else 'processors alone'}")]


def _driver(nvidia: Nvidia) -> list[Finding]:
    if nvidia.driver:
        return [ok("NVIDIA driver", f"{nvidia.driver}; {', '.join(nvidia.names)}")]
    return []


def _judge_gpu(number: int, gpu: Gpu) -> Finding:
    name = f"GPU {number}"
    value = (
        f"{gpu.name}, {format_bytes(gpu.free)} free of {format_bytes(gpu.total)}, compute capability {gpu.capability}"
    )
    if "no kernel image" in gpu.problem or "not compatible" in gpu.problem:
        remedy = f"this build of torch has no code for it: hide it ({VISIBLE}), or use a build of torch that has"
        return fail(name, f"{value}: {gpu.problem}", remedy)
    if gpu.problem:
        remedy = f"torch cannot compute on it: free it if another program holds it (nvidia-smi), or hide it ({VISIBLE})"
        return fail(name, f"{value}: {gpu.problem}", remedy)
    if gpu.free < LEAST_FREE:
        remedy = f"other programs use most of its memory: nvidia-smi lists them; or choose other GPUs by {VISIBLE}"
        return warn(name, value, remedy)
    return ok(name, value)


def _why_none(facts: TorchFacts, nvidia: Nvidia, environment: Mapping[str, str]) -> Finding:
    """Return why torch sees no GPU; training on the processor works, so that is no failure."""
    if not nvidia.count:
        return ok("GPUs", f"none that torch could use{'; Apple GPUs and AMD GPUs are not used' * nvidia.has_other}")
    there = f"{nvidia.count} in this machine, but torch cannot use {'it' if nvidia.count == 1 else 'them'}"
    visible = environment.get(VISIBLE)
    if visible is not None and (not visible.strip() or visible.strip().startswith("-") or visible == "NoDevFiles"):
        return warn("GPUs", f"{there}: {VISIBLE} is {visible!r}, which hides all", f"unset {VISIBLE} to train on them")
    if not facts.cuda:
        remedy = f"install the build of torch {facts.version.partition('+')[0]} for CUDA, as pytorch.org describes"
        return warn("GPUs", f"{there}: torch {facts.version} is a build for processors alone", remedy)
    if not nvidia.driver:
        return warn("GPUs", f"{there}: {nvidia.problem}", nvidia.remedy)
    if "too old" in facts.problem:
        remedy = f"update the driver to one for CUDA {facts.cuda}, or install torch for an older CUDA (pytorch.org)"
        return warn("GPUs", f"{there}: driver {nvidia.driver} is too old for CUDA {facts.cuda}", remedy)
    why = facts.problem or f"it was built for CUDA {facts.cuda} and does not say why"
    remedy = f"use a driver for CUDA {facts.cuda} or newer, and restart the machine if it was just updated"
    return warn("GPUs", f"{there}: {why}", remedy)
