"""The CPUs of a machine, of a container and of a Slurm job, and the instruction sets of old and new processors."""

import os
from pathlib import Path

import pytest

from search.doctor.checks.finding import Level
from search.doctor.checks.processor import check_cpus, check_instruction_sets

MACHINE = os.cpu_count() or 1
NOWHERE = Path("/nowhere")


def write_quota(tmp_path: Path, quota: str) -> dict[str, Path]:
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups/cpu.max").write_text(f"{quota} 100000\n")
    (tmp_path / "membership").write_text("0::/\n")
    return {"cgroups": tmp_path / "groups", "membership": tmp_path / "membership"}


def test_quota_of_a_control_group_is_the_reason_for_fewer_cpus(tmp_path):
    found = check_cpus({}, **write_quota(tmp_path, "50000"))
    assert found.level is Level.WARN
    assert found.value.startswith(f"1 of {MACHINE}, because ")
    assert "its control group (a container's --cpus, Kubernetes, Slurm or systemd) allows 0.5" in found.value


def test_slurm_is_named_by_its_variable():
    found = check_cpus({"SLURM_CPUS_PER_TASK": "0"}, cgroups=NOWHERE, membership=NOWHERE)
    assert "SLURM_CPUS_PER_TASK allows 0" in found.value


@pytest.mark.skipif(MACHINE == 1, reason="this machine has one CPU")
def test_a_limit_above_the_machine_is_no_reason(tmp_path):
    allowed = f"{MACHINE * 100000}"
    found = check_cpus({"SLURM_CPUS_ON_NODE": "4096"}, **write_quota(tmp_path, allowed))
    assert "SLURM" not in found.value
    assert "control group" not in found.value


@pytest.mark.parametrize(
    ("lines", "level", "value"),
    [
        ("flags\t\t: fpu sse4_2 avx\n", Level.WARN, "none of those that matter (not AVX2, AVX-512, bf16, AMX)"),
        ("flags\t\t: avx avx2\n", Level.OK, "AVX2 (not AVX-512, bf16, AMX)"),
        ("flags\t\t: avx2 avx512f avx512_bf16 amx_tile\n", Level.OK, "AVX2, AVX-512, bf16, AMX"),
        ("Features\t: fp asimd bf16\n", Level.OK, "NEON, bf16 (not SVE)"),
    ],
)
def test_instruction_sets_are_those_of_the_first_processor(tmp_path, lines, level, value):
    (tmp_path / "cpuinfo").write_text(f"model name\t: Processor 9\n{lines}\nprocessor\t: 1\nflags\t: avx2\n")
    name, found = check_instruction_sets(tmp_path / "cpuinfo")
    assert name.value == "Processor 9"
    assert (found.level, found.value) == (level, value)


def test_a_system_that_does_not_say_its_instruction_sets_is_no_problem():
    [found] = check_instruction_sets(NOWHERE)
    assert found.level is Level.OK
