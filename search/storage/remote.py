"""Work on an experiment of a bucket where its driver is not: what is written there comes back with the result."""

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
    """Make sure that the bucket has what the working folder has, for those who work elsewhere.

    Raises:
        ValueError: It does not take it.
    """
    if left := Uploader(folder, storage_path_of(folder)).send(all_of_it=True):
        raise UserError(f"{folder.name} cannot be promoted on the cluster: its bucket does not take {left[0]}")


def run_remotely(folder: Path, uri: str, function: Callable, *arguments: Any) -> tuple[Any, dict[str, bytes]]:
    """Return what a function returns, and the files of the experiment that it wrote, if this is not the driver's
    machine.

    Args:
        folder: The experiment's working folder, on every machine.
        uri: Of the bucket with all experiments.
    """
    if is_locked(folder):  # by the driver
        return function(*arguments), {}
    folder.mkdir(parents=True, exist_ok=True)
    mark_working_folder(folder.parent, uri)
    sync_down(folder, light=True)
    before = dict(files_of(folder))
    result = function(*arguments)
    written = [name for name, state in files_of(folder) if before.get(name) != state]
    return result, {name: (folder / name).read_bytes() for name in written}


def write_results(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put into the working folder what was written elsewhere; a model takes the place of the one before, whole."""
    if any(name.startswith(f"{BEST_FOLDER}/") for name in files):
        shutil.rmtree(folder / BEST_FOLDER, ignore_errors=True)
    for name, content in files.items():
        write_whole(folder / name, content)
