"""A whole tiny search where Ray or the environment is not as on a developer's machine."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from search.record.trials import State, read_rows
from tests.circumstances.tiny_search import NAME, own_mounts, tiny_search
from tests.support.process_tree import command_lines

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

NOBODY = 54321
"""The id of a user who has no entry among the system's users."""


def finished(out: Path, done: subprocess.CompletedProcess[str]) -> str:
    """Return what a search said on standard error, after it has trained its trial and exported a model."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row.state for row in read_rows(out / NAME / "trials.jsonl")] == [State.COMPLETE]
    assert (out / NAME / "best" / "model.onnx").exists()
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a search said before it ended as after a user's mistake."""
    assert done.returncode == 2, done.stdout + done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stdout + done.stderr
    return line


def notes(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("note: ")]


def shell(script: str) -> tuple[str, ...]:
    """Return the command that runs another after a shell script."""
    return "bash", "-euc", f'{script}; exec "$@"', "bash"


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path, which everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def nobody(short) -> tuple[Path, tuple[str, ...]]:
    """A folder of a user whom the system does not know, and the command that runs another as this user.

    The user may read everything, because Python may be in the home folder of whoever runs the tests.
    """
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("becoming another user needs root and util-linux")
    folder = short / "out"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    read = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
    return folder, ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", *read)


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_for_temporary_files_with_a_long_path(name, tmp_path):
    long = tmp_path / ("a_folder_of_a_job_" * 6)
    long.mkdir()
    before = {*Path("/tmp").glob("ray-*")}
    [note] = notes(finished(tmp_path, tiny_search(tmp_path, env={name: str(long)})))
    assert note.startswith(f"note: {name} is '{long}', where Ray cannot have its sockets (its path may have at most 39")
    assert {*Path("/tmp").glob("ray-*")} == before
    assert [*(long / "ray").glob("session_*")], "Ray's large files are not where they were to be"


def test_a_folder_for_temporary_files_that_cannot_be_made(nobody):
    out, as_nobody = nobody
    done = tiny_search(out, env={"TMPDIR": "/nowhere", "HOME": str(out)}, wrapper=as_nobody)
    [note] = notes(finished(out, done))
    assert note.startswith("note: TMPDIR is '/nowhere', where Ray cannot have its sockets (Permission denied)")


@pytest.mark.parametrize("home", [None, "/", "/nowhere", "read-only"])
def test_a_user_without_an_entry_and_without_a_home(home, nobody, short):
    out, as_nobody = nobody
    if home == "read-only":
        (short / home).mkdir(mode=0o555)
        home = str(short / home)
    variables = {"HOME": home, "USER": None, "LOGNAME": None, "TMPDIR": str(out)}
    [note] = notes(finished(out, tiny_search(out, env=variables, wrapper=as_nobody)))
    assert note.endswith(f"files that would be there are kept in {out}/tumour-search-{NOBODY}")


def test_w_and_b_offline_with_a_home_that_cannot_be_written(nobody):
    out, as_nobody = nobody
    variables = {"HOME": "/", "USER": None, "LOGNAME": None, "TMPDIR": str(out)}
    finished(out, tiny_search(out, "--tracking", "offline", env=variables, wrapper=as_nobody))
    assert [*(out / NAME).rglob("*.wandb")]


def test_little_shared_memory(tmp_path):
    little = (*own_mounts(), *shell("mount -t tmpfs -o size=64m tmpfs /dev/shm"))
    [note] = notes(finished(tmp_path, tiny_search(tmp_path, wrapper=little)))
    assert "/dev/shm" in note
    assert "--shm-size" in note


def test_shared_memory_that_cannot_be_written(tmp_path):
    none = (*own_mounts(), *shell("mount -t tmpfs -o ro tmpfs /dev/shm"))
    [note] = notes(finished(tmp_path, tiny_search(tmp_path, wrapper=none)))
    assert note.startswith("note: /dev/shm has 0 MB")


def test_warnings_that_are_errors(tmp_path):
    assert notes(finished(tmp_path, tiny_search(tmp_path, env={"PYTHONWARNINGS": "error"}))) == []


@pytest.mark.parametrize("listens", [False, True])
def test_a_proxy_that_is_dead(listens, tmp_path):
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        if listens:
            proxy.listen()
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        names = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
        variables: Mapping[str, str | None] = {case: address for name in names for case in (name, name.upper())}
        none = {"no_proxy": None, "NO_PROXY": None, "no_grpc_proxy": None}
        assert notes(finished(tmp_path, tiny_search(tmp_path, env={**variables, **none}))) == []


@contextmanager
def stopped(program: str, mark: Path, *, seconds: float) -> Iterator[None]:
    """Stop the first process of a program whose command names a folder, as if the machine had no time for it."""
    ended = threading.Event()

    def stop() -> None:
        while not ended.wait(0.02):
            for process, command in command_lines().items():
                if command.split(" ")[0].endswith(f"/{program}") and str(mark) in command:
                    os.kill(process, signal.SIGSTOP)
                    ended.wait(seconds)
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGCONT)
                    return

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("program", ["gcs_server", "raylet"])
def test_a_daemon_of_ray_that_takes_longer_than_ray_waits(program, short, tmp_path):
    with stopped(program, short, seconds=45):
        finished(tmp_path, tiny_search(tmp_path, env={"RAY_TMPDIR": str(short)}))


def test_a_cluster_that_never_answers(tmp_path):
    with socket.socket() as head:
        head.bind(("", 0))
        head.listen()
        address = f"127.0.0.1:{head.getsockname()[1]}"
        start = time.monotonic()
        line = refused(tiny_search(tmp_path, env={"RAY_ADDRESS": address}))
    assert time.monotonic() - start < 120, "it was to be said within a minute, and a busy machine starts slowly"
    assert line.startswith(f"error: RAY_ADDRESS is '{address}', but what accepts connections there has not answered")
