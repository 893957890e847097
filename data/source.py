"""Where patients come from: a folder, and which reader it needs; or phantoms."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.errors import BadFiles, DataError, Problem
from data.patient import Patient, Scan
from data.phantom import write_phantom
from data.readers import folder, lgg, nifti

FORMATS = ("auto", "lgg", "folder", "nifti")
DEFAULT_NUM_PHANTOMS = 24
MIN_PHANTOMS, MAX_PHANTOMS = 3, 10_000  # below three there is no split; above, hours and 8 GB


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the files of a data source are to be understood."""

    data_format: Literal[FORMATS] = "auto"
    """Layout of the data: `lgg` (Kaggle's LGG set), `folder` (`images/` and `masks/` with PNG, JPEG or TIFF), `nifti`
    (the BraTS layout), or `auto`, which looks."""

    channels: tuple[str, ...] = ()
    """Channels to take, in this order: of the LGG layout by name (`pre`, `flair`, `post`), of a folder by number from
    0. None given: all."""

    grayscale: bool = False
    """Whether the colours of a slice become one channel, weighted as ITU-R BT.601 does."""

    modalities: tuple[str, ...] = ()
    """Modalities of the BraTS layout to take as channels, in this order, such as `t1ce flair`. None given: all that
    every case has."""

    labels: tuple[int, ...] = ()
    """Values of a mask that count as tumour. None given: of NIfTI every label above 0; other masks hold 0 and 255, or 0
    and 1."""

    patient_pattern: str | None = None
    """Regular expression that finds the patient in an image's path below `images/`: its group `patient`, or its first
    group, or all of it. None: the folder that an image lies in."""

    skip_bad_files: bool = False
    """Go on without the files that cannot be used, and record them; otherwise they all are listed, and nothing is done.
    """

    def __post_init__(self) -> None:
        if self.data_format not in FORMATS:
            raise ValueError(f"data_format is {self.data_format!r}, but must be one of {', '.join(FORMATS)}")
        if len(set(self.channels)) < len(self.channels):
            raise ValueError(f"channels are {', '.join(self.channels)}, but each may be taken once")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data source that was found."""

    format: str
    """'phantom', 'lgg', 'folder' or 'nifti'."""

    patients: tuple[Patient, ...]
    warnings: tuple[str, ...]
    skipped: tuple[Problem, ...]
    """Files that are left out because `skip_bad_files` allowed it."""


def find_source(source: str, *, reading: Reading | None = None, phantom_root: Path) -> Source:
    """Returns the patients that source stands for.

    "phantom" and "phantom:40" are synthetic patients (24, or as many as asked), written below phantom_root when
    first used. Anything else is the path of a folder; one that is called phantom is "./phantom".

    Raises:
        DataError: the number of phantoms is illegal, or the folder is not a data set.
        BadFiles: files that belong to no patient, or should.
    """
    reading = reading or Reading()
    if source == "phantom" or source.startswith("phantom:"):
        name, path = "phantom", write_phantom(phantom_root, num_patients=_num_phantoms(source))
    elif source.strip():
        path = _path(source)
        name = _recognise(path) if reading.data_format == "auto" else reading.data_format
    else:
        raise DataError('the data source is empty, but must be a folder, "phantom" or "phantom:N".')
    found = _scan(name, path, reading)
    if found.problems and not (found.patients and reading.skip_bad_files):
        headline = (
            f"data source {source}, read as {name}, has {len(found.problems)} problem(s); repair them, choose another "
            "--data-format, or give --skip-bad-files:"
        )
        raise BadFiles(headline, found.problems, num_listed=len(found.problems))
    return Source(format=name, patients=found.patients, warnings=found.warnings, skipped=found.problems)


def _path(source: str) -> Path:
    try:
        path = Path(source).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (OSError, RuntimeError, ValueError) as error:  # a loop, a name too long, an unknown user, a zero byte
        raise DataError(f"data source {source!r} cannot be opened ({error}); name a folder.") from error
    return path


def channel_indices(name: str, channels: Sequence[str]) -> tuple[int, ...]:
    """Returns which channels of an image file a format's `channels` are, from 0; empty for all.

    Raises:
        DataError: there is no such channel.
    """
    if name != "folder":
        return lgg.channel_indices(channels)
    if unknown := [channel for channel in channels if not (channel.isascii() and channel.isdigit())]:
        raise DataError(f"--channels has {unknown[0]!r}, but the channels of a folder are numbers from 0.")
    return tuple(map(int, channels))


def channel_names(format: str, reading: Reading, patients: Sequence[Patient], num_channels: int) -> tuple[str, ...]:
    """Returns what the channels of the patients' slices are called, in order: as in LGG, by modality, or by number."""
    if reading.grayscale:
        return ("grey",)
    if format == "nifti":
        return patients[0].modalities
    names = reading.channels or (lgg.CHANNELS if format != "folder" else ())
    return names if len(names) == num_channels else tuple(map(str, range(num_channels)))


def _recognise(path: Path) -> str:
    if nifti.looks_like(path):
        return "nifti"
    return "folder" if folder.looks_like(path) else "lgg"


def _scan(name: str, path: Path, reading: Reading) -> Scan:
    _check(name, reading)
    if name == "nifti":
        return nifti.scan(path, modalities=reading.modalities, labels=reading.labels)
    if name == "folder":
        return folder.scan(
            path,
            patient_pattern=reading.patient_pattern,
            labels=reading.labels,
            channels=channel_indices(name, reading.channels),
            grayscale=reading.grayscale,
        )
    return lgg.scan(path, channels=reading.channels, grayscale=reading.grayscale)


OPTIONS = {
    "channels": ("lgg", "phantom", "folder"),
    "grayscale": ("lgg", "phantom", "folder"),
    "modalities": ("nifti",),
    "labels": ("nifti", "folder"),
    "patient_pattern": ("folder",),
}
"""Which formats an option means something for."""


def _check(name: str, reading: Reading) -> None:
    for option, formats in OPTIONS.items():
        if getattr(reading, option) and name not in formats:
            raise DataError(f"--{option.replace('_', '-')} is for {' and '.join(formats)}, but the data is {name}.")
    if reading.channels and reading.grayscale:
        raise DataError("--channels and --grayscale exclude each other: leave one out.")


def _num_phantoms(source: str) -> int:
    _, colon, number = source.partition(":")
    if not colon:
        return DEFAULT_NUM_PHANTOMS
    # isascii: "²" is a digit to isdigit, but not to int.
    if not (number.isascii() and number.isdigit() and MIN_PHANTOMS <= int(number[:9]) <= MAX_PHANTOMS):
        raise DataError(
            f'data source "{source}": the number of phantoms is "{number}", but must be a whole number from '
            f'{MIN_PHANTOMS} to {MAX_PHANTOMS}, for example "phantom:40".'
        )
    return int(number)
