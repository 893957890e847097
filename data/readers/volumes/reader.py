"""Reader of trees of volumes: cases of one file a modality, or of one file for all, with a segmentation each.

`cases/` says which files belong together, and what their names mean. Here it is decided which
modalities become channels and which segmentation is that of the tumour.
"""

import filecmp
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from os import SEEK_END
from pathlib import PurePosixPath

from data.errors import DataError, Problem
from data.patient import Scan
from data.printable import some
from data.readers.reader import LayoutOptions, Reader
from data.readers.tree import Tree
from data.readers.volumes.cases.case import Case
from data.readers.volumes.cases.channels import find_channels, name_channels, parse_renames, shared_modalities
from data.readers.volumes.cases.grouping import Found, find_cases, persons_of
from data.readers.volumes.cases.segmentations import candidates, choose_segmentations
from data.readers.volumes.formats.table import VOLUMES
from data.readers.volumes.patient import VolumePatient
from data.regions import parse_regions

SUFFIXES = ", ".join(VOLUMES.suffixes)
NUM_COMPARED = 256
LAYOUT = "expected volumes called <CASE>_<MODALITY>.nii.gz, and <CASE>_seg.nii.gz (see data/README.md for other names)"


def scan(tree: Tree, options: LayoutOptions) -> Scan[VolumePatient]:
    """Return the cases of a tree, sorted by id. Nothing is decoded.

    Raises:
        DataError: There is no volume, or an option is illegal.
    """
    check_options(options)
    found = find_cases(tree, VOLUMES.known_stem)
    if not found.cases:
        raise DataError(f"data source {tree.root} holds no case: no image is a volume ({SUFFIXES}); {LAYOUT}.")
    warnings = list(_leftovers(found))
    problems = [
        Problem(path=tree.root / second, reason=f"is the same modality as {first}; remove one of the two")
        for first, second in found.twice
    ]
    if found.unclear:
        reason = (
            f"{len(found.unclear)} segmentation(s) have the name of cases in several folders, such as "
            f"{found.unclear[0]}; put each beside the images of its case, as CASE_seg.nii.gz"
        )
        problems.append(Problem(path=tree.root / found.unclear[0].parent, reason=reason))
    unclear = {first for first, _ in found.twice}
    cases = [case for case in found.cases if not unclear & {*case.images.values(), *case.segmentations.values()}]
    cases = _without_copies(tree, name_channels(tree, cases), warnings)
    segmented = choose_segmentations(tree, cases, options.segmentation, problems, warnings)
    names = tuple(name.lower() for name in options.modalities)
    if segmented and not names and any("" not in case.channels for case, _ in segmented):
        names, sentence = shared_modalities(segmented)
        warnings.append(sentence)
        if not names:
            return Scan(patients=(), problems=(*problems, Problem(path=tree.root, reason=sentence)))
    patients = _patients(tree, segmented, names, options, problems)
    return Scan(patients=patients, problems=tuple(problems), warnings=tuple(warnings), channel_names=names)


def recognise(tree: Tree) -> str:
    """Return a rule if some case of a tree has a segmentation."""
    found = find_cases(tree, VOLUMES.known_stem)
    cases = found.cases
    segmented = [(case, paths[0]) for case in cases if (paths := candidates(case, None))]
    if not segmented:
        return "there are segmentations, of cases in several folders" if found.unclear else ""
    case, segmentation = segmented[0]
    images = some((path.name for path in case.images.values()), most=4)
    return (
        f"{len(segmented)} of {len(cases)} cases of volumes have a segmentation, such as {case.id}: {images}, with "
        f"{segmentation.name}"
    )


def check_options(options: LayoutOptions) -> None:
    """Raise DataError for options that no case could satisfy."""
    names = [name.lower() for name in options.modalities]
    if len(set(names)) < len(names) or not all(names):
        listed = ", ".join(map(repr, options.modalities))
        raise DataError(f"modalities are {listed}, but each must be a name, and may be taken once.")
    parse_renames(options.modality)


