"""Download the LGG set: `python -m data.download lgg --to FOLDER`.

kagglehub downloads, and continues an interrupted download. Without a network, an archive.zip that a browser saved in
FOLDER is unpacked instead. All work happens in FOLDER/.partial; FOLDER/kaggle_3m appears by one rename, complete.
"""

import fcntl
import os
import re
import shlex
import shutil
import stat
import sys
import textwrap
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import Progress

from data.arguments import parse_arguments
from data.command import run_command
from data.errors import UserError

HANDLE = "mateuszbuda/lgg-mri-segmentation"
ROOT = "kaggle_3m"
ARCHIVE = "archive.zip"
LICENCE = "Licence: CC BY-NC-SA 4.0. Cite Buda et al. 2019, doi:10.1016/j.compbiomed.2019.05.002."
BY_HAND = """By hand:
  1. Open https://www.kaggle.com/datasets/{handle}, sign in, and click Download (archive.zip, about 750 MB).
  2. Put the file at {archive}.
  3. Run the same command again: it unpacks the file and needs no network."""

# The archive holds two copies of 7,860 files, 1 GB each.
MAX_ENTRIES = 100_000
MAX_BYTES = 8_000_000_000

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError)
_DAMAGE = (*_BROKEN, FileExistsError, NotADirectoryError)  # the last two: entries with conflicting names


class DownloadError(UserError):
    """The data set could not be downloaded, or is not complete."""


class BusyError(UserError):
    """Another process downloads to the same folder."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Number of patients and files in a folder, counted by names alone."""

    num_patients: int
    num_slices: int
    """Number of images that have a mask."""

    num_unpaired: int = 0
    """Number of images without a mask and masks without an image."""

    def __str__(self) -> str:
        unpaired = f" (and {self.num_unpaired} files without their mask or image)" if self.num_unpaired else ""
        return f"{self.num_patients} patients and {self.num_slices} slices with masks{unpaired}"


LGG = Counts(num_patients=110, num_slices=3929)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Download a data set and check that it is complete. Run it again to continue after an interruption."""

    name: Annotated[Literal["lgg"], tyro.conf.Positional]
    """The LGG MRI Segmentation set of Buda et al. 2019, from Kaggle: 110 patients. CC BY-NC-SA 4.0."""

    to: Path
    """Folder for kaggle_3m; needs 3 GB while the command runs. If it holds archive.zip, that is unpacked instead."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run_command(_main, argv, interrupted="run the same command again to continue")


def _main(argv: list[str]) -> int:
    to = parse_arguments(Arguments, argv, prog="python -m data.download").to.expanduser()
    was_there = (to / ROOT).exists()
    try:
        folder = download(to, LGG)
    except DownloadError as error:
        raise DownloadError(f"{error}\n{BY_HAND.format(handle=HANDLE, archive=to / ARCHIVE)}") from error
    except OSError as error:
        raise UserError(f"{error}; --to must be a folder to read and write, with 3 GB free") from error
    print(f"{folder} is {'already ' if was_there else ''}complete: {LGG}.")
    if not was_there and (to / ARCHIVE).exists():
        print(f"{to / ARCHIVE} is no longer needed.")
    print(LICENCE)
    print(f"Next: python -m search.tune workstation --data {shlex.quote(str(folder))}")
    return 0


def download(to: Path, expected: Counts) -> Path:
    """Return to/kaggle_3m, complete: found there, unpacked from to/archive.zip, or downloaded.

    Raises:
        DownloadError: Kaggle cannot be reached, kagglehub is not installed, the archive is unsafe or damaged, or the
            counts are not the expected ones.
        BusyError: Another process downloads to the same folder.
        OSError: The folder cannot be read or written.
    """
    final, partial, archive = to / ROOT, to / ".partial", to / ARCHIVE
    if final.exists():
        _check(final, expected, "move it away, and run the same command again")
        return final
    partial.mkdir(parents=True, exist_ok=True)
    with _only_writer(partial):
        if not final.exists():
            found = _unpack(archive, partial, expected) if archive.exists() else _fetch(partial, expected)
            if found.is_relative_to(partial):
                os.rename(found, final)
            else:
                final.symlink_to(found)  # notebooks of Kaggle and Colab mount the set, read-only
        shutil.rmtree(partial, ignore_errors=True)
    return final


def count_files(folder: Path) -> Counts:
    """Return the number of patients and files below a folder, from the names of the files alone."""
    num_patients = num_slices = num_unpaired = 0
    for patient in folder.iterdir():
        stems = {path.stem for path in patient.glob("*.tif")}
        masks = {stem.removesuffix("_mask") for stem in stems if stem.endswith("_mask")}
        images = {stem for stem in stems if not stem.endswith("_mask")}
        num_patients += bool(images & masks)
        num_slices += len(images & masks)
        num_unpaired += len(images ^ masks)
    return Counts(num_patients=num_patients, num_slices=num_slices, num_unpaired=num_unpaired)


