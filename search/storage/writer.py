"""One process alone writes to an experiment: to its folder by a lock, and to its bucket by a lease and a mirror."""

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
from search.storage.download import SESSION_FILE, sync_down
from search.storage.lease import RENEW_SECONDS, SETTLE_SECONDS, take_lease
from search.storage.lock import is_being_written, is_locked
from search.storage.storage_path import StoragePath
from search.storage.uploader import PATIENCE_SECONDS, Uploader
from search.storage.working_folder import bucket_uri, explain_bucket_error, format_out, storage_path_of

LOCK_ATTEMPTS, LOCK_WAIT = 3, 0.05
"""How often the folder is tried, and the seconds between."""


@contextmanager
def exclusive_writer(folder: Path) -> Iterator[None]:
    """Hold an experiment alone; the lock goes with the process, however that ends.

    Of one in a bucket, the folder is brought up to it first, and what is written is sent there, to the last file.

    Raises:
        ValueError: Another process holds it, or the bucket cannot be used.
    """
    with (folder / LOCK_FILE).open("w") as file:
        try:
            _lock(file)
        except BlockingIOError as error:
            raise UserError(f"another search is writing to {folder}: wait for its end, or stop it") from error
        if bucket_uri(folder.parent) is None:
            yield
            return
        with _mirrored(folder, storage_path_of(folder)):
            yield


@contextmanager
def publish_file(folder: Path, name: str) -> Iterator[None]:
    """Let a command write a file of an experiment, whoever holds that: it reaches the bucket, if there is one.

    Where nobody holds it, all else that was not sent is sent too.

    Raises:
        ValueError: The bucket cannot be used.
    """
    if bucket_uri(folder.parent) is None or is_locked(folder):  # whoever holds it here sends it
        yield
    elif is_being_written(folder):
        yield
        (storage_path_of(folder) / name).write_bytes((folder / name).read_bytes())
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_writer(folder):
            yield


def check_bucket_writable(folder: Path) -> str | None:
    """Return where an experiment is in its bucket, if it is there, after making sure that it can be written.

    Raises:
        ValueError: The bucket cannot be used; the message says what to do.
    """
    uri = bucket_uri(folder.parent)
    if uri is None:
        return None
    location = storage_path_of(folder)
    with _said(uri):
        probe = storage_path_of(folder.parent) / f".{folder.name}.probe"
        probe.write_bytes(b"may this be written?")
        probe.remove()
        return str(location) if location.list_folder() else None


@contextmanager
def _mirrored(folder: Path, location: StoragePath) -> Iterator[None]:
    with _said(format_out(folder.parent)):
        lease = take_lease(location, folder.name, settle_seconds=SETTLE_SECONDS)
        try:
            sync_down(folder, lease=lease)
        except BaseException:
            lease.release()
            raise
    (folder / SESSION_FILE).write_text(lease.holder.session)
    mirror = Uploader(folder, location, say=say)

    def on_lost(who: str) -> None:
        mirror.stop()
        is_lost.append(who)
        say(f"{folder.name} is ours no longer: {who}. The search stops; what it has done since is in {folder}")
        os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does

    is_lost: list[str] = []
    lease.keep(on_lost, renew_seconds=RENEW_SECONDS)
    mirror.start()
    try:
        yield
    finally:
        if is_lost:
            mirror.stop()
        else:
            left = mirror.close(patience_seconds=PATIENCE_SECONDS)
            with suppress(OSError):
                lease.release()
            if left:
                _say_what_is_left(folder, left)


def _say_what_is_left(folder: Path, left: list[str]) -> None:
    command = shlex.join(["python", "-m", "search.report", folder.name, "--out", format_out(folder.parent)])
    more = f" and {len(left) - 5} more" if len(left) > 5 else ""
    print(f"note: not in the bucket, but in {folder}: {', '.join(left[:5])}{more}. {command} sends it", file=sys.stderr)


@contextmanager
def _said(uri: str) -> Iterator[None]:
    """Turn a bucket's refusal into what to do.

    Raises:
        ValueError: It refused.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"--out {uri}: {explain_bucket_error(error, uri)}") from error


def _lock(file: IO[str]) -> None:
    """Lock a file; who only looks whether it is locked (search/status.py) holds it for an instant, and is waited for.

    Raises:
        BlockingIOError: Another process holds it.
    """
    for _ in range(LOCK_ATTEMPTS - 1):
        with suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(LOCK_WAIT)
    return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
