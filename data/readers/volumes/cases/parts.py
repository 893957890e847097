"""Volumes that belong to a case, or to none, though their names do not say so."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from data.readers.volumes.cases.case import Case
from data.readers.volumes.cases.files import File, beginnings
from data.readers.volumes.cases.names import is_common_modality


def merge_parts(cases: Sequence[Case]) -> tuple[list[Case], list[tuple[PurePosixPath, PurePosixPath]]]:
    """Return the cases, where further files of a case are part of it: those whose names begin with its name, in its
    folder, and have no common modality, such as A_DTI_eddy_FA.nii.gz beside A_t1.nii.gz. And the files whose role
    another one has, after that one."""
    together: dict[tuple[PurePosixPath, str], Case] = {}
    twice = []
    for case in cases:  # a case may be named by files, such as P1_flair, and by their folder, such as P1/T1
        first = together.get((case.home, case.name))
        if first is not None:
            twice += [(first.images[role], path) for role, path in case.images.items() if role in first.images]
            images, masks = dict(case.images) | dict(first.images), dict(case.segmentations) | dict(first.segmentations)
            case = replace(first, images=images, segmentations=masks)
        together[case.home, case.name] = case
    cases = list(together.values())
    whole = {(case.home, case.name): case for case in cases if any(map(is_common_modality, case.images))}
    found = []
    for case in cases:
        of = () if (case.home, case.name) in whole else beginnings(case.name)
        name = next((name for name in of if (case.home, name) in whole), None)
        if name is None:
            found.append(case)
            continue
        other, rest = whole[case.home, name], case.name[len(name) + 1 :].lower()
        more = {f"{rest}_{role}".strip("_"): path for role, path in case.images.items()}
        masks = {f"{rest}_{role}".strip("_"): path for role, path in case.segmentations.items()}
        whole[case.home, name] = replace(
            other, images=more | dict(other.images), segmentations=masks | dict(other.segmentations)
        )
    return [whole[key] if (key := (case.home, case.name)) in whole else case for case in found], twice


def attach(
    cases: Sequence[Case], alone: Sequence[File]
) -> tuple[list[Case], list[tuple[str, PurePosixPath]], list[PurePosixPath]]:
    """Return the cases with segmentations whose names are of no case, where it is plain which they belong to; those
    whose names do not even begin with the case's id, after the id; and the others.

    That is the only case of the same folder without one, or the only case whose name begins the segmentation's.
    """
    names = {case.name for case in cases}
    without: dict[PurePosixPath, set[int]] = defaultdict(set)
    by_id: dict[str, list[int]] = defaultdict(list)
    for index, case in enumerate(cases):
        by_id[case.id.casefold()].append(index)
        if not case.segmentations:
            without[case.home].add(index)
    found, attached, left = list(cases), [], []
    for file in alone:
        is_only = len(without[file.home]) == 1 and file.case not in names
        ids = {file.stem, file.case or file.home.name, *beginnings(file.stem)}
        folded = {one.casefold() for one in ids}
        named = without[file.home] if is_only else {k for one in folded if one in by_id for k in by_id[one]}
        if len(named) == 1:
            (index,) = named
            case = found[index]
            role = f"{file.role} of {file.case}" if file.role in case.segmentations else file.role
            found[index] = replace(case, segmentations={**case.segmentations, role: file.path})
            without[case.home].discard(index)
            attached += [(case.id, file.path)] if is_only else []
        else:
            left.append(file.path)
    return found, attached, left


def without_strays(cases: Sequence[Case]) -> tuple[list[Case], list[PurePosixPath]]:
    """Return the cases without strays, and the volumes of these.

    A stray has no segmentation, and either no role where other cases have roles, or no common modality where others in
    its folder have both one and a segmentation.
    """
    have_roles = any("" not in case.images for case in cases)
    common = {case.home for case in cases if case.segmentations and any(map(is_common_modality, case.images))}

    def is_stray(case: Case) -> bool:
        is_odd = case.home in common and not any(map(is_common_modality, case.images))
        return not case.segmentations and (is_odd or (have_roles and set(case.images) == {""}))

    return (
        [case for case in cases if not is_stray(case)],
        [path for case in cases if is_stray(case) for path in case.images.values()],
    )
