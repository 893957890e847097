"""The folder that is downloaded to, and how the command ends."""

import fcntl
import re
import signal
import subprocess
import sys
import zipfile

import pytest

from data.download import main
from tests.support.kaggle import ROOTS, assert_complete, assert_failed, run, write_archive


def test_killed_unpacking_leaves_nothing_that_looks_complete(to):
    write_archive(to / "archive.zip")
    script = f"""
import os, shutil, signal
copy, left = shutil.copyfileobj, [4]
def copy_some(source, sink):
    copy(source, sink)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
shutil.copyfileobj = copy_some
from data.download import main
main(["lgg", "--to", {str(to)!r}])
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == -signal.SIGKILL
    assert len(list((to / ".partial").rglob("*.tif"))) == 4
    assert not (to / "kaggle_3m").exists()
    assert run(to) == 0
    assert_complete(to)


def test_incomplete_folder_is_refused_and_not_changed(to, capsys):
    (to / "kaggle_3m" / "A").mkdir(parents=True)
    (to / "kaggle_3m" / "A" / "A_1.tif").touch()
    assert run(to) == 2
    message = r"holds 0 patients and 0 slices .*\(and 1 files.*must hold 2 patients and 5 slices.*; move it away"
    assert re.search(message, capsys.readouterr().err)
    assert (to / "kaggle_3m" / "A" / "A_1.tif").exists()


def test_second_download_to_one_folder_is_refused(to, capsys):
    (to / ".partial").mkdir(parents=True)
    with (to / ".partial" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert_failed(to, capsys, "another download writes to")


def test_download_uses_the_set_that_another_process_has_just_completed(to, tmp_path, monkeypatch):
    def lock_after_the_other_ended(*_):
        with zipfile.ZipFile(write_archive(tmp_path / "other.zip", roots=ROOTS[:1])) as archive:
            archive.extractall(to)

    monkeypatch.setattr(fcntl, "flock", lock_after_the_other_ended)
    assert run(to) == 0
    assert_complete(to)


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/self"])
def test_folder_that_cannot_be_written_ends_with_one_sentence(tmp_path, capsys, name):
    (tmp_path / "file").touch()
    assert_failed(tmp_path / name, capsys, r"^error: \[Errno \d+\] .*--to must be a folder to read and write, .*\n$")


@pytest.mark.parametrize("options", [[], ["lgg"], ["brats", "--to", "x"], ["lgg", "--to", "x", "--quick"]])
def test_mistake_in_the_arguments_ends_with_status_2(options, capsys):
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2
    assert capsys.readouterr().err


def test_command_expects_110_patients_and_ends_with_its_status(to):
    write_archive(to / "archive.zip")
    command = [sys.executable, "-m", "data.download", "lgg", "--to", str(to)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "holds 2 patients and 5 slices with masks, but must hold 110 patients and 3929" in ended.stderr
