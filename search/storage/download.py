"""Copy an experiment from its bucket, or from another folder, file by file. An interrupted copy can be completed."""

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from pyarrow.fs import FileInfo

from data.atomic import write
from search.record.files import CONFIG_FILE, LOCK_FILE, LOG_FILE, RAY_FOLDER
from search.storage.bucket import explained_bucket_errors
from search.storage.lease import LEASE_FILE, Lease, read_holder
from search.storage.lock import is_locked
from search.storage.storage_path import StoragePath, is_file
from search.storage.uploader import read_uploaded, write_uploaded
from search.storage.working_folder import bucket_uri, storage_path_of

NUM_THREADS = 8
"""How many files are copied at a time: a small one takes about 50 ms, most of it waiting for the bucket."""

HEAVY = ("wandb", "tensorboard", "final")
MODELS = (".onnx", ".data", ".pt2", ".pt", ".safetensors")
"""What commands that only read do not need: folders of an experiment, and the model's files in `best/`."""

SESSION_FILE = ".session"
"""A file of the working folder that holds the session of its last writer."""

SET_ASIDE = "set-aside"
"""A folder beside the working folders, for files that have diverged from the bucket."""


def sync_down(folder: Path, *, light: bool = False, lease: Lease | None = None) -> Path:
    """Copy what an experiment's bucket has and its working folder lacks, and return the folder.

    If the folder's log continues the bucket's, the folder is newer and keeps its files. If the two logs diverge, the
    bucket wins, and the folder's files are set aside. A folder that belongs to no bucket is left as it is, and so is
    one to which another process is writing.

    Args:
        light: Leave out large files that only a search, a promotion or W&B needs; a model that the folder has is kept
            up to date.
        lease: The experiment's lease, if this process holds it.

    Raises:
        UserError: The bucket cannot be reached, or stops answering.
    """
    uri = bucket_uri(folder.parent)
    if uri is None or (lease is None and is_locked(folder)):
        return folder
    with explained_bucket_errors(uri):
        return _sync_down(folder, light=light, lease=lease)


def _sync_down(folder: Path, *, light: bool, lease: Lease | None) -> Path:
    location = storage_path_of(folder)
    found = list_files(location, left_out=(RAY_FOLDER, LOCK_FILE, *(HEAVY if light else ())))
    if not found:
        return folder
    last_session = lease.last_session if lease else getattr(read_holder(location / LEASE_FILE), "session", None)
    is_bucket_right = _is_bucket_right(folder, location, last_session)
    if lease is not None:  # other processes on this machine see our lock; a copy of the lease would become stale
        found.pop(LEASE_FILE, None)
        (folder / LEASE_FILE).unlink(missing_ok=True)
    names = [name for name in found if not (light and name.endswith(MODELS) and not (folder / name).exists())]
    if not is_bucket_right:
        uploaded = read_uploaded(folder)  # a file that was uploaded and is gone was removed on purpose
        names = [name for name in names if name == LEASE_FILE or not ((folder / name).exists() or name in uploaded)]
    folder.mkdir(parents=True, exist_ok=True)
    copy_files(location, folder, {name: found[name] for name in names})
    _remember(folder, names)
    return folder


def sync_down_all(out: Path) -> Path:
    """Sync down all experiments in a bucket, without large files, and return the folder of all experiments.

    Raises:
        UserError: The bucket cannot be reached, or stops answering.
    """
    uri = bucket_uri(out)
    if uri is not None:
        with explained_bucket_errors(uri):
            names = [info.base_name for info in storage_path_of(out).list_folder() if not is_file(info)]
        with ThreadPoolExecutor(NUM_THREADS) as threads:
            list(threads.map(lambda name: sync_down(out / name, light=True), names))
    return out


def ensure_local(file: Path) -> Path:
    """Copy a file of an experiment, such as a checkpoint, if only the bucket has it, and return its path.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The bucket does not answer.
    """
    folder = None if file.exists() else next((one for one in file.parents if bucket_uri(one.parent)), None)
    if folder is not None:
        with explained_bucket_errors(bucket_uri(folder.parent)):
            write_whole(file, (storage_path_of(folder) / file.relative_to(folder).as_posix()).read_bytes())
    return file


