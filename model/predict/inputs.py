"""Find and read the volumes in a file or a folder, of the kind of file that the model was trained on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from data.errors import DataError, problems_message
from data.readers.dicom.prediction import is_dicom_tree
from data.readers.reader import FileKind, ImageOptions
from data.readers.table import file_kinds, kind_of_file
from data.readers.tree import Tree, read_tree, suggest
from data.readers.volumes.cases.names import is_known_modality, is_same_modality, parse
from data.readers.walk import walk
from model.predict.channel_files import find_studies, find_volume_cases
from model.predict.slice_files import find_slices, is_slice_file
from model.predict.volume_files import InputOptions, VolumeFiles, is_image, is_mask_name
from model.settings import ModelError, Settings

NO_OPTIONS = InputOptions()


def find_all(
    sources: Sequence[Path], settings: Settings, options: InputOptions = NO_OPTIONS
) -> tuple[VolumeFiles, ...]:
    """Return the volumes of several sources, those of each source sorted by patient.

    Raises:
        DataError: As `find_volumes`, or two sources have a patient of the same name.
        ModelError: As `find_volumes`.
    """
    found = [volume for source in sources for volume in _find(source, settings, options, as_in_training=True)]
    return _checked(found, ", ".join(map(str, sources[:3])), settings)


def find_volumes(
    source: Path, settings: Settings, options: InputOptions = NO_OPTIONS, *, as_in_training: bool = False
) -> tuple[VolumeFiles, ...]:
    """Return the volumes in a file or a folder, sorted by patient.

    A single file is a volume that is named after the file: an image is one slice, or a stack of them; a NIfTI file has
    the only channel of the model. A patient whose names are unclear comes with its problem, unless all are. A folder of
    DICOM is read by its studies, for models whose channels are volumes.

    Args:
        as_in_training: Whether a folder may hold slices of several patients; see `find_slices`.

    Raises:
        DataError: There is no volume, or the names of none say which files belong together. All problems are listed.
        ModelError: The files are of another kind than those that the model was trained on.
    """
    return _checked(_find(source, settings, options, as_in_training=as_in_training), str(source), settings)


def _find(source: Path, settings: Settings, options: InputOptions, *, as_in_training: bool) -> list[VolumeFiles]:
    """Return the volumes in a file or a folder, sorted by patient; those that are unclear with their problem."""
    kind = settings.files
    if source.is_file():
        return [_single(source, settings, options.renames)]
    if not source.is_dir():
        raise DataError(
            f"{source} does not exist; name a patient's folder{suggest(source)}, a folder of such, or an image"
        )
    if kind.holds == "slice":
        found = find_slices(source, kind, patient_pattern=options.patient_pattern, as_in_training=as_in_training)
    else:
        found = _find_in_tree(read_tree(source), settings, options)
    volumes = sorted(found, key=lambda volume: volume.patient)
    if not volumes:
        raise _nothing(source, settings)
    return volumes


def _checked(volumes: Sequence[VolumeFiles], source: str, settings: Settings) -> tuple[VolumeFiles, ...]:
    """Return the volumes, if one of them can be predicted and no two have one name."""
    if all(volume.problem for volume in volumes):
        problems = [line for volume in volumes for line in volume.problem.splitlines()]
        headline = f"{source} has {len(problems)} problem(s); {settings.files.layout}:"
        raise DataError(problems_message(headline, problems))
    _refuse_repeated_patients(volume for volume in volumes if not volume.problem)
    return tuple(volumes)


def _find_in_tree(tree: Tree, settings: Settings, options: InputOptions) -> Iterator[VolumeFiles]:
    """Yield the volumes of a tree whose files are channels, or whole volumes; folders that cannot be listed fail."""
    kind = settings.files
    if kind.holds == "volume":
        yield from _files_of_volumes(tree, kind)
    elif is_dicom_tree(tree):
        yield from find_studies(tree, kind, settings.channel_names, options)
    else:
        yield from find_volume_cases(tree, kind, settings.channel_names, options)
    for problem in tree.problems:
        yield VolumeFiles(patient=str(problem.path), folder=problem.path, files=(), kind=kind, problem=str(problem))


def _nothing(source: Path, settings: Settings) -> DataError | ModelError:
    """Return the error of a folder without volumes of the wanted kind."""
    kind = settings.files
    if other := _other_kind(source, kind):
        return ModelError(_wrong_kind(source, other, settings))
    if any(kind.suffix_of(name) for _, _, listing in walk(source, []) for name in listing):
        return DataError(f"{source} holds only files named as masks or overlays; rename the images, or {kind.layout}")
    return DataError(f"{source} holds no {kind.noun} file ({', '.join(kind.suffixes)}); {kind.layout}")


def is_mask(source: Path) -> bool:
    """Return whether a file is named as a mask or an overlay; a shell's `PATIENT/*.tif` includes such files."""
    kind = kind_of_file(source.name)
    stem = kind.stem_of(source.name) if kind else source.stem
    return is_mask_name(stem) and source.is_file()


