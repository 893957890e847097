"""The CPUs that a search may use, and the instruction sets that make training fast."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from search.cluster.capacity.control_groups import CGROUPS, MEMBERSHIP, read
from search.cluster.capacity.usable_cpus import cpu_limits, whole_cpus
from search.doctor.checks.finding import Finding, ok, warn

CPUINFO = Path("/proc/cpuinfo")

X86_SETS = {"AVX2": "avx2", "AVX-512": "avx512f", "bf16": "avx512_bf16", "AMX": "amx_tile"}
ARM_SETS = {"NEON": "asimd", "SVE": "sve", "bf16": "bf16"}

CAUSES = {
    "affinity": "the affinity of this process (taskset, or a container's --cpuset-cpus)",
    "control group": "its control group (a container's --cpus, Kubernetes, Slurm or systemd)",
}
"""What sets each limit of `cpu_limits`; the others are environment variables."""


def check_cpus(environment: Mapping[str, str], *, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> Finding:
    """Return how many CPUs a search may use, and why they are fewer than those of the machine."""
    machine = os.cpu_count() or 1
    limits = cpu_limits(environment, cgroups=cgroups, membership=membership)
    usable = whole_cpus(limits)
    value = f"{usable} of {machine}"
    if fewer := [f"{CAUSES.get(one, one)} allows {limit:g}" for one, limit in limits.items() if limit < machine]:
        value += f", because {' and '.join(fewer)}"
    if usable > 1:
        return ok("CPUs to use", value)
    remedy = "with one CPU, trials share it with Ray and the search itself; allow two or more if you can"
    return warn("CPUs to use", value, remedy)


def check_load() -> Finding:
    """Return how busy the machine is."""
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    value = f"{load:.1f} processes wanted a CPU on average over the last minute"
    if load <= 2 * cpus:
        return ok("load", value)
    share = f"{load / cpus:.1f} for each CPU"
    return warn("load", value, f"that is {share}: a search takes longer beside them, and `top` shows which they are")


def check_instruction_sets(cpuinfo: Path = CPUINFO) -> list[Finding]:
    """Return the name of the processor, and which instruction sets it has that training can use."""
    facts = dict(_facts(read(cpuinfo)))
    name = facts.get("model name") or platform.processor() or platform.machine()
    flags = {*(facts.get("flags") or facts.get("Features") or "").split()}
    if not flags:
        return [ok("processor", name)]
    known = ARM_SETS if "asimd" in flags else X86_SETS
    has = [label for label, flag in known.items() if flag in flags]
    lacks = [label for label, flag in known.items() if flag not in flags]
    value = (", ".join(has) or "none of those that matter") + (f" (not {', '.join(lacks)})" if lacks else "")
    if known is ARM_SETS or "AVX2" in has:
        return [ok("processor", name), ok("instruction sets", value)]
    remedy = (
        "training takes several times as long without AVX2. In a virtual machine, let it see the host's processor "
        "(QEMU: -cpu host); otherwise use a newer machine for more than a first look"
    )
    return [ok("processor", name), warn("instruction sets", value, remedy)]


def _facts(text: str) -> list[tuple[str, str]]:
    """Return the facts of the first processor in /proc/cpuinfo."""
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return [(name.strip(), value.strip()) for name, _, value in lines]
