"""What the tests of storage share."""

from pathlib import Path

import pytest

from search.storage import writer
from search.storage.storage_path import StoragePath, local_path
from search.storage.working_folder import parse_out
from tests.support.s3_server import location


@pytest.fixture
def folder(bucket: str) -> Path:
    """The working folder of an experiment that nobody has written yet."""
    folder = parse_out(bucket) / "mine"
    folder.mkdir()
    return folder


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path) -> StoragePath:
    """An experiment's place, once in a folder and once in a bucket."""
    if request.param == "folder":
        return local_path(tmp_path / "runs")
    return location(request.getfixturevalue("bucket"))


@pytest.fixture(autouse=True)
def _no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a lease without the moment's wait for another process."""
    monkeypatch.setattr(writer, "SETTLE_SECONDS", 0.0)
