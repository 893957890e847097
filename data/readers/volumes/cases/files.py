"""What the name and the folder of each volume of a tree say: its case, and its role there. No file is opened."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from unicodedata import normalize

from data.readers.tree import Tree
from data.readers.volumes.cases import names as words

SEPARATORS = "_-. "
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
_COUNTED = re.compile(r"\d{1,2}[_\-. ]")  # 5_MASK, the fifth folder of each patient
_T1_OF_VISIT = re.compile(r"(?:pre|post)[_-](?P<role>t1w?)")
_NOT_A_CASE = re.compile(r"anat|perf|dwi|func|pet|ct|mr|mri|nifti|nii|images?|native|raw", re.IGNORECASE)


@dataclass(frozen=True)
class File:
    """A volume, and what its name and its folder say."""

    path: PurePosixPath
    """Relative to the root of the tree."""

    home: PurePosixPath
    """The folder that may stand for the case."""

    stem: str
    case: str
    role: str
    is_segmentation: bool


def find_files(tree: Tree, stem_of: Callable[[str], str | None]) -> list[File]:
    """Return all volumes of a tree.

    Args:
        stem_of: Returns the name of a file without its suffix; None if the file is no volume.
    """
    return _give_channels(_give_roles(_with_visits(list(_files(tree, stem_of)))))


def beginnings(stem: str) -> list[str]:
    """Return what a name may begin with as that of a case: all of it before a separator, the longest first."""
    return [stem[:k] for k in range(len(stem) - 1, 0, -1) if stem[k] in SEPARATORS]


def _files(tree: Tree, stem_of: Callable[[str], str | None]) -> Iterator[File]:
    """Yield all volumes with what their names say."""
    for folder, names in tree.folders.items():
        volumes = [(name, normalize("NFC", stem)) for name in names if (stem := stem_of(name)) is not None]
        for name, stem in volumes:
            home = folder
            own = stem_of(folder.name)
            if len(volumes) == 1 and (own or folder.name == stem):  # a folder that is called like a file stands for it
                stem, home = own or stem, folder.parent
            yield _file(folder / name, home, stem)


def _file(path: PurePosixPath, home: PurePosixPath, stem: str) -> File:
    name = words.parse(stem)
    while _NOT_A_CASE.fullmatch(home.name):
        home = home.parent
    label = _COUNTED.sub("", home.name)
    role, is_truth_folder = words.parse(label), words.SEGMENTATION_FOLDERS.fullmatch(label) is not None
    if not is_truth_folder and not role.case and role.role and not role.is_segmentation:  # a folder for a modality
        case = stem if not name.role else name.case
        return File(path, home.parent, stem, case, name.role or role.role, name.is_segmentation)
    if is_truth_folder and not name.case:
        home, is_truth_folder = home.parent, False
    if is_truth_folder or words.SEGMENTATION_FOLDERS.fullmatch(path.parent.name):
        case = name.case if name.is_segmentation else stem
        return File(path, home, stem, case, name.role if name.is_segmentation else "seg", True)
    return File(path, home, stem, name.case, name.role, name.is_segmentation)


def _with_visits(files: Sequence[File]) -> list[File]:
    """Return the files, where `pre` or `post` is part of the case if other files of the folder say so: P1_post_flair
    beside P1_post_t1."""
    cases = {(file.home, file.case) for file in files}
    found = []
    for file in files:
        match = _T1_OF_VISIT.fullmatch(file.role)
        case = file.stem[: -len(match["role"]) - 1] if match else ""
        found.append(replace(file, case=case, role=match["role"]) if match and (file.home, case) in cases else file)
    return found


def _give_roles(files: Sequence[File]) -> list[File]:
    """Return the files, where images without a known role get the rest of their names after the case of others."""
    known: dict[PurePosixPath, set[str]] = defaultdict(set)
    for file in files:
        if file.role and file.case:
            known[file.home].add(file.case)
    found = []
    for file in files:
        if file.role or file.case in known[file.home]:
            found.append(file)
            continue
        cases = (one for one in beginnings(file.stem) if one in known[file.home] or one == file.home.name)
        case = next(cases, "")
        found.append(replace(file, case=case, role=file.stem[len(case) + 1 :].lower()) if case else file)
    return found


def _give_channels(files: Sequence[File]) -> list[File]:
    """Return the files, where CASE_0000, CASE_0001 and so on of nnU-Net become the channels of CASE."""
    segmented = {file.case for file in files if file.is_segmentation}
    first = {
        (file.home, file.stem)
        for file in files
        if not file.role and file.stem.endswith("_0000") and file.stem not in segmented
    }
    found = []
    for file in files:
        match = _CHANNEL.fullmatch(file.stem)
        is_channel = match and not file.role and file.stem not in segmented
        if match and is_channel and (file.home, f"{match['case']}_0000") in first:
            file = replace(file, case=match["case"], role=match["channel"])
        found.append(file)
    return found
