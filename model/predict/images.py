"""Image files of a prediction: which of them are the slices of which patient, and how one is written.

A mask that lies beside its image is passed over unread, so that a prediction can never depend on it.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.readers.reader import FileKind
from data.readers.walk import walk

NOT_IMAGES = ("_mask", "_overlay", "_seg")
"""Ends of the names of files that lie beside images and are none: the data set's masks, and what a prediction wrote."""

_IMAGES, _MASKS = ("images", "image", "imgs"), ("masks", "mask")  # as `data.readers.folder` reads them
_NAME = re.compile(r"(?P<prefix>.+)_(?P<number>[0-9]{1,9})")
_NUMBER = re.compile(r"(?<![0-9])[0-9]{1,9}(?![0-9])")


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One patient to predict: a name, and files."""

    patient: str
    folder: Path
    files: tuple[Path, ...]
    """Slices in number order, or volumes in the order of the model's channels; `kind.holds` says which."""

    kind: FileKind


def find_slices(
    source: Path, kind: FileKind, problems: list[str], *, patient_pattern: re.Pattern | None = None
) -> Iterator[Volume]:
    """Yield the volumes of image files in a folder or below it; what cannot be told becomes a problem.

    A folder that holds images is a patient. Below a folder `images`, with or without its `masks`, they are told apart
    as `data.readers.folder` does: by the pattern, else by folder; an image directly in `images` is a volume by itself.
    """
    top = source.absolute()
    for folder, subfolders, names in walk(top, problems_of_walk := []):
        if folder == top and top.name.lower() in _IMAGES:
            subfolders.clear()
            yield from _in_images_folder(top, top.parent, kind, patient_pattern, problems)
            continue
        images = [name for name in subfolders if name.lower() in _IMAGES]
        if images:
            subfolders[:] = [name for name in subfolders if name.lower() not in _IMAGES + _MASKS]
        for name in images:
            yield from _in_images_folder(folder / name, top, kind, patient_pattern, problems)
        if paths := [folder / name for name in names if is_image(name, kind)]:
            # `resolve` gives "." a name.
            files = _by_name(folder, paths, problems)
            yield Volume(patient=folder.resolve().name, folder=folder, files=files, kind=kind)
    problems += map(str, problems_of_walk)


def is_image(name: str, kind: FileKind) -> bool:
    """Return whether a file's name is that of an image of this kind, and not of a mask or an overlay."""
    return kind.suffix_of(name) != "" and not kind.stem_of(name).lower().endswith(NOT_IMAGES)


def _by_name(folder: Path, images: list[Path], problems: list[str]) -> tuple[Path, ...]:
    """Return the slices of a patient's folder, which are called <PATIENT>_<NUMBER>, in order."""
    numbered: dict[int, Path] = {}
    prefixes = set()
    for path in images:
        match = _NAME.fullmatch(path.stem)
        if match is None:
            problems.append(f"{path}: the name is not <PATIENT>_<NUMBER>{path.suffix}; rename it, or predict it alone")
            continue
        prefixes.add(match["prefix"])
        if int(match["number"]) in numbered:
            problems.append(f"{path}: has the number of {numbered[int(match['number'])].name}; remove one of them")
        numbered[int(match["number"])] = path
    if len(prefixes) > 1:
        # Intensities are normalised over a patient's whole volume, which two patients must not share.
        shown = ", ".join(sorted(prefixes)[:4])
        problems.append(f"{folder}: holds slices of {len(prefixes)} patients ({shown}); give each a folder of its own")
    return tuple(numbered[number] for number in sorted(numbered))


def _in_images_folder(
    images: Path, top: Path, kind: FileKind, pattern: re.Pattern | None, problems: list[str]
) -> Iterator[Volume]:
    found: dict[str, list[Path]] = defaultdict(list)
    group = images.parent.relative_to(top).as_posix().removeprefix(".")
    for folder, _, names in walk(images, problems_of_walk := []):
        below = folder.relative_to(images).as_posix()
        for path in (folder / name for name in names if is_image(name, kind)):
            inside = path.relative_to(top).as_posix()
            if pattern is not None:
                match = pattern.search(inside)
                patient = match and match["patient" if "patient" in pattern.groupindex else min(pattern.groups, 1)]
            else:
                patient = below if below != "." else f"{group}/{path.stem}".removeprefix("/")
            if patient:
                found[patient.replace("/", "_")].append(path)
            else:
                problems.append(f'{path}: patient_pattern "{pattern.pattern}" finds no patient in {inside}; change it')
    problems += map(str, problems_of_walk)
    for patient, paths in sorted(found.items()):
        yield Volume(patient=patient, folder=images, files=_by_last_digits(paths, problems), kind=kind)


def _by_last_digits(paths: list[Path], problems: list[str]) -> tuple[Path, ...]:
    """Return the slices of one patient in the order of the last number in their names or, without any, of the names."""
    numbers = [_NUMBER.findall(path.stem) for path in paths]
    if not any(numbers):
        by_stem: dict[str, Path] = {}
        for path in paths:
            if (twin := by_stem.setdefault(path.stem, path)) is not path:
                problems.append(f"{path}: its mask would be called as that of {twin}; rename one, or part the patients")
        # Padded, the runs of digits that are too long for a number still sort as numbers.
        return tuple(sorted(paths, key=lambda path: re.sub("[0-9]+", lambda run: run[0].zfill(255), path.as_posix())))
    numbered: dict[int, Path] = {}
    for path, digits in zip(paths, numbers, strict=True):
        if not digits:
            problems.append(f"{path}: has no slice number in its name, but others of its patient have; rename it")
        elif (number := int(digits[-1])) in numbered:
            problems.append(f"{path}: has the number of {numbered[number].name}; rename one, see --patient-pattern")
        else:
            numbered[number] = path
    return tuple(numbered[number] for number in sorted(numbered))
