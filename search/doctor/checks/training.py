"""What torch would train on: the GPU or the processor, in which precision, and why not on a GPU that is there."""

from collections.abc import Mapping

from search.doctor.checks.finding import Finding, fail, format_bytes, ok, warn
from search.doctor.checks.packages import INSTALL, REINSTALL
from search.doctor.facts.gpus import Gpu, TorchFacts, ask_torch
from search.doctor.facts.nvidia import Nvidia, find_nvidia
from search.doctor.facts.probe import NoAnswer
from search.doctor.facts.requirements import installed_version

LEAST_FREE = 2e9
"""Free memory of a GPU below which there is hardly room for a trial."""

VISIBLE = "CUDA_VISIBLE_DEVICES"


def check_training(environment: Mapping[str, str]) -> list[Finding]:
    """Return what torch would train on; a torch that cannot be loaded is a finding too."""
    nvidia = find_nvidia()
    driver = [ok("NVIDIA driver", f"{nvidia.driver}; {', '.join(nvidia.names)}")] if nvidia.driver else []
    try:
        facts = ask_torch()
    except NoAnswer as error:
        broken = f"it is broken; install it again: {REINSTALL} torch=={installed_version('torch')}"
        return [fail("torch", str(error), INSTALL if error.missing else broken), *driver]
    build = f"CUDA {facts.cuda}" if facts.cuda else "processors alone"
    return [ok("torch", f"{facts.version}, built for {build}"), *driver, *judge_gpus(facts, nvidia, environment)]


def judge_gpus(facts: TorchFacts, nvidia: Nvidia, environment: Mapping[str, str]) -> list[Finding]:
    """Return a finding for each GPU that torch sees, or why it sees none; and what training uses."""
    found = [_judge_gpu(number, gpu) for number, gpu in enumerate(facts.gpus)]
    if not found:
        found.append(_why_none(facts, nvidia, environment))
    elif (visible := environment.get(VISIBLE)) is not None:
        there = max(nvidia.count, len(found))
        found.append(ok(VISIBLE, f"{visible!r}: torch sees {len(found)} of {there} GPUs"))
    device = "the GPU" if facts.device == "cuda" else "the processor"
    found.append(ok("training uses", f"{device}, in {facts.precision}, with images in memory as {facts.layout}"))
    return found


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
        others = "; Apple GPUs and AMD GPUs are not used" if nvidia.has_other else ""
        return ok("GPUs", f"none that torch could use{others}")
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