def copy_files(source: StoragePath, folder: Path, files: dict[str, FileInfo]) -> list[str]:
    """Copy files into a folder, except those that it has with the same size and time; return the names of the copied.

    Each file appears whole. A file that has been removed from the source in the meantime is left out.
    """

    def copy(name: str) -> bool:
        file, info = folder / name, files[name]
        if _is_same(file, info):
            return False
        try:
            write_whole(file, (source / name).read_bytes(), info.mtime)
        except FileNotFoundError:
            return False
        return True

    with ThreadPoolExecutor(NUM_THREADS) as threads:
        copied = list(threads.map(copy, files))
    return [name for name, is_new in zip(files, copied, strict=True) if is_new]


def continues_log(log: bytes, earlier: bytes) -> bool:
    """Return whether a log of events begins with an earlier one, whose last line may be cut off."""
    return log.startswith(earlier[: earlier.rfind(b"\n") + 1])


def write_whole(file: Path, content: bytes, time: datetime | None = None) -> None:
    """Write a file and the folders above it, so that it appears whole; set its modification time if one is given."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, content)
    if time is not None:
        os.utime(file, (time.timestamp(), time.timestamp()))


def _remember(folder: Path, names: Sequence[str]) -> None:
    """Record that the bucket has these files in their present state."""
    uploaded = read_uploaded(folder)
    for name in names:
        if name != LEASE_FILE and (folder / name).exists():
            stat = (folder / name).stat()
            uploaded[name] = [stat.st_size, stat.st_mtime_ns]
    write_uploaded(folder, uploaded)


def list_files(location: StoragePath, *, left_out: Sequence[str] = (RAY_FOLDER, LOCK_FILE)) -> dict[str, FileInfo]:
    """Return the files of an experiment by name, with one request for its folder and one for each folder in it.

    Args:
        left_out: Files and folders to leave out. Names that begin with a dot belong to one machine, and are always left
            out.
    """
    infos = [info for info in location.list_folder() if info.base_name not in left_out and info.base_name[:1] != "."]
    for info in [info for info in infos if not is_file(info)]:
        infos += (location / info.base_name).list_folder(recursive=True)
    return {location.relative_name(info): info for info in infos if is_file(info)}


def _is_bucket_right(folder: Path, location: StoragePath, last_session: str | None) -> bool:
    """Return whether the bucket's files replace those of the working folder, which is set aside if it has diverged."""
    if not (folder / CONFIG_FILE).exists():
        return True
    is_same_experiment = _started(location) in (None, _started(folder))
    theirs, ours = _log(location), _log(folder)
    if is_same_experiment and theirs == ours:
        return last_session != read_session(folder)
    if is_same_experiment and continues_log(ours, theirs):
        return False
    if not (is_same_experiment and continues_log(theirs, ours)):
        _set_aside(folder)
    return True


def _log(place: StoragePath | Path) -> bytes:
    try:
        return (place / LOG_FILE).read_bytes()
    except FileNotFoundError:
        return b""


def _started(place: StoragePath | Path) -> str | None:
    """Return when an experiment began, to tell it from another of the same name; None if that is unknown."""
    try:
        return str(json.loads((place / CONFIG_FILE).read_bytes())["started"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def read_session(folder: Path) -> str | None:
    """Return the session of the last process that wrote to the bucket from this working folder."""
    try:
        return (folder / SESSION_FILE).read_text()
    except OSError:
        return None


def _set_aside(folder: Path) -> None:
    """Move everything in a working folder, except its lock, to a new folder beside the experiments."""
    aside = folder.parent / SET_ASIDE / f"{folder.name}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    aside.mkdir(parents=True)
    for path in folder.iterdir():
        if path.name != LOCK_FILE:
            path.rename(aside / path.name)
    print(f"note: {folder} had diverged from its bucket; its own files are in {aside} now", file=sys.stderr)


def _is_same(file: Path, info: FileInfo) -> bool:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return False
    return stat.st_size == info.size and info.mtime is not None and stat.st_mtime == info.mtime.timestamp()
