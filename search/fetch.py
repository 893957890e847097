"""`python -m search.fetch NAME --out s3://bucket/prefix --to runs`: an experiment's results, from wherever they are."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import tyro
from pyarrow.fs import FileInfo

from data.arguments import parse_arguments
from search.console import say
from search.coordination.checkpoints import CHECKPOINT, leg_of
from search.record.files import CONFIG_FILE, LOCK_FILE, LOG_FILE, RAY_FOLDER
from search.storage.download import continues_log, copy_files, files_in
from search.storage.lease import LEASE_FILE
from search.storage.lock import is_locked
from search.storage.storage_path import StoragePath, is_file, local_path
from search.storage.working_folder import Out, bucket_uri, explain_bucket_error, format_out, storage_path_of


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Bring an experiment from a bucket, or a folder, to a folder of this machine: its model, report, table, W&B runs.

    The same command brings what is new since, and completes what was cut off. What was fetched is an experiment like
    any other: with its checkpoints it can be resumed and promoted there.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The experiment."""

    out: Out = Path("runs")
    """Where it is: the folder of all experiments, or a bucket."""

    to: Path
    """Folder to which it is brought, beside others."""

    checkpoints: bool = False
    """Whether checkpoints come along, which --resume, and promoting it again, need."""


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch; return 0, or 2 on a mistake in what was asked."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    arguments = parse_arguments(Arguments, argv, prog="python -m search.fetch")
    try:
        say(fetch(arguments.out, arguments.name, arguments.to, checkpoints=arguments.checkpoints))
    except (ValueError, OSError) as error:
        uri = bucket_uri(arguments.out)
        print(
            f"error: {explain_bucket_error(error, uri) if uri and isinstance(error, OSError) else error}",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command brings the rest", file=sys.stderr)
        return 130
    return 0


def fetch(out: Path, name: str, to: Path, *, checkpoints: bool) -> str:
    """Return what was brought, in a sentence.

    Raises:
        ValueError: There is no such experiment, or the folder has another, or one that has gone on since.
        OSError: A file could not be read or written.
    """
    source, folder = storage_path_of(out / name), to / name
    found = files_in(source, left_out=(RAY_FOLDER, LOCK_FILE, LEASE_FILE))
    if CONFIG_FILE not in found:
        raise ValueError(
            f"there is no experiment {name!r} in {format_out(out)}: python -m search.list shows those there"
        )
    _check_target(source, folder)
    if checkpoints:
        found |= _checkpoints(source)
        _make_legs(source, folder)
    copied = copy_files(source, folder, found)
    num_bytes = sum(found[file].size or 0 for file in copied)
    return f"{folder}: {len(copied)} files brought ({num_bytes / 1e6:.1f} MB), {len(found) - len(copied)} were there"


def _check_target(source: StoragePath, folder: Path) -> None:
    """Make sure that nothing is lost in the folder.

    Raises:
        ValueError: It is the source, is being written, or is not an earlier state of the source.
    """
    if bucket_uri(folder.parent) or local_path(folder) == source:
        raise ValueError(f"{folder} is where the experiment is: give another --to")
    if is_locked(folder):
        raise ValueError(f"a search is writing to {folder}: wait for its end, or give another --to")
    if not (folder / LOG_FILE).exists():
        return
    theirs = (source / LOG_FILE).read_bytes()
    if not continues_log(theirs, (folder / LOG_FILE).read_bytes()):
        raise ValueError(f"{folder} is another experiment, or has gone on since it was fetched: give another --to")


def _checkpoints(source: StoragePath) -> dict[str, FileInfo]:
    """Return the files of all checkpoints; of what else Ray keeps there, nothing."""
    found = {f"{RAY_FOLDER}/{name}": info for name, info in files_in(source / RAY_FOLDER).items()}
    return {name: info for name, info in found.items() if PurePosixPath(name).parent.name.startswith(CHECKPOINT)}


def _make_legs(source: StoragePath, folder: Path) -> None:
    """Make the folders of legs, which count them, also where no checkpoint is left."""
    for info in (source / RAY_FOLDER).list_folder():
        if not is_file(info) and leg_of(info.base_name):
            (folder / RAY_FOLDER / info.base_name).mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
