"""Which files were opened, by whatever process and library: Linux's inotify says it."""

import ctypes
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_OPEN = 0x20  # IN_OPEN
_HEADER = struct.Struct("iIII")


@contextmanager
def opened_files(paths: Sequence[Path]) -> Iterator[Callable[[], set[Path]]]:
    """Yield a function that returns which of the files have been opened since the `with` block began."""
    libc = ctypes.CDLL(None, use_errno=True)
    events = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert events >= 0, os.strerror(ctypes.get_errno())
    watches = {libc.inotify_add_watch(events, os.fsencode(path), _OPEN): path for path in paths}
    assert len(watches) == len(set(paths)), "a file is missing"

    def opened() -> set[Path]:
        found = set()
        while True:
            try:
                content = os.read(events, 1 << 16)
            except BlockingIOError:
                return found
            at = 0
            while at < len(content):
                watch, _, _, length = _HEADER.unpack_from(content, at)
                found.add(watches[watch])
                at += _HEADER.size + length

    try:
        yield opened
    finally:
        os.close(events)
