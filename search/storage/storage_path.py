"""A path on one of pyarrow's file systems, so that the same code reads and writes a folder and a bucket."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem

from data.atomic import sync
from data.machine.disk_errors import naming

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0
"""How long a trial waits for a bucket that does not accept its checkpoint. pyarrow itself gives up after 6 s."""

T = TypeVar("T")


@dataclass(frozen=True)
class StoragePath:
    """A file or a folder. It can be pickled, and used in other processes."""

    filesystem: FileSystem
    path: str
    """As the file system spells it: absolute on a disk, `bucket/prefix/...` in a bucket."""

    def __truediv__(self, name: str | PurePosixPath) -> "StoragePath":
        return StoragePath(self.filesystem, f"{self.path}/{name}")

    def __str__(self) -> str:
        return self.path

    @property
    def is_bucket(self) -> bool:
        """Whether it is in a bucket, which all machines reach without a mount, and where each access is a request."""
        return not isinstance(self.filesystem, LocalFileSystem)

    def read_bytes(self) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: There is no such file.
            OSError: The bucket does not answer, or refuses.
        """
        with self.filesystem.open_input_file(self.path) as file:
            return file.read()

    def read_json(self) -> Any:
        """Return a JSON file's content; None if the file is missing or cut off.

        Raises:
            OSError: The bucket does not answer, or refuses.
        """
        with suppress(FileNotFoundError, ValueError):
            return json.loads(self.read_bytes())
        return None

    @contextmanager
    def open_to_write(self) -> Iterator[Any]:
        """Yield a file to write. When it is closed, it appears in a bucket, or survives a crash of the machine."""
        with naming(self.path):
            if not self.is_bucket:  # a bucket has no folders
                self.filesystem.create_dir(str(PurePosixPath(self.path).parent))
            with self.filesystem.open_output_stream(self.path) as file:
                yield file
            if not self.is_bucket:
                sync(Path(self.path))

    def write_bytes(self, content: bytes) -> None:
        """Write a file."""
        with self.open_to_write() as file:
            file.write(content)

    def with_retries(
        self,
        action: "Callable[[StoragePath], T]",
        *,
        retry_seconds: float = RETRY_SECONDS,
        pause_seconds: float = 2.0,
    ) -> T:
        """Return the result of an action on this path. In a bucket, an action that fails is retried for a while.

        Raises:
            FileNotFoundError: There is no such file.
            OSError: The last attempt failed.
        """
        deadline = time.monotonic() + (retry_seconds if self.is_bucket else 0)
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
        """Return the files and folders in a folder; [] if it does not exist. A request to a bucket lists a thousand."""
        selector = FileSelector(self.path, recursive=recursive, allow_not_found=True)
        try:
            return self.filesystem.get_file_info(selector)
        except FileNotFoundError:  # the folder was removed in the meantime
            return []

    def relative_name(self, info: FileInfo) -> str:
        """Return the path of a file relative to this folder."""
        return str(PurePosixPath(info.path).relative_to(self.path))

    def make_folder(self) -> None:
        """Make a folder, which in a bucket is an empty object."""
        # In a bucket, recursive=True would write an object for every folder above it, too.
        with naming(self.path):
            self.filesystem.create_dir(self.path, recursive=not self.is_bucket)

    def remove_folder(self) -> None:
        """Remove a folder and its content, if it exists."""
        with suppress(FileNotFoundError):
            self.filesystem.delete_dir(self.path)

    def remove(self) -> None:
        """Remove a file, if it exists."""
        with suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path)


def write_with_retries(file: StoragePath, write: Callable[[StoragePath], None]) -> bool:
    """Return whether a file was written. If a bucket refuses for too long, log a warning and give the file up.

    Raises:
        OSError: A file on a disk cannot be written.
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
    """Return the storage path of a local folder."""
    return StoragePath(LocalFileSystem(), str(folder.resolve()))


def is_file(info: FileInfo) -> bool:
    """Return whether `info` describes a file, not a folder."""
    return info.type == FileType.File
