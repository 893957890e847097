"""Group the volumes of a tree into cases, by their names alone.

A case is what files have in common: the beginning of their names or, if the names are nothing but roles, the folder. A
segmentation may lie beside its images, in a folder of segmentations, or in `derivatives/`. No file is opened.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from data.readers.tree import Tree
from data.readers.volumes.cases.case import Case
from data.readers.volumes.cases.files import File, find_files
from data.readers.volumes.cases.parts import attach, merge_parts, without_strays
from data.splitting.persons import is_visit, person_of

_KIND = re.compile(
    r"images?|imgs?|scans?|volumes?|data|labels?|masks?|segm?(entation)?s?|annotations?|gts?|"
    r"ground[_-]?truths?|truths?|[_\- ]",
    re.IGNORECASE,
)
"""What a folder of images and the folder of their segmentations do not have in common."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a tree of volumes holds."""

    cases: tuple[Case, ...]
    """Sorted by id, which is unique."""

    leftovers: tuple[PurePosixPath, ...]
    """Volumes that belong to no case."""

    twice: tuple[tuple[PurePosixPath, PurePosixPath], ...]
    """Volumes that have the case and the role of another one, after that one."""

    attached: tuple[tuple[str, PurePosixPath], ...]
    """Segmentations that are named differently from their case, but are the only ones beside it, after its id."""

    unclear: tuple[PurePosixPath, ...] = ()
    """Segmentations that may belong to cases in several folders, such as one of labels/ to A/ and to B/."""


def find_cases(tree: Tree, stem_of: Callable[[str], str | None]) -> Found:
    """Return the cases of a tree.

    Args:
        stem_of: Returns the name of a file without its suffix; None if the file is no volume.
    """
    files = find_files(tree, stem_of)
    groups: dict[object, list[File]] = defaultdict(list)
    for file in files:
        groups[file.case or file.home].append(file)
    cases, alone, twice, leftovers, unclear = [], [], [], [], []
    for group in groups.values():
        images = [file for file in group if not file.is_segmentation]
        if not images:
            alone += group
            continue
        for part in _by_home(images, group):
            if all(file.is_segmentation for file in part):
                unclear += part
                continue
            case, repeated = _case(part)
            if "" in case.images and len(case.images) > 1:  # a file without a role is no channel beside those with one
                leftovers.append(case.images[""])
                case = replace(case, images={role: path for role, path in case.images.items() if role})
            cases.append(case)
            twice += repeated
    cases, repeated = merge_parts(cases)
    twice += repeated
    cases, attached, left = attach(cases, alone)
    cases, strays = without_strays(cases)
    leftovers += left + strays
    return Found(
        cases=_with_unique_ids(cases),
        leftovers=tuple(sorted(leftovers)),
        twice=tuple(twice),
        attached=tuple(attached),
        unclear=tuple(file.path for file in unclear),
    )


def _by_home(images: Sequence[File], group: Sequence[File]) -> Iterable[list[File]]:
    """Return the files of a group by the case: one, unless folders hold images of the same role. Segmentations that
    may belong to several come last, by themselves.
    """
    parts: dict[PurePosixPath, list[File]] = defaultdict(list)
    for file in images:
        parts[file.home].append(file)
    roles = Counter(role for files in parts.values() for role in {file.role for file in files})
    if len(parts) == 1 or max(roles.values()) == 1:
        return [list(group)]
    below: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for home in parts:
        for folder in (home, *home.parents):
            below[folder].append(home)
    unclear: list[File] = []
    for file in group:
        if file.is_segmentation:
            top = next(folder for folder in file.path.parents if folder in below)
            homes = below[top] if len(below[top]) == 1 else _counterparts(file.path, top, below[top])
            (parts[homes[0]] if len(homes) == 1 else unclear).append(file)
    return [*parts.values(), unclear] if unclear else list(parts.values())


def _counterparts(path: PurePosixPath, top: PurePosixPath, homes: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    """Return the folders whose names say that they belong to that of a segmentation, as imagesTr to labelsTr."""

    def rest(place: PurePosixPath) -> str:
        parts = place.relative_to(top).parts
        return _KIND.sub("", parts[0]).lower() if parts else ""

    return [home for home in homes if rest(home) == rest(path.parent)]


def _case(files: Sequence[File]) -> tuple[Case, list[tuple[PurePosixPath, PurePosixPath]]]:
    """Return the case of files, and those whose role another one has, after that one."""
    images: dict[str, PurePosixPath] = {}
    segmentations: dict[str, PurePosixPath] = {}
    twice = []
    for file in files:
        role = file.role
        if file.is_segmentation and role in segmentations:  # in folders of several annotators
            role = f"{role} in {file.path.parent}"
        first = (segmentations if file.is_segmentation else images).setdefault(role, file.path)
        if first != file.path:
            twice.append((first, file.path))
    homes = Counter(file.home for file in files if not file.is_segmentation)
    home = homes.most_common(1)[0][0]
    name = files[0].case or home.name
    case = Case(id=name, name=name, home=home, is_named=bool(files[0].case), images=images, segmentations=segmentations)
    return case, twice


def persons_of(cases: Sequence[Case]) -> dict[str, str]:
    """Return the person of each case, by the case's id.

    The name of a case says it, unless it is that of a visit, or of something that several folders hold: then the
    folders say it, as in P1/week_1/T1.nii.gz and P1/scan_T1.nii.gz.
    """
    counts = Counter(case.name for case in cases)
    persons = {}
    for case in cases:
        is_own = case.is_named and (case.name == case.home.name or any(map(str.isdigit, case.name)))
        if not is_visit(case.name) and (counts[case.name] == 1 or is_own):
            persons[case.id] = person_of(case.name)
            continue
        parts = list(case.home.parts)
        if not case.is_named and counts[case.name] > 1 and not any(map(str.isdigit, case.name)):
            parts = parts[:-1]  # a word that several folders are called, such as `a` of P1/a and P2/a
        parts = [part for part in parts if not is_visit(part)]
        persons[case.id] = person_of("/".join(parts) or case.name)
    return persons


def _with_unique_ids(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return the cases, sorted; where ids repeat, folders take their place, and then paths."""

    def path(case: Case) -> str:
        return str(case.home if case.home.name == case.name else case.home / case.name).replace("/", "_")

    counts = Counter(case.id for case in cases)
    folders = Counter(case.home.name for case in cases if counts[case.id] > 1)
    cases = [
        replace(case, id=case.home.name if folders[case.home.name] == 1 and case.home.name else path(case))
        if counts[case.id] > 1 or (is_visit(case.id) and case.home.parent.name)
        else case
        for case in cases
    ]
    counts = Counter(case.id for case in cases)  # a folder may be called like another case
    cases = [replace(case, id=path(case)) if counts[case.id] > 1 else case for case in cases]
    return tuple(sorted(cases, key=lambda case: case.id))
