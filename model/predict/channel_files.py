"""Find cases whose channels are volumes or DICOM series, as in training, but without their segmentations."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from data.errors import Problem
from data.printable import some
from data.readers.dicom.prediction import find_studies_to_predict
from data.readers.reader import FileKind
from data.readers.tree import Tree
from data.readers.volumes.cases import names as words
from data.readers.volumes.cases.case import Case, Channel
from data.readers.volumes.cases.channels import find_channels, name_channels
from data.readers.volumes.cases.grouping import find_cases
from model.predict.volume_files import InputOptions, VolumeFiles


def find_volume_cases(
    tree: Tree, kind: FileKind, channel_names: Sequence[str], options: InputOptions
) -> Iterator[VolumeFiles]:
    """Yield the cases of a tree of volumes; those whose channels are unclear with the problem."""
    found = find_cases(tree, kind.known_stem)
    twice = dict(found.twice)
    for case in name_channels(tree, found.cases):
        name = case.id or tree.root.name
        problem, channels = "", find_channels(case, [name.lower() for name in channel_names], options.renames)
        if repeated := [path for path in case.images.values() if path in twice]:
            second = tree.root / twice[repeated[0]]
            problem = f"{second}: is the same modality as {repeated[0].name}; remove one of the two"
        elif set(case.images) == {""} and not case.names:
            channels, problem = _without_names(tree, case, channel_names)
        elif len(channels) < len(channel_names):
            problem = _lack(tree, case, [name for name in channel_names if name.lower() not in channels])
        volume = _volume(tree, name, case.home, tuple(channels.values()), kind, problem)
        yield replace(volume, trust_voxels=options.trust_voxels)
    for path in found.leftovers:
        if not words.parse(kind.known_stem(path.name) or "").is_segmentation:
            problem = f"{tree.root / path}: belongs to no case; call it <CASE>_<MODALITY>, or move it away"
            yield _volume(tree, str(path), path.parent, (), kind, problem)


def find_studies(
    tree: Tree, kind: FileKind, channel_names: Sequence[str], options: InputOptions
) -> Iterator[VolumeFiles]:
    """Yield the studies of a tree of DICOM; those that lack a channel, and files that are damaged, with the problem.

    Raises:
        DataError: pydicom or highdicom is not installed.
    """
    problems: list[Problem] = []
    studies = find_studies_to_predict(tree, channel_names, problems, options.renames, trust_voxels=options.trust_voxels)
    for study in studies:
        yield VolumeFiles(
            patient=study.id,
            folder=study.home,
            files=study.files,
            kind=study.kind,
            trust_voxels=options.trust_voxels,
        )
    for problem in problems:
        yield VolumeFiles(patient=str(problem.path), folder=problem.path, files=(), kind=kind, problem=str(problem))


def _without_names(tree: Tree, case: Case, channel_names: Sequence[str]) -> tuple[dict[str, Channel], str]:
    """Return the channels of a case of one file whose channels have no names, or the problem.

    Channels of a model that are numbered are those of the file. Those of other models could be in any order there.
    """
    if len(channel_names) == 1 or all(name.isdigit() for name in channel_names):
        return {"": Channel(case.images[""])}, ""
    return {}, (
        f"{tree.root / case.images['']}: does not say which of {', '.join(channel_names)} it holds; call it "
        f"<CASE>_{channel_names[0]} if it is one of them, or put a dataset.json with the channel_names beside it"
    )


def _lack(tree: Tree, case: Case, missing: Sequence[str]) -> str:
    return (
        f"{tree.root / case.home}: case {case.id or tree.root.name} has no {' and no '.join(missing)}, but "
        f"{some(sorted(case.channels), most=8)}; add the files, or say what they are called, such as "
        f"--modality {missing[0]}=NAME"
    )


def _volume(
    tree: Tree, name: str, home: PurePosixPath, channels: Sequence[Channel], kind: FileKind, problem: str
) -> VolumeFiles:
    indices = tuple(channel.index for channel in channels if channel.index is not None)
    return VolumeFiles(
        patient=name,
        folder=tree.root / home,
        files=tuple(dict.fromkeys(tree.root / channel.path for channel in channels)),
        indices=indices,
        kind=kind,
        problem=problem,
    )
