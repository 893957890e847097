"""The memory of a machine, of a container in both versions of control groups, and its shared memory."""

import shutil
from pathlib import Path

import pytest

from search.doctor.checks.finding import Level
from search.doctor.checks.memory import check_memory, check_shared_memory, judge_shared_memory
from search.doctor.facts.memory import Memory, cgroup_limits, find_memory

MEMINFO = (
    "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\nHugePages_Total:       0\n"
)

LIMITED = {
    "0::/job\n": {
        "job/memory.max": "2000000000\n",
        "job/memory.current": "700000000\n",
        "job/memory.stat": "anon 5\ninactive_file 200000000\n",
        "memory.max": "max\n",
    },
    "7:memory:/docker/abc\n": {
        "memory/memory.limit_in_bytes": "2000000000\n",
        "memory/memory.usage_in_bytes": "700000000\n",
        "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 200000000\n",
    },
}
"""Files of a group with 2 GB, of which 0.5 are used, by the membership in it."""


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("membership", LIMITED)
def test_control_group_limits_the_memory_in_both_versions(tmp_path, membership):
    write(tmp_path, {"membership": membership, "meminfo": MEMINFO})
    groups = write(tmp_path / "groups", LIMITED[membership])
    assert [*cgroup_limits(groups, tmp_path / "membership")] == [(2e9, 5e8)]
    found = find_memory(meminfo=tmp_path / "meminfo", cgroups=groups, membership=tmp_path / "membership")
    assert found == Memory(total=2e9, free=1.5e9, machine=16e6 * 1024)


def test_memory_without_a_limit_is_that_of_the_machine(tmp_path):
    write(tmp_path, {"meminfo": MEMINFO})
    found = find_memory(meminfo=tmp_path / "meminfo", cgroups=tmp_path, membership=tmp_path / "none")
    assert found == Memory(total=16e6 * 1024, free=8e6 * 1024, machine=16e6 * 1024)
    assert find_memory(meminfo=tmp_path / "none") is None


@pytest.mark.parametrize(
    ("free", "total", "machine", "level", "words"),
    [
        (20e9, 24e9, 24e9, Level.OK, ""),
        (3e9, 24e9, 24e9, Level.WARN, "end other programs"),
        (1e9, 24e9, 24e9, Level.FAIL, "needs about"),
        (1e9, 2e9, 24e9, Level.FAIL, "docker run --memory"),
        (5e9, 500e9, 500e9, Level.FAIL, "95 %"),
    ],
)
def test_memory_is_judged_by_what_is_free(free, total, machine, level, words):
    found = check_memory(Memory(total=total, free=free, machine=machine))
    assert found.level is level
    assert words in found.remedy
    assert ("a control group allows" in found.value) == (total < machine)


@pytest.mark.parametrize(
    ("shm", "free", "level"),
    [
        (64e6, 20e9, Level.WARN),  # what docker gives
        (6.5e9, 20e9, Level.OK),
        (11e9, 200e9, Level.OK),  # Ray makes its store smaller
        (9e9, 200e9, Level.WARN),
    ],
)
def test_shared_memory_must_have_room_for_rays_object_store(shm, free, level):
    assert judge_shared_memory("", shared=shm, memory=free).level is level


def test_size_in_the_remedy_has_room_for_the_store():
    found = judge_shared_memory("64 MB free", shared=64e6, memory=20e9)
    assert found.value == "64 MB free; Ray's object store would take 6.0 GB"
    assert "size=7g" in found.remedy


def test_shared_memory_is_that_of_the_folder(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    found = check_shared_memory(Memory(total=free, free=0.0, machine=free), tmp_path)
    assert found.level is Level.OK
    assert found.value.endswith(f" in {tmp_path}")


def test_missing_shared_memory_is_yellow(tmp_path):
    found = check_shared_memory(None, tmp_path / "none")
    assert found.level is Level.WARN
    assert "No such file" in found.value
