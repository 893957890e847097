"""An experiment's folder has one writer at a time, and a killed writer does not keep it."""

import fcntl
import os
import re
import subprocess
import sys

import pytest

from data.errors import UserError
from search.record.files import LOCK_FILE
from search.storage.writer import exclusive_writer

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_exclusive_writer_refuses_until_the_other_process_was_killed(tmp_path):
    message = f"another search or promotion is writing to {tmp_path}: wait for its end, or stop it"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / LOCK_FILE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=f"^{re.escape(message)}$"), exclusive_writer(tmp_path):
            pytest.fail("two writers")
        holder.kill()
        holder.wait()
    with exclusive_writer(tmp_path):
        pass


def test_exclusive_writer_releases_the_folder_however_it_ends(tmp_path):
    with pytest.raises(RuntimeError, match="inside"), exclusive_writer(tmp_path):
        raise RuntimeError("inside")
    with exclusive_writer(tmp_path):
        other = os.open(tmp_path / LOCK_FILE, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(UserError, match="another search or promotion is writing"), exclusive_writer(tmp_path):
        pytest.fail("two writers")
    os.close(other)


def test_exclusive_writer_holds_only_its_own_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with exclusive_writer(tmp_path / "a"), exclusive_writer(tmp_path / "b"):
        assert {path.name for path in tmp_path.glob(f"*/{LOCK_FILE}")} == {LOCK_FILE}