def _check(folder: Path, expected: Counts, advice: str) -> None:
    found = count_files(folder)
    if found != expected:
        raise DownloadError(f"{folder} holds {found}, but must hold {expected}; {advice}")


@contextmanager
def _only_writer(partial: Path) -> Iterator[None]:
    with (partial / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(f"another download writes to {partial}; wait until it ends, or stop it") from error
        yield


def _fetch(partial: Path, expected: Counts) -> Path:
    cache = partial / "kagglehub"
    try:
        import kagglehub  # here, because an archive is unpacked without it
        from requests import RequestException
    except ImportError as error:
        raise DownloadError("downloading needs kagglehub: pip install -e '.[download]'") from error
    print(f"Downloading {HANDLE} from Kaggle (about 750 MB). If interrupted, run the command again.", flush=True)
    try:
        # An environment variable, because with output_dir kagglehub refuses to continue an interrupted download.
        with _environment("KAGGLEHUB_CACHE", str(cache)):
            folder = Path(kagglehub.dataset_download(HANDLE))
        found = _first_root(path.relative_to(folder) for path in folder.rglob(ROOT) if path.is_dir())
        if found is None:
            raise DownloadError(f"the download from Kaggle holds no folder {ROOT}")
        _check(folder / found, expected, "Kaggle may have changed the set: run the same command again")
    except Exception as error:  # kagglehub and its dependencies raise many classes of exceptions
        if not isinstance(error, OSError | JSONDecodeError):  # neither the disk nor the network failed
            shutil.rmtree(cache, ignore_errors=True)  # so the content is wrong, and kagglehub would not fetch it again
        if isinstance(error, DownloadError) or (isinstance(error, OSError) and not isinstance(error, RequestException)):
            raise
        # The query of a signed URL grants access, so it must not be shown.
        reason = textwrap.shorten(re.sub(r"\?\S+", "?...", str(error)), 300, placeholder=" ...")
        failure = f"{HANDLE} could not be downloaded ({type(error).__name__}: {reason})"
        raise DownloadError(f"{failure}; run the same command again to continue") from error
    return folder / found


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _unpack(file: Path, partial: Path, expected: Counts) -> Path:
    folder = partial / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)  # left by a run that failed or was killed
    folder.mkdir()
    try:
        with zipfile.ZipFile(file) as archive, Progress(console=Console(stderr=True)) as progress:
            for member, path in progress.track(_members(archive), description="unpacking"):
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink)
        _check(folder, expected, f"delete {file}, which is not the whole set, and download it again")
    except _DAMAGE as error:
        with file.open("rb") as head:
            what = "is cut short or damaged" if head.read(2) == b"PK" else "is not a zip archive"
        raise DownloadError(f"{file} {what} ({error}); delete it and download it again") from error
    return folder


def _members(archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Return the files of the first kaggle_3m (Kaggle's archive holds it twice) with their paths in it."""
    entries = archive.infolist()
    num_bytes = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES or num_bytes > MAX_BYTES:
        legal = f"at most {MAX_ENTRIES} and {MAX_BYTES / 1e9:.0f} GB are legal"
        raise _unsafe(archive, f"declares {len(entries)} entries and {num_bytes / 1e9:.1f} GB, but {legal}")
    for entry in entries:
        parts = entry.filename.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or ":" in parts[0]:
            raise _unsafe(archive, f"has an entry that points elsewhere ({entry.filename!r})")
        if entry.header_offset < 0:
            raise zipfile.BadZipFile(f"{entry.filename!r} begins before the file does")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(archive, f"has an entry that is a link or a device ({entry.filename!r})")
        if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _unsafe(archive, f"has an entry that is encrypted or oddly compressed ({entry.filename!r})")
    files = [(entry, PurePosixPath(entry.filename)) for entry in entries if not entry.is_dir()]
    root = _first_root(parent for _, path in files for parent in path.parents if parent.name == ROOT)
    if root is None:
        raise _unsafe(archive, f"holds no folder {ROOT}")
    return [(entry, path.relative_to(root)) for entry, path in files if root in path.parents]


def _first_root(roots: Iterable[PurePath]) -> PurePath | None:
    return min(roots, key=lambda path: (len(path.parts), path), default=None)


def _unsafe(archive: zipfile.ZipFile, what: str) -> DownloadError:
    return DownloadError(f"{archive.filename} {what}, so it is not Kaggle's archive; delete it and download it again")


if __name__ == "__main__":
    sys.exit(main())
