"""What a prediction is asked for: the volumes that a file or a folder stands for, of the kind that the model knows."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from data.errors import DataError, bad_file, problems_message
from data.patient import kind_of
from data.readers.folder import ReadPair
from data.readers.nifti_file import SUFFIX, read_channels
from data.readers.walk import walk
from model.predict.images import NOT_IMAGES, SUFFIXES, Volume, find_slices, is_image
from model.settings import ModelError, Settings

LAYOUT = "expected a patient's folder with slices called <PATIENT>_<NUMBER>.tif, a folder of such folders, or one image"
NIFTI_LAYOUT = "expected a case's folder with <CASE>_<MODALITY>.nii.gz, or a folder of such folders"


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
    is_nifti = settings.data_format == "nifti"
    layout = NIFTI_LAYOUT if is_nifti else LAYOUT
    if source.is_file():
        return (_single(source, settings),)
    if not source.is_dir():
        raise DataError(f"{source} does not exist; {layout}")
    problems: list[str] = []
    found = (
        _find_cases(source, settings, problems)
        if is_nifti
        else find_slices(source, problems, patient_pattern=patient_pattern)
    )
    volumes = sorted(found, key=lambda volume: volume.patient)
    if problems:
        raise DataError(problems_message(f"{source} has {len(problems)} problem(s); {layout}:", problems))
    if not volumes and _holds_the_other_kind(source, is_nifti):
        raise ModelError(_wrong_kind(source, settings))
    if not volumes:
        kinds = ".nii, .nii.gz" if is_nifti else ", ".join(SUFFIXES)
        raise DataError(f"{source} holds no {'volume' if is_nifti else 'image'} ({kinds}); {layout}")
    _refuse_twins(volumes)
    return tuple(volumes)


def is_mask(source: Path) -> bool:
    """Return whether a file is a mask or an overlay by its name; a shell's PATIENT/*.tif names these, too."""
    name = SUFFIX.sub("", source.name) if SUFFIX.search(source.name) else source.stem
    return name.lower().endswith(NOT_IMAGES) and source.is_file()


def read_volume(
    volume: Volume, settings: Settings
) -> tuple[Shaped[np.ndarray, "slices height width channels"], tuple[float, float, float] | None]:
    """Return the slices of a patient with the model's channels, and the spacing in mm (slices, rows, columns) if known.

    Raises:
        BadFiles: A file is damaged, has too few channels, or differs from the others in size or type.
        ModelError: The slices have other channels than the model.
    """
    if volume.is_nifti:
        return read_channels(volume.files)
    read = ReadPair(channels=settings.channel_indices, grayscale=settings.grayscale)
    images = []
    for path in volume.files:
        image = read.image(path)
        if not images and image.shape[2] != settings.num_channels:
            raise ModelError(
                f"{path} has {image.shape[2]} channels, but the model takes {settings.num_channels} "
                f"({', '.join(settings.channel_names)}): predict images like those of its training"
            )
        images.append(image)
        if (image.shape, image.dtype) != (images[0].shape, images[0].dtype):
            reason = (
                f"is {kind_of(image)}, but {volume.files[0].name} of the same patient is {kind_of(images[0])}: the "
                "slices of a volume must have one size and type; predict them one by one"
            )
            raise bad_file(path, reason)
    return np.stack(images), None


def _single(source: Path, settings: Settings) -> Volume:
    ending = SUFFIX.search(source.name)
    if not ending and source.suffix.lower() not in SUFFIXES:
        legal = ", ".join((*SUFFIXES, ".nii", ".nii.gz"))
        raise DataError(f"{source} is no image: its suffix must be one of {legal}")
    if bool(ending) != (settings.data_format == "nifti"):
        raise ModelError(_wrong_kind(source, settings))
    if ending and settings.num_channels > 1:
        raise ModelError(
            f"{source} is one volume, but the model takes {settings.num_channels} "
            f"({', '.join(settings.channel_names)}): name the folder of the case"
        )
    patient = source.name[: ending.start()] if ending else source.stem
    return Volume(patient=patient, folder=source.absolute().parent, files=(source,), is_nifti=bool(ending))


def _find_cases(source: Path, settings: Settings, problems: list[str]) -> Iterator[Volume]:
    for folder, _, names in walk(source.absolute(), problems_of_walk := []):
        case = folder.resolve().name
        name_of = re.compile(rf"{re.escape(case)}[_-](.+)", re.IGNORECASE)
        by_modality: dict[str, list[str]] = {}
        for name in names:
            if SUFFIX.search(name) and (match := name_of.fullmatch(SUFFIX.sub("", name))):
                by_modality.setdefault(match[1].lower(), []).append(name)
            elif SUFFIX.search(name) and not SUFFIX.sub("", name).lower().endswith(NOT_IMAGES):
                problems.append(
                    f"{folder / name}: the name is not {case}_<MODALITY>.nii.gz; rename it, or move it away"
                )
        if by_modality.keys() <= {ending[1:] for ending in NOT_IMAGES}:
            continue
        chosen = [by_modality.get(name.lower(), []) for name in settings.channel_names]
        if all(len(files) == 1 for files in chosen):
            files = tuple(folder / name for (name,) in chosen)
            yield Volume(patient=case, folder=folder, files=files, is_nifti=True)
        for modality, files in zip(settings.channel_names, chosen, strict=True):
            if not files:
                has = ", ".join(sorted(by_modality))
                problems.append(f"{folder}: has no {modality} ({case}_{modality}.nii.gz), but {has}; add it")
            elif len(files) > 1:
                problems.append(f"{folder / files[1]}: is the same modality as {files[0]}; remove one of the two")
    problems += map(str, problems_of_walk)


def _holds_the_other_kind(source: Path, is_nifti: bool) -> bool:
    names = (name for _, _, names in walk(source, []) for name in names)
    return any(is_image(Path(name)) if is_nifti else SUFFIX.search(name) for name in names)


def _wrong_kind(source: Path, settings: Settings) -> str:
    channels = ", ".join(settings.channel_names)
    if settings.data_format == "nifti":
        return (
            f"{source} has image files, but the model was trained on NIfTI volumes ({channels}); predict such volumes"
        )
    return f"{source} is NIfTI, but the model was trained on image files ({channels}); predict such images"


def _refuse_twins(volumes: Iterable[Volume]) -> None:
    folders: dict[str, Path] = {}
    for volume in volumes:
        if volume.patient in folders:
            raise DataError(
                f"{volume.folder}: a patient of this name is already in {folders[volume.patient]}; predict them apart"
            )
        folders[volume.patient] = volume.folder
