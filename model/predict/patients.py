"""The patients that a command names, by its arguments or by lines of standard input."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from data.errors import DataError
from data.readers.image_files.picture import is_stack
from model.predict.inputs import find_all, find_volumes, is_mask
from model.predict.outputs import Outputs
from model.predict.pipeline import Failed
from model.predict.volume_files import InputOptions, VolumeFiles
from model.settings import ModelError, Settings


def patients_of_sources(
    sources: Sequence[Path],
    settings: Settings,
    outputs: Outputs,
    options: InputOptions,
    *,
    note: Callable[[str], None],
) -> tuple[VolumeFiles, ...]:
    """Return the patients in files and folders; files that are named as masks or overlays are skipped.

    Args:
        note: Called with each remark about the files that a person should read.

    Raises:
        DataError: There is no patient, or it is unclear which files belong to which patient, or the outputs cannot be
            written.
        ModelError: The files are of another kind than those that the model was trained on.
    """
    images = [source for source in sources if not is_mask(source)]
    if num_masks := len(sources) - len(images):
        note(f"{num_masks} file(s) are named as masks or overlays, and are skipped")
    if not images:
        raise DataError("no INPUT is an image: all are named as masks or overlays")
    volumes = find_all(images, settings, options)
    outputs.check(volume for volume in volumes if not volume.problem)
    single = [volume.files[0].name for volume in volumes if _is_one_slice(volume)]
    if single:
        note(
            f"{len(single)} volume(s) have only one slice ({single[0]}), which is normalised by itself; "
            "give a patient's folder to normalise over all slices, as in training"
        )
    return volumes


def patients_of_lines(
    lines: Iterable[str], settings: Settings, outputs: Outputs, options: InputOptions
) -> Iterator[VolumeFiles | Failed]:
    """Return an iterator over the patients that the lines name, which reads each line when it is needed.

    A patient that an earlier line named is not repeated.

    Raises:
        DataError: The outputs cannot be written; raised before the first line is read.
    """
    outputs.check(())
    find = partial(find_volumes, settings=settings, options=options, as_in_training=True)
    return _patients_of_lines(lines, outputs, find)


def _patients_of_lines(
    lines: Iterable[str], outputs: Outputs, find: Callable[[Path], tuple[VolumeFiles, ...]]
) -> Iterator[VolumeFiles | Failed]:
    known: dict[str, VolumeFiles] = {}
    for source in (Path(line.rstrip("\r\n")) for line in lines if line.strip()):
        if is_mask(source):
            continue
        try:
            volumes = find(source)
            outputs.check(volume for volume in volumes if not volume.problem)
        except (DataError, ModelError) as error:
            yield Failed(name=str(source), error=error)
            continue
        for volume in volumes:
            if volume.problem:
                yield volume
                continue
            if (before := known.setdefault(volume.patient, volume)) is volume:
                yield volume
            elif _resolved(before) != _resolved(volume):
                reason = f"{source}: a patient of this name is already in {before.folder}; predict them separately"
                yield Failed(name=str(source), error=DataError(reason))


def _is_one_slice(volume: VolumeFiles) -> bool:
    return volume.kind.holds == "slice" and len(volume.files) == 1 and not is_stack(volume.files[0])


def _resolved(volume: VolumeFiles) -> list[Path]:
    return [path.resolve() for path in volume.files]
