"""Let only one process at a time write to an experiment, by a lock on the folder and a lease in the bucket."""

import fcntl
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from data.errors import UserError
from search.console import say
from search.record.files import LOCK_FILE
from search.storage.bucket import explained_bucket_errors
from search.storage.download import SESSION_FILE, sync_down
from search.storage.lease import RENEW_SECONDS, SETTLE_SECONDS, take_lease
from search.storage.lock import is_being_written, is_locked
from search.storage.storage_path import StoragePath
from search.storage.uploader import FINAL_SECONDS, Uploader
from search.storage.working_folder import bucket_uri, format_out, storage_path_of

LOCK_ATTEMPTS, LOCK_WAIT = 3, 0.05
"""How often to try the lock, and the seconds in between."""


@contextmanager
def exclusive_writer(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to an experiment during the block, or until this process ends in any way.

    For an experiment in a bucket, the folder is synced down first, and everything that is written is uploaded.

    Raises:
        UserError: Another process writes to it, or the bucket cannot be used.
    """
    with (folder / LOCK_FILE).open("w") as file:
        try:
            _lock(file)
        except BlockingIOError as error:
            raise UserError(
                f"another search or promotion is writing to {folder}: wait for its end, or stop it"
            ) from error
        if bucket_uri(folder.parent) is None:
            yield
            return
        with _uploaded(folder, storage_path_of(folder)):
            yield


@contextmanager
def publish_file(folder: Path, name: str) -> Iterator[None]:
    """Let the block write one file of an experiment, even while another process writes there, and upload the file.

    If no process writes to the experiment, everything else that the bucket lacks is uploaded too.

    Raises:
        UserError: The bucket cannot be used.
    """
    if bucket_uri(folder.parent) is None or is_locked(folder):  # the process on this machine uploads it
        yield
    elif is_being_written(folder):
        yield
        (storage_path_of(folder) / name).write_bytes((folder / name).read_bytes())
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_writer(folder):
            yield


def check_bucket_writable(folder: Path) -> str | None:
    """Check that an experiment's bucket can be written, and return the experiment's path if the bucket has it.

    The result is None if the bucket does not have the experiment, or if the folder belongs to no bucket.

    Raises:
        UserError: The bucket cannot be used. The message says what to do.
    """
    uri = bucket_uri(folder.parent)
    if uri is None:
        return None
    location = storage_path_of(folder)
    with explained_bucket_errors(uri):
        probe = storage_path_of(folder.parent) / f".{folder.name}.probe"
        probe.write_bytes(b"may this be written?")
        probe.remove()
        return str(location) if location.list_folder() else None


@contextmanager
def _uploaded(folder: Path, location: StoragePath) -> Iterator[None]:
    with explained_bucket_errors(bucket_uri(folder.parent)):
        lease = take_lease(location, folder.name, settle_seconds=SETTLE_SECONDS)
        try:
            sync_down(folder, lease=lease)
        except BaseException:
            lease.release()
            raise
    (folder / SESSION_FILE).write_text(lease.holder.session)
    uploader = Uploader(folder, location, say=say)

    def on_lost(who: str) -> None:
        uploader.stop()
        is_lost.append(who)
        say(f"{folder.name} was taken over: {who}. The search stops; what it has written since is in {folder}")
        os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does

    is_lost: list[str] = []
    lease.keep(on_lost, renew_seconds=RENEW_SECONDS)
    uploader.start()
    try:
        yield
    finally:
        if is_lost:
            uploader.stop()
        else:
            left = uploader.close(retry_seconds=FINAL_SECONDS)
            with suppress(OSError):
                lease.release()
            if left:
                _report_left(folder, left)


def _report_left(folder: Path, left: list[str]) -> None:
    command = shlex.join(["python", "-m", "search.report", folder.name, "--out", format_out(folder.parent)])
    more = f" and {len(left) - 5} more" if len(left) > 5 else ""
    print(
        f"note: the bucket lacks these files of {folder}: {', '.join(left[:5])}{more}. {command} uploads them",
        file=sys.stderr,
    )


def _lock(file: IO[str]) -> None:
    """Lock a file. Try several times, because `is_locked` (lock.py) holds the lock for a moment.

    Raises:
        BlockingIOError: Another process holds it.
    """
    for _ in range(LOCK_ATTEMPTS - 1):
        with suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(LOCK_WAIT)
    return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
