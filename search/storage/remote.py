"""Run functions on an experiment in a bucket on machines other than the driver's, and return the files they write."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data.errors import UserError
from search.record.files import BEST_FOLDER
from search.storage.download import sync_down, write_whole
from search.storage.lock import is_locked
from search.storage.uploader import Uploader, files_of
from search.storage.working_folder import mark_working_folder, storage_path_of


def upload_working_folder(folder: Path) -> None:
    """Upload everything in the working folder, so that other machines find it in the bucket.

    Raises:
        UserError: The bucket does not accept it.
    """
    if left := Uploader(folder, storage_path_of(folder)).upload(everything=True):
        raise UserError(f"{folder.name} cannot be promoted on the cluster: its bucket does not accept {left[0]}")


def run_remotely(folder: Path, uri: str, function: Callable, *arguments: Any) -> tuple[Any, dict[str, bytes]]:
    """Return a function's result, and the files of the experiment that it wrote: their content by name.

    If the driver runs on this machine, the files are in its folder already, and none are returned.

    Args:
        folder: The experiment's working folder, which has the same path on every machine.
        uri: The bucket of all experiments.
    """
    if is_locked(folder):  # the driver holds the lock
        return function(*arguments), {}
    folder.mkdir(parents=True, exist_ok=True)
    mark_working_folder(folder.parent, uri)
    sync_down(folder, light=True)
    before = dict(files_of(folder))
    result = function(*arguments)
    written = [name for name, state in files_of(folder) if before.get(name) != state]
    return result, {name: (folder / name).read_bytes() for name in written}


def write_results(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files that another machine returned into the working folder. A new model replaces the whole old one."""
    if any(name.startswith(f"{BEST_FOLDER}/") for name in files):
        shutil.rmtree(folder / BEST_FOLDER, ignore_errors=True)
    for name, content in files.items():
        write_whole(folder / name, content)