def read_volume(
    volume: VolumeFiles, settings: Settings
) -> tuple[Shaped[np.ndarray, "slices height width channels"], tuple[float, float, float] | None]:
    """Return the images of a patient with the model's channels, and their spacing (slices, rows, columns) if known.

    Raises:
        BadFiles: A file is damaged, has too few channels, or differs from the others in size or type.
        ModelError: The images have another number of channels than the model.
    """
    options = ImageOptions(
        channels=volume.indices or settings.channel_indices,
        grayscale=settings.grayscale,
        trust_voxels=volume.trust_voxels,
    )
    images, spacing_mm = volume.kind.read(volume.files, options)
    if images.shape[3] != settings.num_channels:
        raise ModelError(
            f"{volume.files[0]} has {images.shape[3]} channels, but the model takes {settings.num_channels} "
            f"({', '.join(settings.channel_names)}): predict images like those that it was trained on"
        )
    return images, spacing_mm


def _files_of_volumes(tree: Tree, kind: FileKind) -> Iterator[VolumeFiles]:
    for place, name in tree.files(lambda name: is_image(name, kind)):
        folder = tree.root / place
        yield VolumeFiles(patient=kind.stem_of(name), folder=folder, files=(folder / name,), kind=kind)


def _single(source: Path, settings: Settings, renames: Mapping[str, str]) -> VolumeFiles:
    kind = settings.files if is_slice_file(source.name, settings.files) else kind_of_file(source.name)
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
    patient = kind.stem_of(source.name)
    if kind.holds == "channel" and (other := _other_modality(patient, settings.channel_names[0], renames)):
        channel = settings.channel_names[0]
        raise ModelError(
            f"{source} is {other} by its name, but the model takes {channel}; predict such a file, or say that this is "
            f"one by --modality {channel}={other}"
        )
    return VolumeFiles(patient=patient, folder=source.absolute().parent, files=(source,), kind=kind)


def _other_modality(stem: str, channel: str, renames: Mapping[str, str]) -> str:
    """Return the modality that a file's name says, if it is known and another one than the channel; else empty."""
    role, wanted = parse(stem).role, renames.get(channel.lower(), channel)
    return role if is_known_modality(role) and not is_same_modality(role, wanted) else ""


def _other_kind(source: Path, wanted: FileKind) -> FileKind | None:
    """Return the kind of the first image below a folder that is of another kind than the wanted one."""
    listed = (name for _, _, listing in walk(source, []) for name in listing)
    kinds = (kind for name in listed if (kind := kind_of_file(name)) and is_image(name, kind))
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
            other = folders[volume.patient]
            raise DataError(
                f"patient {volume.patient} in {other} is given twice: name its file or folder once"
                if volume.folder == other
                else f"{volume.folder}: a patient of this name is already in {other}; predict them separately"
            )
        folders[volume.patient] = volume.folder
