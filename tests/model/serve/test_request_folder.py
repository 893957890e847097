"""The folder of requests is private, and gone when the service ends."""

import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from model.serve.request_folder import request_folder


def test_folder_is_gone_even_while_requests_go_on_to_write(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for _ in range(10):
        is_over = threading.Event()
        with request_folder() as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            threads = [threading.Thread(target=write_until, args=(is_over, folder)) for _ in range(4)]
            for thread in threads:
                thread.start()
        found = list(tmp_path.iterdir())
        is_over.set()
        for thread in threads:
            thread.join()
        assert found == list(tmp_path.iterdir()) == []


def write_until(is_over: threading.Event, folder: Path) -> None:
    """Write files as requests do until it is over."""
    while not is_over.is_set():
        with suppress(OSError), tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as one:
            for name in "abcdefgh":
                Path(one, name).write_bytes(b"a patient")
