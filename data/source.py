"""Find the patients of a data source: a folder in a layout that a reader knows, or patients that a reader generates."""

from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from data.errors import BadFiles, DataError, Problem, UserError
from data.patient import Patient
from data.readers.reader import LayoutOptions, Reader
from data.readers.table import AUTO, READERS, UNRECOGNISED, data_formats


def _help() -> str:
    layouts = (f"`{name}` ({READERS[name].description})" for name in data_formats() if name != AUTO)
    return f"Layout of the data: {', '.join(layouts)}, or `auto` to recognise it."


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(LayoutOptions):
    """How to read the files of a data source."""

    data_format: Annotated[str, tyro.conf.arg(metavar=f"{{{','.join(data_formats())}}}", help=_help())] = AUTO
    """Layout of the data: the name of a reader, or `auto` to recognise it."""

    skip_bad_files: bool = False
    """Leave out the files that cannot be used, and record them. Otherwise list all of them and stop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data_format not in data_formats():
            raise UserError(f"data_format is {self.data_format!r}, but must be one of {', '.join(data_formats())}")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data source that was found."""

    format: str
    """A name in READERS."""

    patients: tuple[Patient, ...]
    warnings: tuple[str, ...]
    skipped: tuple[Problem, ...]
    """Files that are left out, as `skip_bad_files` allows."""

    channel_names: tuple[str, ...]
    """Names of the channels, from the files or the options; empty if neither names them."""

    def name_channels(self, num_channels: int) -> tuple[str, ...]:
        """Return a name for each channel; numbers from 0 if there are not as many names as channels."""
        return self.channel_names if len(self.channel_names) == num_channels else tuple(map(str, range(num_channels)))


def find_source(source: str, *, reading: ReadingOptions | None = None, phantom_root: Path) -> Source:
    """Return the patients of a data source.

    "phantom" and "phantom:40" are 24 and 40 synthetic patients, which are written below phantom_root at their first
    use. Anything else is the path of a folder; write "./phantom" for a folder of that name.

    Raises:
        DataError: The number of phantoms is illegal, or the folder is not a data set.
        BadFiles: Files belong to no patient, or lack their image or mask.
    """
    reading = reading or ReadingOptions()
    name, path = _locate(source, reading, phantom_root)
    reader = READERS[name]
    _check_options(name, reader, reading)
    found = reader.scan(path, reading)
    if found.problems and not (found.patients and reading.skip_bad_files):
        headline = (
            f"data source {source}, read as {name}, has {len(found.problems)} problem(s); repair them, choose another "
            "--data-format, or give --skip-bad-files:"
        )
        raise BadFiles(headline, found.problems, num_listed=len(found.problems))
    return Source(
        format=name,
        patients=found.patients,
        warnings=found.warnings,
        skipped=found.problems,
        channel_names=("grey",) if reading.grayscale else found.channel_names,
    )


def _locate(source: str, reading: ReadingOptions, phantom_root: Path) -> tuple[str, Path]:
    """Return the name of the reader and the folder that it reads."""
    if not source.strip():
        raise DataError('the data source is empty, but must be a folder, "phantom" or "phantom:N".')
    name, colon, text = source.partition(":")
    if (reader := READERS.get(name)) and reader.generate:
        return name, reader.generate(text if colon else None, phantom_root)
    path = _path(source)
    return (_recognise(path) if reading.data_format == AUTO else reading.data_format), path


def _path(source: str) -> Path:
    try:
        path = Path(source).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):  # the reader says what it expects there
            path.stat()
    except (OSError, RuntimeError, ValueError) as error:  # a loop, a name too long, an unknown user, a zero byte
        raise DataError(f"data source {source!r} cannot be opened ({error}); name a folder.") from error
    return path


def _recognise(path: Path) -> str:
    names = (name for name, reader in READERS.items() if reader.recognise and reader.recognise(path))
    return next(names, UNRECOGNISED)


def _check_options(name: str, reader: Reader, reading: ReadingOptions) -> None:
    for option in (field.name for field in fields(LayoutOptions)):
        if getattr(reading, option) and option not in reader.options:
            takers = " and ".join(other for other, reader in READERS.items() if option in reader.options)
            raise DataError(f"--{option.replace('_', '-')} is for {takers}, but the data is {name}.")
    if reading.channels and reading.grayscale:
        raise DataError("--channels and --grayscale exclude each other: leave one out.")
