"""An experiment is brought from its bucket, or from a folder, file by file: whole, and completed if it was cut off."""

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
from search.storage.lease import LEASE_FILE, Lease, read_holder
from search.storage.lock import is_locked
from search.storage.storage_path import StoragePath, is_file
from search.storage.uploader import read_uploaded, write_uploaded
from search.storage.working_folder import bucket_uri, storage_path_of

NUM_THREADS = 8
"""Files that are brought at a time: a small one takes a bucket some 50 ms, most of it waiting."""

HEAVY = ("wandb", "tensorboard", "final")
MODELS = (".onnx", ".data", ".pt2", ".pt", ".safetensors")
"""What commands that only read do without: folders of an experiment, and the model's files in `best/`."""

SESSION_FILE = ".session"
"""In the working folder: the session of its last writer."""

SET_ASIDE = "set-aside"
"""Beside the working folders: files of those that went another way than the bucket."""


def sync_down(folder: Path, *, light: bool = False, lease: Lease | None = None) -> Path:
    """Return the working folder of an experiment after bringing what its bucket has and it has not.

    Where the folder's log goes on from the bucket's, the folder is newer, and keeps what it has. Where the two went
    different ways, the bucket is right, and the folder's files are set aside. A folder that is no bucket's stays.

    Args:
        light: Leave out what is large and only a search, a promotion or W&B needs.
        lease: The experiment's, if it is ours; whoever else writes in the folder now is not disturbed.

    Raises:
        ValueError: The bucket cannot be reached.
        OSError: It stopped answering.
    """
    if bucket_uri(folder.parent) is None or (lease is None and is_locked(folder)):
        return folder
    location = storage_path_of(folder)
    found = files_in(location, left_out=(RAY_FOLDER, LOCK_FILE, *(HEAVY if light else ())))
    if not found:
        return folder
    last = lease.last_session if lease else getattr(read_holder(location / LEASE_FILE), "session", None)
    wins = _bucket_wins(folder, location, last)
    if lease is not None:  # whoever looks at this folder learns of us by its lock
        found.pop(LEASE_FILE, None)
        (folder / LEASE_FILE).unlink(missing_ok=True)
    names = [name for name in found if not (light and name.endswith(MODELS))]
    if not wins:
        sent = read_uploaded(folder)  # what was removed here is not brought back
        names = [name for name in names if name == LEASE_FILE or not ((folder / name).exists() or name in sent)]
    folder.mkdir(parents=True, exist_ok=True)
    copy_files(location, folder, {name: found[name] for name in names})
    _remember(folder, names)
    return folder


def sync_down_folders(folder: Path, parts: Sequence[str]) -> None:
    """Bring what others have put into folders of an experiment, or files of these names, and its folder has not.

    A bucket that is silent keeps them: they are there.
    """
    if bucket_uri(folder.parent) is None:
        return
    try:
        location = storage_path_of(folder)
        found = {name: info for name, info in files_in(location, parts=parts).items() if not (folder / name).exists()}
        copied = copy_files(location, folder, found)
    except OSError as error:
        print(f"note: {', '.join(parts)} of other machines stay in {location}: {error}", file=sys.stderr)
        return
    _remember(folder, copied)


def sync_down_all(out: Path) -> Path:
    """Return the folder of all experiments, with what tells of each of them, brought from their bucket."""
    if bucket_uri(out) is not None:
        names = [info.base_name for info in storage_path_of(out).list_folder() if not is_file(info)]
        with ThreadPoolExecutor(NUM_THREADS) as threads:
            list(threads.map(lambda name: sync_down(out / name, light=True), names))
    return out


def ensure_local(file: Path) -> Path:
    """Return a file of an experiment, such as a checkpoint, brought first if its folder is a bucket's and has it not.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: The bucket does not answer.
    """
    folder = None if file.exists() else next((one for one in file.parents if bucket_uri(one.parent)), None)
    if folder is not None:
        write_whole(file, (storage_path_of(folder) / file.relative_to(folder).as_posix()).read_bytes())
    return file


def copy_files(source: StoragePath, folder: Path, files: dict[str, FileInfo]) -> list[str]:
    """Return the files that were brought into a folder; those that it has already, in size and time, are passed over.

    A file appears when it is whole. One that is gone from its source meanwhile is left out.
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
    """Whether a log of events begins as an earlier one, whose last line may have been cut off."""
    return log.startswith(earlier[: earlier.rfind(b"\n") + 1])


def write_whole(file: Path, content: bytes, time: datetime | None = None) -> None:
    """Write a file that appears when it is whole, with its folder, and the time that it had elsewhere."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, content)
    if time is not None:
        os.utime(file, (time.timestamp(), time.timestamp()))


def _remember(folder: Path, names: Sequence[str]) -> None:
    """Remember that the bucket has files as they are here."""
    sent = read_uploaded(folder)
    for name in names:
        if name != LEASE_FILE and (folder / name).exists():
            stat = (folder / name).stat()
            sent[name] = [stat.st_size, stat.st_mtime_ns]
    write_uploaded(folder, sent)


def files_in(
    location: StoragePath, *, parts: Sequence[str] = (), left_out: Sequence[str] = (RAY_FOLDER, LOCK_FILE)
) -> dict[str, FileInfo]:
    """Return the files of a folder by name: one request, and another for each folder in it.

    Args:
        parts: The folders and files in it that are wanted; none: all.
        left_out: Those that are not. What begins with a dot is of a machine alone.
    """
    infos = [info for info in location.list_folder() if info.base_name not in left_out and info.base_name[:1] != "."]
    infos = [info for info in infos if not parts or info.base_name in parts]
    for info in [info for info in infos if not is_file(info)]:
        infos += (location / info.base_name).list_folder(recursive=True)
    return {location.relative_name(info): info for info in infos if is_file(info)}


def _bucket_wins(folder: Path, location: StoragePath, last_session: str | None) -> bool:
    """Whether the bucket's files take the place of the working folder's; what only that has is set aside then."""
    if not (folder / CONFIG_FILE).exists():
        return True
    is_same = _began(location) in (None, _began(folder))
    theirs, ours = _log(location), _log(folder)
    if is_same and theirs == ours:
        return last_session != read_session(folder)
    if is_same and continues_log(ours, theirs):
        return False
    if not (is_same and continues_log(theirs, ours)):
        _set_aside(folder)
    return True


def _log(place: StoragePath | Path) -> bytes:
    try:
        return (place / LOG_FILE).read_bytes()
    except FileNotFoundError:
        return b""


def _began(place: StoragePath | Path) -> str | None:
    """Return when an experiment began, which tells it from another of its name; None if it does not say."""
    try:
        return str(json.loads((place / CONFIG_FILE).read_bytes())["started"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def read_session(folder: Path) -> str | None:
    """Return the session of the last who wrote to a bucket from this working folder."""
    try:
        return (folder / SESSION_FILE).read_text()
    except OSError:
        return None


def _set_aside(folder: Path) -> None:
    """Move what a working folder has, but for its lock, to a folder that no experiment has."""
    aside = folder.parent / SET_ASIDE / f"{folder.name}-{datetime.now():%Y%m%d-%H%M%S-%f}"
    aside.mkdir(parents=True)
    for path in folder.iterdir():
        if path.name != LOCK_FILE:
            path.rename(aside / path.name)
    print(f"note: {folder} went another way than its bucket; what it had alone is in {aside}", file=sys.stderr)


def _is_same(file: Path, info: FileInfo) -> bool:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return False
    return stat.st_size == info.size and info.mtime is not None and stat.st_mtime == info.mtime.timestamp()
