"""A path on a file system of pyarrow's: one code path for a folder of this machine and for a bucket."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0
"""How long a trial waits for a bucket that does not take its checkpoint; pyarrow itself tries three times, in 6 s."""


T = TypeVar("T")


@dataclass(frozen=True)
class StoragePath:
    """A file or a folder. It can be sent to other processes: what it is asked, it asks from there."""

    filesystem: FileSystem
    path: str
    """In the file system's own words: absolute in a folder, `bucket/prefix/...` in a bucket."""

    def __truediv__(self, name: str | PurePosixPath) -> "StoragePath":
        return StoragePath(self.filesystem, f"{self.path}/{name}")

    def __str__(self) -> str:
        return self.path

    @property
    def is_bucket(self) -> bool:
        """Whether it costs requests, and other machines reach it without a mount."""
        return not isinstance(self.filesystem, LocalFileSystem)

    def read_bytes(self) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: There is none.
            OSError: The bucket does not answer, or refuses.
        """
        with self.filesystem.open_input_file(self.path) as file:
            return file.read()

    def read_json(self) -> Any:
        """Return what a file says; None where there is none, or half of one.

        Raises:
            OSError: The bucket does not answer, or refuses.
        """
        with suppress(FileNotFoundError, ValueError):
            return json.loads(self.read_bytes())
        return None

    @contextmanager
    def open_to_write(self) -> Iterator[Any]:
        """Yield a file to write. In a bucket it appears when it is closed, and takes one request if it is small."""
        if not self.is_bucket:  # in a bucket, a folder is what its files' names begin with
            self.filesystem.create_dir(str(PurePosixPath(self.path).parent))
        with self.filesystem.open_output_stream(self.path) as file:
            yield file

    def write_bytes(self, content: bytes) -> None:
        """Write a file."""
        with self.open_to_write() as file:
            file.write(content)

    def with_retries(
        self,
        action: "Callable[[StoragePath], T]",
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        pause_seconds: float = 2.0,
    ) -> T:
        """Return what an action on this location returns: in a bucket, tried again for a while.

        Raises:
            FileNotFoundError: There is no such file.
            OSError: The bucket did not take it, or give it, all that time.
        """
        deadline = time.monotonic() + (patience_seconds if self.is_bucket else 0)
        while True:
            try:
                return action(self)
            except FileNotFoundError:
                raise
            except OSError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(pause_seconds)

    def list_folder(self, *, recursive: bool = False) -> list[FileInfo]:
        """Return what lies in a folder; nothing where there is none. In a bucket, a request for a thousand of them."""
        selector = FileSelector(self.path, recursive=recursive, allow_not_found=True)
        try:
            return self.filesystem.get_file_info(selector)
        except FileNotFoundError:  # a folder that is removed meanwhile
            return []

    def relative_name(self, info: FileInfo) -> str:
        """Return where a file of this folder lies in it."""
        return str(PurePosixPath(info.path).relative_to(self.path))

    def make_folder(self) -> None:
        """Make a folder that stays when it is empty."""
        # Not in a bucket's way, which makes an object of every folder above as well.
        self.filesystem.create_dir(self.path, recursive=not self.is_bucket)

    def remove_folder(self) -> None:
        """Remove a folder with all in it, if it is there."""
        with suppress(FileNotFoundError):
            self.filesystem.delete_dir(self.path)

    def remove(self) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path)


def write_with_retries(file: StoragePath, write: Callable[[StoragePath], None]) -> bool:
    """Return whether a file was written. What stops a folder is raised; a bucket may be out for longer than anybody
    waits, and then whoever writes goes on without.

    Raises:
        OSError: A file of this machine cannot be written.
    """
    try:
        file.with_retries(write)
    except OSError as error:
        if not file.is_bucket:
            raise
        logger.warning("%s was not written: %s", file, error)
        return False
    return True


def local_path(folder: Path) -> StoragePath:
    """Return a folder of this machine."""
    return StoragePath(LocalFileSystem(), str(folder.resolve()))


def is_file(info: FileInfo) -> bool:
    """Whether it is no folder."""
    return info.type == FileType.File