def _without_copies(tree: Tree, cases: Sequence[Case], warnings: list[str]) -> list[Case]:
    """Return the cases without those that hold the same files as another one of the same name."""
    kept: dict[object, list[Case]] = defaultdict(list)
    counts = Counter(case.name for case in cases)
    copies = []
    for case in cases:
        alike = kept[case.name, _look(tree, case) if counts[case.name] > 1 else ()]
        if same := [other for other in alike if _are_same(tree, case, other)]:
            copies.append((case, same[0]))
        else:
            alike.append(case)
    if copies:
        case, other = copies[0]
        warnings.append(
            f"{len(copies)} case(s) occur twice with the same files and are taken once, such as {case.home} and "
            f"{other.home}"
        )
    return sorted((case for same_name in kept.values() for case in same_name), key=lambda case: case.id)


def _look(tree: Tree, case: Case) -> tuple[int, bytes]:
    """Return what tells most cases of one name apart: the size of the first image, and some bytes in its middle."""
    path = tree.root / next(iter(case.images.values()))
    try:
        with path.open("rb") as file:
            size = file.seek(0, SEEK_END)
            file.seek(size // 2)
            return size, file.read(NUM_COMPARED)
    except OSError:  # the reader says so if a file is gone
        return -1, b""


def _are_same(tree: Tree, one: Case, other: Case) -> bool:
    files, others = ({**case.images, **case.segmentations} for case in (one, other))
    with suppress(OSError):
        return files.keys() == others.keys() and all(
            filecmp.cmp(tree.root / path, tree.root / others[role], shallow=False) for role, path in files.items()
        )
    return False


def _patients(
    tree: Tree,
    cases: Sequence[tuple[Case, PurePosixPath]],
    names: Sequence[str],
    options: LayoutOptions,
    problems: list[Problem],
) -> tuple[VolumePatient, ...]:
    """Return the cases that have all channels; the others are added to problems, those that lack the same in one."""
    renames = parse_renames(options.modality)
    patients, lacking, persons = [], defaultdict(list), persons_of([case for case, _ in cases])
    for case, segmentation in cases:
        channels = find_channels(case, names or tuple(case.channels), renames)
        if missing := tuple(name for name in names if name not in channels):
            lacking[missing].append(case)
            continue
        patients.append(
            VolumePatient(
                id=case.id,
                group="" if case.home in (PurePosixPath(), PurePosixPath(case.home.name)) else str(case.home.parent),
                person=persons[case.id],
                images=tuple(tree.root / channel.path for channel in channels.values()),
                indices=tuple(channel.index for channel in channels.values()),
                segmentation=tree.root / segmentation,
                regions=parse_regions(options.regions, options.labels),
                trust_voxels=options.trust_voxels,
            )
        )
    problems += [_lack(tree, missing, lacking_cases) for missing, lacking_cases in lacking.items()]
    return tuple(patients)


def _lack(tree: Tree, missing: Sequence[str], cases: Sequence[Case]) -> Problem:
    """Return the problem of cases that lack the same channels."""
    first = cases[0]
    reason = (
        f"{len(cases)} case(s) have no {' and no '.join(missing)}: {some((case.id for case in cases), most=3)}; "
        f"{first.id} has {', '.join(sorted(first.channels))}. Add the files, take others by --modalities, or say what "
        f"they are called, such as --modality {missing[0]}=NAME"
    )
    return Problem(path=tree.root / first.home, reason=reason)


def _leftovers(found: Found) -> Iterator[str]:
    """Yield what a person should know: volumes of no case, and segmentations that are named differently from theirs."""
    if found.attached:
        case, path = found.attached[0]
        yield (
            f"{len(found.attached)} segmentation(s) are named differently from their case, but are the only ones in "
            f"its folder, such as {path} of {case}"
        )
    if found.leftovers:
        yield (
            f"{len(found.leftovers)} volume(s) belong to no case and are left out: "
            f"{some(map(str, found.leftovers), most=3)}"
        )


READER = Reader(
    scan=scan,
    recognise=recognise,
    files=VOLUMES,
    options=("modalities", "modality", "labels", "regions", "segmentation", "trust_voxels"),
    description="volumes (NIfTI, MetaImage, NRRD), such as those of BraTS",
)
