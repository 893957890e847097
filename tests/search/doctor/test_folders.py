"""Folders that can be written and folders that cannot, file systems, and paths that are too long for sockets."""

import subprocess
import sys
from pathlib import Path

import pytest

from search.doctor.checks.finding import Level
from search.doctor.checks.folders import check_cache, check_home, check_out, check_temporary
from search.doctor.facts.folder import look_at
from search.doctor.facts.mounts import file_system_of, is_network

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534


def test_writing_leaves_nothing_and_makes_no_folder(tmp_path):
    found = look_at(tmp_path / "not" / "yet")
    assert (found.exists, found.problem) == (False, "")
    assert found.free > 0
    assert [*tmp_path.iterdir()] == []


def test_folder_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    found = check_out(str(tmp_path / "file" / "runs"))
    assert found.level is Level.FAIL
    assert found.value.endswith("file cannot be written: not a directory")


@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_folder_of_somebody_else_cannot_be_written(tmp_path, mode):
    """As somebody else where this is root, who may write everywhere."""
    closed = tmp_path / "closed"
    (closed / "runs").mkdir(parents=True, mode=0o500)
    closed.chmod(mode)
    program = (
        "import os, sys; from search.doctor.checks.folders import check_out\n"
        f"if os.getuid() == 0: os.seteuid({NOBODY})\n"
        "print(check_out(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(closed / "runs")], capture_output=True, text=True, cwd=ROOT
    )
    closed.chmod(0o700)
    assert "Level.FAIL" in done.stdout, done.stderr
    assert "cannot be written: permission denied" in done.stdout
    assert "by --out" in done.stdout


def test_bucket_is_not_checked_and_shows_no_credentials():
    found = check_out("s3://name:secret@bucket/prefix?access_key=secret")
    assert found.level is Level.OK
    assert "secret" not in found.value


def test_long_temporary_folder_is_too_long_for_sockets(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("long" * 12)))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    found = check_temporary()
    assert found.level is Level.WARN
    assert "at most 107" in found.remedy


def test_folder_for_ray_that_cannot_be_written_is_yellow(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").write_text("")  # not a folder
    found = check_temporary()
    assert found.level is Level.WARN
    assert f"{tmp_path / 'ray'} cannot be written" in found.value


def test_home_that_is_missing_or_closed_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "")
    assert [found.level for found in check_home()] == [Level.WARN]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert [found.level for found in check_home()] == [Level.WARN]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "file"))
    assert [found.name for found in check_home()] == ["home", "settings of W&B"]


def test_cache_is_where_the_program_looks_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = check_cache()
    assert found.value.startswith(f"{tmp_path / 'tumour-search' / 'packs'} (will be made), ")


def test_file_system_is_that_of_the_longest_mount_point(tmp_path):
    (tmp_path / "mounts").write_text(
        "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "30 21 0:44 / /data rw - nfs4 server:/data rw\n"
        "31 30 0:45 / /data/mü\\040scans rw shared:2 master:1 - tmpfs tmpfs rw\n"
    )
    kinds = [
        file_system_of(Path(path), tmp_path / "mounts")
        for path in ("/home", "/data/x", "/database", "/data/mü scans/1")
    ]
    assert kinds == ["ext4", "nfs4", "ext4", "tmpfs"]
    assert [is_network(kind) for kind in kinds] == [False, True, False, False]
    assert file_system_of(tmp_path, tmp_path / "none") == ""
