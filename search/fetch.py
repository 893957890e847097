"""`python -m search.fetch NAME --out s3://bucket/prefix --to runs`: copy an experiment from a bucket or a folder."""

import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import tyro
from pyarrow.fs import FileInfo

from data.arguments import parse_arguments
from data.command import run_command
from data.errors import UserError
from search.console import say
from search.coordination.checkpoints import CHECKPOINT, leg_of
from search.record.files import CONFIG_FILE, LOCK_FILE, LOG_FILE, RAY_FOLDER
from search.storage.bucket import explained_bucket_errors
from search.storage.download import continues_log, copy_files, list_files
from search.storage.lease import LEASE_FILE
from search.storage.lock import is_locked
from search.storage.storage_path import StoragePath, is_file, local_path
from search.storage.working_folder import Out, bucket_uri, format_out, storage_path_of


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Copy an experiment (its model, report, table and W&B runs) from a bucket or a folder to a folder of this machine.

    Run the same command again to copy new files, or to complete a copy that was interrupted. The copy is an experiment
    like any other: with its checkpoints it can be resumed and promoted.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Name of the experiment."""

    out: Out = Path("runs")
    """Where it is: the folder of all experiments, or a bucket."""

    to: Path
    """The folder to copy it to, which may hold other experiments."""

    checkpoints: bool = False
    """Whether to copy the checkpoints, which `--resume` and `search.promote` need."""


def main(argv: Sequence[str] | None = None) -> int:
    """Copy the experiment and return the exit status (see data/command.py)."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    return run_command(_main, argv, interrupted="the same command copies the rest")


def _main(argv: list[str]) -> int:
    arguments = parse_arguments(Arguments, argv, prog="python -m search.fetch")
    say(fetch(arguments.out, arguments.name, arguments.to, checkpoints=arguments.checkpoints))
    return 0


def fetch(out: Path, name: str, to: Path, *, checkpoints: bool) -> str:
    """Copy an experiment, and return a message that says how much was copied.

    Raises:
        UserError: There is no such experiment, the bucket refuses, or the target has another experiment of that name,
            or the same one with events that the source lacks.
    """
    source, folder = storage_path_of(out / name), to / name
    with explained_bucket_errors(bucket_uri(out)):
        found = list_files(source, left_out=(RAY_FOLDER, LOCK_FILE, LEASE_FILE))
        if CONFIG_FILE not in found:
            where = format_out(out)
            listing = shlex.join(["python", "-m", "search.list", "--out", where])
            raise UserError(f"there is no experiment {name!r} in {where}: {listing} shows those there")
        _check_target(source, folder)
        if checkpoints:
            found |= _checkpoints(source)
            _make_legs(source, folder)
        copied = copy_files(source, folder, found)
    num_bytes = sum(found[file].size or 0 for file in copied)
    num_old = len(found) - len(copied)
    return f"{folder}: {len(copied)} files copied ({num_bytes / 1e6:.1f} MB), {num_old} were there already"


def _check_target(source: StoragePath, folder: Path) -> None:
    """Make sure that copying loses nothing that is in the target.

    Raises:
        UserError: The target is the source, is being written, or is not an earlier state of the source.
    """
    if bucket_uri(folder.parent) or local_path(folder) == source:
        raise UserError(f"{folder} is where the experiment is: give another --to")
    if is_locked(folder):
        raise UserError(f"a search is writing to {folder}: wait for its end, or give another --to")
    if not (folder / LOG_FILE).exists():
        return
    theirs = (source / LOG_FILE).read_bytes()
    if not continues_log(theirs, (folder / LOG_FILE).read_bytes()):
        raise UserError(f"{folder} is another experiment, or was resumed after it was fetched: give another --to")


def _checkpoints(source: StoragePath) -> dict[str, FileInfo]:
    """Return the files of all checkpoints, without Ray's other files."""
    found = {f"{RAY_FOLDER}/{name}": info for name, info in list_files(source / RAY_FOLDER).items()}
    return {name: info for name, info in found.items() if PurePosixPath(name).parent.name.startswith(CHECKPOINT)}


def _make_legs(source: StoragePath, folder: Path) -> None:
    """Make a folder for each leg, even if it has no checkpoint left: a trial's legs are counted by their folders."""
    for info in (source / RAY_FOLDER).list_folder():
        if not is_file(info) and leg_of(info.base_name):
            (folder / RAY_FOLDER / info.base_name).mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
