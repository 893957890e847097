"""The folders that a search writes to: whether they can be written, how much room they have, and where they are."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from data.errors import UserError
from search.cluster.start.temp_folder import LONGEST_SOCKET, MAX_SOCKET_BYTES
from search.doctor.environment import redact
from search.doctor.finding import Finding, fail, format_bytes, ok, warn
from search.doctor.mounts import BUCKETS, file_system_of, is_network

LEAST, COMFORTABLE = 5e8, 5e9
"""Free bytes without which a search fails, and with which an ordinary one is at ease."""

FULL_SHARE = 0.95
"""Ray refuses to write its temporary files to a disk of which more is used (RAY_local_fs_capacity_threshold)."""

OWN_FOLDER = "for each search, Ray's sockets are then in a new short folder (/tmp/ray-...)"


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What is known of a folder."""

    path: Path
    exists: bool
    problem: str
    """Why it cannot be written, or could not be made; "" if it can."""

    free: float
    total: float
    kind: str
    """Its file system."""

    def describe(self) -> str:
        """Return the folder and its state, in a line."""
        there = "" if self.exists else " (will be made)"
        kind = f", on a network ({self.kind})" if is_network(self.kind) else ""
        return f"{self.path}{there}, {format_bytes(self.free)} free{kind}"


def look_at(path: Path) -> Folder:
    """Return what is known of a folder, after writing a file there, or in the nearest folder above if it is missing."""
    path = path.absolute()
    nearest, problem, free, total = path, "", 0, 0
    try:
        nearest = _nearest(path)
        try_to_write(nearest)
        space = shutil.disk_usage(nearest)
        free, total = space.free, space.total
    except OSError as error:
        problem = f"{nearest} cannot be written: {(error.strerror or str(error)).lower()}"
    if os.path.islink(path) and nearest != path:
        problem = f"{path} is a link that leads nowhere"
    kind = file_system_of(nearest)
    return Folder(path=path, exists=os.path.exists(path), problem=problem, free=free, total=total, kind=kind)


def try_to_write(folder: Path) -> None:
    """Write a byte to a folder, because some disks accept a file but nothing in it.

    Raises:
        OSError: It cannot be written.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"0")
        file.flush()


def check_out(out: str) -> list[Finding]:
    """Return the state of the folder of all experiments."""
    name = "experiments (--out)"
    if "://" in out:
        return [ok(name, f"{redact(out)}, a bucket; not checked")]
    folder = look_at(Path(out))
    if folder.problem:
        return [fail(name, f"{folder.path}: {folder.problem}", "choose a folder that you may write to, by --out")]
    if folder.kind in BUCKETS:
        remedy = "files are locked and appended to there, which a mounted bucket does not do well: use --out s3://..."
        return [warn(name, folder.describe(), remedy)]
    return [*_judge_space(name, folder, "remove old experiments, or choose a folder on another disk by --out")]


def check_cache() -> list[Finding]:
    """Return the state of the folder that keeps decoded slices from one search to the next."""
    from data.packing.cache import default_folder

    remedy = "set XDG_CACHE_HOME to a folder that can be written; without it, every search decodes all files again"
    try:
        folder = look_at(default_folder())
    except (RuntimeError, UserError) as error:  # there is no home, and nothing in its place
        return [fail("cache", str(error), remedy)]
    if folder.problem:
        return [warn("cache", f"{folder.path}: {folder.problem}", remedy)]
    return [*_judge_space("cache", folder, "make room there, or set XDG_CACHE_HOME to a folder on another disk")]


def check_temporary() -> list[Finding]:
    """Return the state of the folder for temporary files, in which Ray keeps its sockets and logs."""
    name, path = "temporary files", temporary_folder()
    folder, ray = look_at(path), look_at(path / "ray")
    if problem := folder.problem or ray.problem:
        return [warn(name, f"{path}: {problem}", f"{OWN_FOLDER}; or set TMPDIR to a folder that you may write to")]
    if is_network(folder.kind):
        return [
            warn(name, folder.describe(), "Ray's sockets and logs are there: set TMPDIR to a folder on a local disk")
        ]
    if length := _too_long(path):
        value = f"{folder.describe()}; Ray's sockets there would have paths of {length} bytes"
        remedy = f"at most {MAX_SOCKET_BYTES} are legal: {OWN_FOLDER}; or set TMPDIR to a shorter one, such as /tmp"
        return [warn(name, value, remedy)]
    if folder.free < (1 - FULL_SHARE) * folder.total:
        remedy = "Ray writes nothing to a disk that is 95 % full: make room, or set TMPDIR to a folder on another disk"
        return [warn(name, folder.describe(), remedy)]
    return [*_judge_space(name, folder, "make room there, or set TMPDIR to a folder on another disk")]


def temporary_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder that Ray takes for temporary files: it does not try another if it cannot be written."""
    return Path(environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp")


def check_home() -> list[Finding]:
    """Return the state of the user's home folder, and of the one where W&B's settings are."""
    home = os.environ.get("HOME")
    if not home:
        remedy = "set HOME to a folder that you may write to (docker run -e HOME=/tmp); programs keep settings there"
        return [warn("home", "HOME is not set", remedy)]
    folder = look_at(Path(home))
    if folder.problem:
        return [warn("home", f"{home}: {folder.problem}", "set HOME to a folder that you may write to")]
    found = [ok("home", folder.describe())]
    wandb = Path(os.environ.get("WANDB_CONFIG_DIR") or Path(home) / ".config" / "wandb")
    if problem := look_at(wandb).problem:
        remedy = "`wandb login` writes there: set WANDB_CONFIG_DIR to a folder that you may write to"
        found.append(warn("settings of W&B", f"{wandb}: {problem}", remedy))
    return found


def _judge_space(name: str, folder: Folder, remedy: str) -> Iterator[Finding]:
    if folder.free < LEAST:
        yield fail(name, folder.describe(), f"{format_bytes(LEAST)} are needed: {remedy}")
    elif folder.free < COMFORTABLE:
        yield warn(name, folder.describe(), f"enough for a small search; for more than that, {remedy}")
    else:
        yield ok(name, folder.describe())


def _nearest(path: Path) -> Path:
    """Return a path if it exists, else the nearest folder above it that does.

    Raises:
        OSError: A folder above it is closed to this user.
    """
    for one in (path, *path.parents):
        with suppress(FileNotFoundError, NotADirectoryError):
            one.stat()
            return one
    return path


def _too_long(path: Path) -> int:
    """Return the length of the longest path of a socket of Ray below a folder; 0 if it is legal."""
    length = len(os.fsencode(path / LONGEST_SOCKET))
    return length if length > MAX_SOCKET_BYTES else 0
