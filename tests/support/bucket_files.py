"""The files of an experiment, in a bucket and in working folders on several machines."""

import json
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from search.storage.storage_path import StoragePath
from search.storage.working_folder import bucket_uri, parse_out
from search.storage.writer import exclusive_writer

EVENTS = "events.jsonl"


def put(folder: Path, files: dict[str, str]) -> None:
    """Write files into a folder, by name."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def in_bucket(place: StoragePath) -> dict[str, str]:
    """Return the content of every file below a path of a bucket, by name."""
    files = [info for info in place.list_folder(recursive=True) if info.is_file]
    return {place.relative_name(info): (place / place.relative_name(info)).read_bytes().decode() for info in files}


def written(folder: Path, *, started: str = "now", **files: str) -> None:
    """Write an experiment into its working folder and its bucket, as a search that ends does."""
    put(folder, {"config.json": json.dumps({"started": started}), **files})
    with exclusive_writer(folder):
        pass


def uri_of(folder: Path) -> str:
    """Return the URI of the bucket to which a working folder belongs."""
    uri = bucket_uri(folder.parent)
    assert uri is not None
    return uri


def working_folder_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the working folder of the same experiment on another machine, which this process pretends to be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    return parse_out(uri_of(folder)) / folder.name


def exclusive_writer_of(folder: Path) -> AbstractContextManager:
    """Return the context in which this process is the writer of an experiment that this machine does not have yet."""
    folder.mkdir(exist_ok=True)
    return exclusive_writer(folder)
