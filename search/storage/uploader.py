"""Upload a working folder to its bucket while it is being written: what has changed, every few seconds, from a thread.

An object in a bucket appears whole. A file is read whole before it is uploaded, so the bucket never has a state that
the file did not have. If a bucket refuses or does not answer, the search continues: one message says so, and uploads
are tried again until the end.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from data.errors import first_line
from search.record.files import CONFIG_FILE, LOCK_FILE, LOG_FILE, RAY_FOLDER, TABLE_FILE
from search.storage.lease import LEASE_FILE
from search.storage.storage_path import StoragePath

SENT_FILE = ".sent.json"
"""A file of the working folder that holds the size and time of each file when it was uploaded."""

INTERVAL_SECONDS = 5.0

BYTES_PER_SECOND = 1e6
"""The highest rate at which a growing file is uploaded: one of 10 MB is uploaded again after 10 s at the earliest."""

FINAL_SECONDS = 120.0
"""How long a search waits at its end for a bucket that does not accept everything."""

FIRST = (CONFIG_FILE, LOG_FILE, TABLE_FILE)
"""Files that resuming needs, which are uploaded first."""

LAST = ("best/manifest.json", "report.html")
"""Files that are made from other files, or list them, and so are uploaded last."""

LEFT_OUT = (RAY_FOLDER, LOCK_FILE, LEASE_FILE, "best.partial", "best.before", "wandb/cache")
"""What is not uploaded: checkpoints, which lanes write to the bucket; files about this machine; unfinished files."""


class Uploader:
    """Uploads a working folder to its place in a bucket."""

    def __init__(self, folder: Path, location: StoragePath, *, say: Callable[[str], None] = print) -> None:
        """Begin from what an earlier uploader has recorded.

        Args:
            say: Prints a message for the user.
        """
        self._folder = folder
        self._location = location
        self._say = say
        self._uploaded = read_uploaded(folder)
        self._uploaded_at: dict[str, float] = {}
        self._has_said = False
        self._one_at_a_time = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        """Upload changes from now on, in a thread."""

        def run() -> None:
            while not self._ended.wait(interval_seconds):
                self.upload()

        self._thread = threading.Thread(target=run, daemon=True, name="uploader")
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()

    def upload(self, *, everything: bool = False) -> list[str]:
        """Upload changed files, remove deleted ones, and return the names of those that the bucket refused.

        Args:
            everything: Whether to upload even those growing files that were uploaded a moment ago.
        """
        with self._one_at_a_time:
            found = dict(files_of(self._folder))
            changed = sorted((name for name in found if found[name] != self._uploaded.get(name)), key=_order)
            if not everything:
                changed = [name for name in changed if self._is_due(name, found[name][0])]
            gone = [name for name in self._uploaded if name not in found]
            left = [*changed, *gone]
            try:
                for name in changed:
                    if self._upload_file(name, found[name]):
                        left.remove(name)
                for name in gone:
                    (self._location / name).remove()
                    del self._uploaded[name]
                    left.remove(name)
            except OSError as error:
                self._say_once(error)
            if len(left) < len(changed) + len(gone):
                write_uploaded(self._folder, self._uploaded)
            return left

    def close(self, *, retry_seconds: float = FINAL_SECONDS, pause_seconds: float = 2.0) -> list[str]:
        """End the thread, upload everything, retry for a while, and return the names of files that the bucket lacks."""
        self.stop()
        deadline = time.monotonic() + retry_seconds
        left = self.upload(everything=True)
        if left and retry_seconds:
            self._say(f"{self._location} does not accept {len(left)} files: waiting up to {retry_seconds:.0f} seconds")
        while left and time.monotonic() < deadline:
            time.sleep(pause_seconds)
            left = self.upload(everything=True)
        return left

    def _upload_file(self, name: str, state: list[int]) -> bool:
        """Upload a file, and return whether nothing is left to do: the bucket has it, or it no longer exists.

        Raises:
            OSError: The bucket does not accept it.
        """
        try:
            content = (self._folder / name).read_bytes()
        except FileNotFoundError:  # removed in the meantime
            return True
        except OSError:  # it cannot be read here; that is not the bucket's fault
            return False
        (self._location / name).write_bytes(content)
        self._uploaded[name] = state
        self._uploaded_at[name] = time.monotonic()
        return True

    def _is_due(self, name: str, num_bytes: int) -> bool:
        return time.monotonic() >= self._uploaded_at.get(name, -1e9) + num_bytes / BYTES_PER_SECOND

    def _say_once(self, error: OSError) -> None:
        if not self._has_said:
            self._has_said = True
            said = f"{self._location} does not accept what is written ({first_line(error)})"
            self._say(f"{said}; it is kept here, and tried again")


def files_of(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield the name of each file of a working folder that belongs in its bucket, with its size and time in ns."""
    for root, folders, files in os.walk(folder):
        inside = PurePosixPath(Path(root).relative_to(folder).as_posix())
        folders[:] = [name for name in folders if not _is_left_out(str(inside / name))]
        for name in files:
            path = Path(root, name)
            if _is_left_out(str(inside / name)) or path.is_symlink():
                continue
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            yield str(inside / name), [stat.st_size, stat.st_mtime_ns]


def read_uploaded(folder: Path) -> dict[str, list[int]]:
    """Return the size and time of each file of a working folder when it was last copied to or from the bucket."""
    try:
        return dict(json.loads((folder / SENT_FILE).read_text()))
    except (OSError, ValueError):
        return {}


def write_uploaded(folder: Path, uploaded: dict[str, list[int]]) -> None:
    """Record the size and time of each file that the bucket has."""
    partial = folder / f"{SENT_FILE}.{threading.get_ident()}.partial"
    partial.write_text(json.dumps(uploaded))
    partial.replace(folder / SENT_FILE)


def _order(name: str) -> tuple[int, str]:
    if name in FIRST:
        return FIRST.index(name), name
    return (99 if name in LAST else 50), name


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name.endswith(".partial") or any(_is_below(name, part) for part in LEFT_OUT)


def _is_below(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}/")
