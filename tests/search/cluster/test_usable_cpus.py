"""A process may use the CPUs of the machine, unless affinity, a control group or Slurm allows fewer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.cluster.capacity.usable_cpus import cgroup_quotas, usable_cpus


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "quotas"),
    [
        ({}, []),
        ({"cpu.max": "max 100000\n"}, []),
        ({"job/step/cpu.max": "150000 100000\n"}, [1.5]),
        ({"job/step/cpu.max": "max 100000\n", "job/cpu.max": "400000 100000\n"}, [4.0]),
        ({"cpu.max": "50000 100000\n", "other/cpu.max": "10000 100000\n"}, [0.5]),
    ],
)
def test_quota_is_that_of_the_group_and_of_those_above(tmp_path, files, quotas):
    write(tmp_path / "membership", "0::/job/step\n")
    for name, text in files.items():
        write(tmp_path / "groups" / name, text)
    assert [*cgroup_quotas(tmp_path / "groups", tmp_path / "membership")] == quotas


@pytest.mark.parametrize(("quota", "quotas"), [("-1", []), ("200000", [2.0])])
def test_first_version_of_control_groups_has_files_of_its_own(tmp_path, quota, quotas):
    write(tmp_path / "membership", "5:memory:/elsewhere\n4:cpu,cpuacct:/docker/abc\n")
    write(tmp_path / "groups/cpu/docker/abc/cpu.cfs_quota_us", f"{quota}\n")
    write(tmp_path / "groups/cpu/docker/abc/cpu.cfs_period_us", "100000\n")
    assert [*cgroup_quotas(tmp_path / "groups", tmp_path / "membership")] == quotas


def test_slurm_allots_to_a_task_or_else_to_the_node():
    everything = usable_cpus({})
    assert usable_cpus({"SLURM_CPUS_PER_TASK": "1", "SLURM_CPUS_ON_NODE": "4096"}) == 1
    assert usable_cpus({"SLURM_CPUS_ON_NODE": "1"}) == 1
    assert usable_cpus({"SLURM_CPUS_PER_TASK": "4096"}) == everything
    assert usable_cpus({"SLURM_CPUS_PER_TASK": "0"}) == 1
    assert usable_cpus({"SLURM_CPUS_PER_TASK": "half"}) == everything


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_is_a_limit():
    program = "from search.cluster.capacity.usable_cpus import usable_cpus; print(usable_cpus({}))"
    cpu = min(os.sched_getaffinity(0))
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),  # nothing else runs in the child yet
    )
    assert found.stdout == "1\n"
