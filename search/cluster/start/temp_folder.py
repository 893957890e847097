"""The folder of Ray's sockets on this machine, where that of the environment will not do.

Ray puts its sockets, logs and spilled objects into RAY_TMPDIR, else TMPDIR, else /tmp. The path of a socket has at most
107 bytes, of which Ray takes 68 for itself, so the folders that a cluster makes for jobs are often too long.
"""

import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.errors import UserError

MAX_SOCKET_BYTES = 107
"""Linux allows a socket no longer path."""

LONGEST_SOCKET = "ray/session_2026-11-30_12-00-00_000000_4194304/sockets/plasma_store"
"""The longest path of a socket below the temporary folder."""

MAX_FOLDER_BYTES = MAX_SOCKET_BYTES - len(LONGEST_SOCKET) - 1

VARIABLES = ("RAY_TMPDIR", "TMPDIR")
"""Environment variables that name the temporary folder, in the order in which Ray reads them."""


@contextmanager
def ray_folder() -> Iterator[Path | None]:
    """Yield the folder in which Ray must start on this machine; None if its own choice will do.

    Another folder than Ray's own choice is said in a line, and removed at the end. If only the path of Ray's choice is
    too long, the other folder is a link to it, so that large files are on the disk that was chosen for them.

    Raises:
        UserError: There is no folder that can hold Ray's sockets.
    """
    name, value = _choice()
    wanted = Path(value)
    problem = socket_problem(wanted)
    if problem is None:
        yield None
        return
    problem = f"{name} is {value!r}, where Ray cannot have its sockets ({problem})"
    own = _new_folder(problem)
    try:
        print(f"note: {problem}; for this search they are in {own}", file=sys.stderr)
        yield _link(own / "ray", wanted)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def temporary_folder() -> Path:
    """Return the folder that Ray takes for its files on this machine: it tries no other if that cannot be written."""
    return Path(_choice()[1])


def longest_socket(folder: Path) -> int:
    """Return how many bytes the longest path of a socket of Ray below a temporary folder has."""
    return len(os.fsencode(folder / LONGEST_SOCKET))


def socket_problem(folder: Path) -> str | None:
    """Return why a folder, which is made if need be, cannot hold Ray's sockets; None if it can."""
    if not folder.is_absolute():
        return "it must be an absolute path"
    if longest_socket(folder) > MAX_SOCKET_BYTES:
        return f"its path may have at most {MAX_FOLDER_BYTES} bytes"
    return _write_problem(folder)


def _choice() -> tuple[str, str]:
    """Return the variable that names the folder, or words for it if none does, and the folder as it is named there."""
    name = next((name for name in VARIABLES if name in os.environ), None)
    return (name, os.environ[name]) if name else ("the temporary folder", "/tmp")


def _write_problem(folder: Path) -> str | None:
    """Return why no socket can be made in a folder, which is made if need be; None if one can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = folder / "ray" if (folder / "ray").exists() else folder  # another user may have made it
        path = used / f".{secrets.token_hex(4)}"
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path))
        path.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _new_folder(problem: str) -> Path:
    """Return a new folder that can hold Ray's sockets, and that only this user may read."""
    candidates = ("/tmp", "/var/tmp", os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}", "/dev/shm")
    for candidate in candidates:
        if len(candidate) + len("/ray-12345678") > MAX_FOLDER_BYTES:
            continue
        with suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix="ray-", dir=candidate))
            if _write_problem(folder) is None:
                return folder
            folder.rmdir()
    raise UserError(
        f"{problem}, nor can it in {', '.join(candidates)}; set RAY_TMPDIR to a folder that can be written and whose "
        f"path has at most {MAX_FOLDER_BYTES} bytes"
    )


def _link(link: Path, wanted: Path) -> Path:
    """Return the path, after making it a link to Ray's folder in the wanted one, or a folder if that cannot be used."""
    target = wanted / "ray"
    if wanted.is_absolute():
        link.symlink_to(target)
        with suppress(OSError):
            target.mkdir(parents=True, exist_ok=True)
            if _write_problem(link) is None:
                return link
        link.unlink()
    link.mkdir()
    return link
