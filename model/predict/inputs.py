"""What a prediction is asked for: the volumes that a file or a folder stands for, of the kind that the model knows."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from data.errors import DataError, problems_message
from data.readers.reader import FileKind
from data.readers.table import file_kinds, kind_of_file
from data.readers.walk import walk
from model.predict.images import NOT_IMAGES, Volume, find_slices, is_image
from model.settings import ModelError, Settings


def find_all(
    sources: Iterable[Path], settings: Settings, *, patient_pattern: re.Pattern | None = None
) -> tuple[Volume, ...]:
    """Return the volumes of several sources, those of each sorted by patient.

    Raises:
        DataError: As `find_volumes`, or a patient is there twice.
        ModelError: As `find_volumes`.
    """
    volumes = [
        volume for source in sources for volume in find_volumes(source, settings, patient_pattern=patient_pattern)
    ]
    _refuse_twins(volumes)
    return tuple(volumes)


def find_volumes(source: Path, settings: Settings, *, patient_pattern: re.Pattern | None = None) -> tuple[Volume, ...]:
    """Return the volumes at `source`, sorted by patient: image files or, for a model of NIfTI volumes, NIfTI files.

    A single file is a volume called after it: an image is one slice; NIfTI has the one channel of the model.

    Raises:
        DataError: Nothing is there, or it cannot be told which files are whose. Lists all problems.
        ModelError: What is there is of another kind than what the model was trained on.
    """
    kind = settings.files
    if source.is_file():
        return (_single(source, settings),)
    if not source.is_dir():
        raise DataError(f"{source} does not exist; {kind.layout}")
    problems: list[str] = []
    found = (
        _find_cases(source, settings, problems)
        if kind.holds == "channel"
        else find_slices(source, kind, problems, patient_pattern=patient_pattern)
    )
    volumes = sorted(found, key=lambda volume: volume.patient)
    if problems:
        raise DataError(problems_message(f"{source} has {len(problems)} problem(s); {kind.layout}:", problems))
    if not volumes and (other := _other_kind(source, kind)):
        raise ModelError(_wrong_kind(source, other, settings))
    if not volumes:
        raise DataError(f"{source} holds no {kind.noun} file ({', '.join(kind.suffixes)}); {kind.layout}")
    _refuse_twins(volumes)
    return tuple(volumes)


def is_mask(source: Path) -> bool:
    """Return whether a file is a mask or an overlay by its name; a shell's PATIENT/*.tif names these, too."""
    kind = kind_of_file(source.name)
    stem = kind.stem_of(source.name) if kind else source.stem
    return stem.lower().endswith(NOT_IMAGES) and source.is_file()


def read_volume(
    volume: Volume, settings: Settings
) -> tuple[Shaped[np.ndarray, "slices height width channels"], tuple[float, float, float] | None]:
    """Return the slices of a patient with the model's channels, and the spacing in mm (slices, rows, columns) if known.

    Raises:
        BadFiles: A file is damaged, has too few channels, or differs from the others in size or type.
        ModelError: The slices have other channels than the model.
    """
    images, spacing_mm = volume.kind.read(volume.files, settings.channel_indices, settings.grayscale)
    if images.shape[3] != settings.num_channels:
        raise ModelError(
            f"{volume.files[0]} has {images.shape[3]} channels, but the model takes {settings.num_channels} "
            f"({', '.join(settings.channel_names)}): predict images like those of its training"
        )
    return images, spacing_mm


def _single(source: Path, settings: Settings) -> Volume:
    kind = kind_of_file(source.name)
    if kind is None:
        legal = ", ".join(suffix for kind in file_kinds() for suffix in kind.suffixes)
        raise DataError(f"{source} is no image: its suffix must be one of {legal}")
    if kind != settings.files:
        raise ModelError(_wrong_kind(source, kind, settings))
    if kind.holds == "channel" and settings.num_channels > 1:
        raise ModelError(
            f"{source} is one volume, but the model takes {settings.num_channels} "
            f"({', '.join(settings.channel_names)}): name the folder of the case"
        )
    return Volume(patient=kind.stem_of(source.name), folder=source.absolute().parent, files=(source,), kind=kind)


def _find_cases(source: Path, settings: Settings, problems: list[str]) -> Iterator[Volume]:
    kind = settings.files
    for folder, _, names in walk(source.absolute(), problems_of_walk := []):
        case = folder.resolve().name
        name_of = re.compile(rf"{re.escape(case)}[_-](.+)", re.IGNORECASE)
        by_modality: dict[str, list[str]] = {}
        for name in names:
            if kind.suffix_of(name) and (match := name_of.fullmatch(kind.stem_of(name))):
                by_modality.setdefault(match[1].lower(), []).append(name)
            elif is_image(name, kind):
                problems.append(
                    f"{folder / name}: the name is not {case}_<MODALITY>.nii.gz; rename it, or move it away"
                )
        if by_modality.keys() <= {ending[1:] for ending in NOT_IMAGES}:
            continue
        chosen = [by_modality.get(name.lower(), []) for name in settings.channel_names]
        if all(len(files) == 1 for files in chosen):
            files = tuple(folder / name for (name,) in chosen)
            yield Volume(patient=case, folder=folder, files=files, kind=kind)
        for modality, files in zip(settings.channel_names, chosen, strict=True):
            if not files:
                has = ", ".join(sorted(by_modality))
                problems.append(f"{folder}: has no {modality} ({case}_{modality}.nii.gz), but {has}; add it")
            elif len(files) > 1:
                problems.append(f"{folder / files[1]}: is the same modality as {files[0]}; remove one of the two")
    problems += map(str, problems_of_walk)


def _other_kind(source: Path, wanted: FileKind) -> FileKind | None:
    """Return the kind of the first file that is an image of another kind than the wanted one."""
    names = (name for _, _, names in walk(source, []) for name in names)
    kinds = (kind for name in names if (kind := kind_of_file(name)) and is_image(name, kind))
    return next((kind for kind in kinds if kind != wanted), None)


def _wrong_kind(source: Path, found: FileKind, settings: Settings) -> str:
    channels = ", ".join(settings.channel_names)
    return (
        f"{source} has {found.noun} files, but the model was trained on {settings.files.noun} files ({channels}); "
        "predict such files"
    )


def _refuse_twins(volumes: Iterable[Volume]) -> None:
    folders: dict[str, Path] = {}
    for volume in volumes:
        if volume.patient in folders:
            raise DataError(
                f"{volume.folder}: a patient of this name is already in {folders[volume.patient]}; predict them apart"
            )
        folders[volume.patient] = volume.folder
