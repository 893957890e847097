"""A working folder is sent to its bucket while it is written: what has changed, every few seconds, from a thread.

An object of a bucket appears whole. What is sent was read whole before, so of a file that grows the bucket has what it
was a moment ago. A bucket that is silent or refuses stops nobody: that is said once, and tried again until the end.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from search.record.files import CONFIG_FILE, LOCK_FILE, LOG_FILE, RAY_FOLDER, TABLE_FILE
from search.storage.lease import LEASE_FILE
from search.storage.storage_path import StoragePath

SENT_FILE = ".sent.json"
"""In the working folder: what the bucket has of it."""

INTERVAL_SECONDS = 5.0

BYTES_PER_SECOND = 1e6
"""A file that grows all the time is sent anew no more often than this many bytes a second of it allow."""

PATIENCE_SECONDS = 120.0
"""How long the end of a search waits for a bucket that does not take everything."""

FIRST = (CONFIG_FILE, LOG_FILE, TABLE_FILE)
"""What a search is resumed from, before all else."""

LAST = ("best/manifest.json", "report.html")
"""What vouches for other files, after them."""

LEFT_OUT = (RAY_FOLDER, LOCK_FILE, LEASE_FILE, "best.partial", "best.before", "wandb/cache")
"""Checkpoints, which are in the bucket already; what is of this machine alone; what is on its way."""


class Uploader:
    """A working folder and its place in a bucket."""

    def __init__(
        self,
        folder: Path,
        location: StoragePath,
        *,
        parts: tuple[str, ...] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        """Begin with what an earlier mirror has sent.

        Args:
            parts: What of the folder is sent; None: all but `LEFT_OUT`.
        """
        self._folder = folder
        self._location = location
        self._parts = parts
        self._say = say
        self._sent = read_uploaded(folder)
        self._sent_at: dict[str, float] = {}
        self._has_said = False
        self._one_at_a_time = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        """Send what changes, from now on, from a thread."""

        def send() -> None:
            while not self._ended.wait(interval_seconds):
                self.send()

        self._thread = threading.Thread(target=send, daemon=True, name="mirror")
        self._thread.start()

    def stop(self) -> None:
        """Send nothing any more."""
        self._ended.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()

    def send(self, *, all_of_it: bool = False) -> list[str]:
        """Send what has changed, and remove what is gone; return what the bucket still lacks.

        Args:
            all_of_it: Of files that grow, too, what was sent a moment ago.
        """
        with self._one_at_a_time:
            found = {name: state for name, state in files_of(self._folder) if self._is_ours(name)}
            changed = sorted((name for name in found if found[name] != self._sent.get(name)), key=_order)
            if not all_of_it:
                changed = [name for name in changed if self._is_due(name, found[name][0])]
            gone = [name for name in self._sent if name not in found and self._is_ours(name)]
            left = [*changed, *gone]
            try:
                for name in changed:
                    if self._send_file(name, found[name]):
                        left.remove(name)
                for name in gone:
                    (self._location / name).remove()
                    del self._sent[name]
                    left.remove(name)
            except OSError as error:
                self._say_once(error)
            if len(left) < len(changed) + len(gone):
                write_uploaded(self._folder, self._sent)
            return left

    def close(self, *, patience_seconds: float = PATIENCE_SECONDS, pause_seconds: float = 2.0) -> list[str]:
        """Send all that there is, and wait for a bucket that does not take it, a while; return what it lacks."""
        self.stop()
        deadline = time.monotonic() + patience_seconds
        left = self.send(all_of_it=True)
        if left and patience_seconds:
            self._say(f"{self._location} does not take {len(left)} files: waiting up to {patience_seconds:.0f} seconds")
        while left and time.monotonic() < deadline:
            time.sleep(pause_seconds)
            left = self.send(all_of_it=True)
        return left

    def _send_file(self, name: str, state: list[int]) -> bool:
        """Send a file; return whether nothing is left of it to be sent.

        Raises:
            OSError: The bucket does not take it.
        """
        try:
            content = (self._folder / name).read_bytes()  # whole, before any of it is sent
        except FileNotFoundError:  # removed meanwhile
            return True
        except OSError:  # it cannot be read, which is no affair of the bucket's
            return False
        (self._location / name).write_bytes(content)
        self._sent[name] = state
        self._sent_at[name] = time.monotonic()
        return True

    def _is_due(self, name: str, num_bytes: int) -> bool:
        return time.monotonic() >= self._sent_at.get(name, -1e9) + num_bytes / BYTES_PER_SECOND

    def _is_ours(self, name: str) -> bool:
        return self._parts is None or any(_is_below(name, part) for part in self._parts)

    def _say_once(self, error: OSError) -> None:
        if not self._has_said:
            self._has_said = True
            line = str(error).split("\n")[0][:300]
            self._say(f"{self._location} does not take what is written ({line}); it is kept, and tried again")


def files_of(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Yield every file of a working folder that is to be in its bucket, with its size and time."""
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
    """Return the size and time that files of a working folder had when the bucket got them, or gave them."""
    try:
        return dict(json.loads((folder / SENT_FILE).read_text()))
    except (OSError, ValueError):
        return {}


def write_uploaded(folder: Path, sent: dict[str, list[int]]) -> None:
    """Remember what the bucket has."""
    partial = folder / f"{SENT_FILE}.{threading.get_ident()}.partial"
    partial.write_text(json.dumps(sent))
    partial.replace(folder / SENT_FILE)


def _order(name: str) -> tuple[int, str]:
    if name in FIRST:
        return FIRST.index(name), name
    return (99 if name in LAST else 50), name


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name.endswith(".partial") or any(_is_below(name, part) for part in LEFT_OUT)


def _is_below(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}/")
