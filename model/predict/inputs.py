"""Find and read the volumes in a file or a folder, of the kind of file that the model was trained on."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from data.errors import DataError, problems_message
from data.readers.reader import FileKind
from data.readers.table import file_kinds, kind_of_file
from data.readers.walk import walk
from model.predict.channel_files import find_cases
from model.predict.slice_files import find_slices
from model.predict.volume_files import NOT_IMAGES, VolumeFiles, is_image
from model.settings import ModelError, Settings


def find_all(
    sources: Iterable[Path], settings: Settings, *, patient_pattern: re.Pattern[str] | None = None
) -> tuple[VolumeFiles, ...]:
    """Return the volumes of several sources, those of each source sorted by patient.

    Raises:
        DataError: As `find_volumes`, or two sources have a patient of the same name.
        ModelError: As `find_volumes`.
    """
    volumes = [
        volume for source in sources for volume in find_volumes(source, settings, patient_pattern=patient_pattern)
    ]
    _refuse_repeated_patients(volumes)
    return tuple(volumes)


def find_volumes(
    source: Path, settings: Settings, *, patient_pattern: re.Pattern[str] | None = None
) -> tuple[VolumeFiles, ...]:
    """Return the volumes in a file or a folder, sorted by patient.

    A single file is a volume that is named after the file: an image is one slice; a NIfTI file has the only channel of
    the model.

    Raises:
        DataError: There is no volume, or the names do not say which files belong together. All problems are listed.
        ModelError: The files are of another kind than those that the model was trained on.
    """
    kind = settings.files
    if source.is_file():
        return (_single(source, settings),)
    if not source.is_dir():
        raise DataError(f"{source} does not exist; {kind.layout}")
    problems: list[str] = []
    if kind.holds == "channel":
        found = find_cases(source, kind, settings.channel_names, problems)
    elif kind.holds == "volume":
        found = _files_of_volumes(source, kind)
    else:
        found = find_slices(source, kind, problems, patient_pattern=patient_pattern)
    volumes = sorted(found, key=lambda volume: volume.patient)
    if problems:
        raise DataError(problems_message(f"{source} has {len(problems)} problem(s); {kind.layout}:", problems))
    if not volumes and (other := _other_kind(source, kind)):
        raise ModelError(_wrong_kind(source, other, settings))
    if not volumes:
        raise DataError(f"{source} holds no {kind.noun} file ({', '.join(kind.suffixes)}); {kind.layout}")
    _refuse_repeated_patients(volumes)
    return tuple(volumes)


def is_mask(source: Path) -> bool:
    """Return whether a file is named as a mask or an overlay; a shell's `PATIENT/*.tif` includes such files."""
    kind = kind_of_file(source.name)
    stem = kind.stem_of(source.name) if kind else source.stem
    return stem.lower().endswith(NOT_IMAGES) and source.is_file()


def read_volume(
    volume: VolumeFiles, settings: Settings
) -> tuple[Shaped[np.ndarray, "slices height width channels"], tuple[float, float, float] | None]:
    """Return the images of a patient with the model's channels, and their spacing (slices, rows, columns) if known.

    Raises:
        BadFiles: A file is damaged, has too few channels, or differs from the others in size or type.
        ModelError: The images have another number of channels than the model.
    """
    images, spacing_mm = volume.kind.read(volume.files, settings.channel_indices, settings.grayscale)
    if images.shape[3] != settings.num_channels:
        raise ModelError(
            f"{volume.files[0]} has {images.shape[3]} channels, but the model takes {settings.num_channels} "
            f"({', '.join(settings.channel_names)}): predict images like those that it was trained on"
        )
    return images, spacing_mm


def _files_of_volumes(source: Path, kind: FileKind) -> Iterator[VolumeFiles]:
    for folder, _, names in walk(source.absolute(), []):
        for name in names:
            if is_image(name, kind):
                yield VolumeFiles(patient=kind.stem_of(name), folder=folder, files=(folder / name,), kind=kind)


def _single(source: Path, settings: Settings) -> VolumeFiles:
    kind = kind_of_file(source.name)
    if kind is None:
        legal = ", ".join(suffix for kind in file_kinds() for suffix in kind.suffixes)
        raise DataError(f"{source} is not an image: its suffix must be one of {legal}")
    if kind != settings.files:
        raise ModelError(_wrong_kind(source, kind, settings))
    if kind.holds == "channel" and settings.num_channels > 1:
        raise ModelError(
            f"{source} is one channel, but the model takes {settings.num_channels} "
            f"({', '.join(settings.channel_names)}): name the folder of the case"
        )
    return VolumeFiles(patient=kind.stem_of(source.name), folder=source.absolute().parent, files=(source,), kind=kind)


def _other_kind(source: Path, wanted: FileKind) -> FileKind | None:
    """Return the kind of the first image below a folder that is of another kind than the wanted one."""
    names = (name for _, _, names in walk(source, []) for name in names)
    kinds = (kind for name in names if (kind := kind_of_file(name)) and is_image(name, kind))
    return next((kind for kind in kinds if kind != wanted), None)


def _wrong_kind(source: Path, found: FileKind, settings: Settings) -> str:
    channels = ", ".join(settings.channel_names)
    return (
        f"{source} has {found.noun} files, but the model was trained on {settings.files.noun} files ({channels}); "
        "predict such files"
    )


def _refuse_repeated_patients(volumes: Iterable[VolumeFiles]) -> None:
    folders: dict[str, Path] = {}
    for volume in volumes:
        if volume.patient in folders:
            raise DataError(
                f"{volume.folder}: a patient of this name is already in {folders[volume.patient]}; predict them "
                "separately"
            )
        folders[volume.patient] = volume.folder
