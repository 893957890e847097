"""Find patients whose slices are image files, and put the slices in order."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from data.readers.reader import FileKind
from data.readers.walk import walk
from model.predict.volume_files import VolumeFiles, is_image

_IMAGES, _MASKS = ("images", "image", "imgs"), ("masks", "mask")  # the names that `data.readers.folder` accepts
_NAME = re.compile(r"(?P<prefix>.+)_(?P<number>[0-9]{1,9})")
_NUMBER = re.compile(r"(?<![0-9])[0-9]{1,9}(?![0-9])")


def find_slices(
    source: Path, kind: FileKind, problems: list[str], *, patient_pattern: re.Pattern[str] | None = None
) -> Iterator[VolumeFiles]:
    """Yield the patients whose images are in a folder or below it, and add what is wrong with the files to `problems`.

    A folder that holds images is a patient. Below a folder `images`, with or without its `masks`, patients are
    identified as in `data.readers.folder`: by the pattern, or else by folder. An image directly in `images` is a
    patient.
    """
    top = source.absolute()
    for folder, subfolders, names in walk(top, problems_of_walk := []):
        if folder == top and top.name.lower() in _IMAGES:
            subfolders.clear()
            yield from _below_images(top, top.parent, kind, patient_pattern, problems)
            continue
        images = [name for name in subfolders if name.lower() in _IMAGES]
        if images:
            subfolders[:] = [name for name in subfolders if name.lower() not in _IMAGES + _MASKS]
        for name in images:
            yield from _below_images(folder / name, top, kind, patient_pattern, problems)
        if paths := [folder / name for name in names if is_image(name, kind)]:
            files = _in_order_of_names(folder, paths, problems)
            # `resolve` gives "." a name.
            yield VolumeFiles(patient=folder.resolve().name, folder=folder, files=files, kind=kind)
    problems += map(str, problems_of_walk)


def _in_order_of_names(folder: Path, images: list[Path], problems: list[str]) -> tuple[Path, ...]:
    """Return the slices of a patient's folder, which are called <PATIENT>_<NUMBER>, ordered by number."""
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
        # Intensities are normalised over the volume of a patient, so two patients must not share one.
        shown = ", ".join(sorted(prefixes)[:4])
        problems.append(f"{folder}: holds slices of {len(prefixes)} patients ({shown}); give each a folder of its own")
    return tuple(numbered[number] for number in sorted(numbered))


def _below_images(
    images: Path, top: Path, kind: FileKind, pattern: re.Pattern[str] | None, problems: list[str]
) -> Iterator[VolumeFiles]:
    found: dict[str, list[Path]] = defaultdict(list)
    group = images.parent.relative_to(top).as_posix().removeprefix(".")
    for folder, _, names in walk(images, problems_of_walk := []):
        below = folder.relative_to(images).as_posix()
        for path in (folder / name for name in names if is_image(name, kind)):
            if pattern is None:
                patient = below if below != "." else f"{group}/{path.stem}".removeprefix("/")
            else:
                patient = _match(pattern, path.relative_to(top).as_posix())
            if patient:
                found[patient.replace("/", "_")].append(path)
            elif pattern is not None:
                inside = path.relative_to(top).as_posix()
                problems.append(f'{path}: patient_pattern "{pattern.pattern}" finds no patient in {inside}; change it')
    problems += map(str, problems_of_walk)
    for patient, paths in sorted(found.items()):
        yield VolumeFiles(patient=patient, folder=images, files=_in_order_of_last_numbers(paths, problems), kind=kind)


def _match(pattern: re.Pattern[str], path: str) -> str | None:
    """Return the patient that a pattern finds in a path; None if it finds none."""
    match = pattern.search(path)
    return match and match["patient" if "patient" in pattern.groupindex else min(pattern.groups, 1)]


def _in_order_of_last_numbers(paths: list[Path], problems: list[str]) -> tuple[Path, ...]:
    """Return the slices of one patient in the order of the last number in each name; without numbers, of the names."""
    numbers = [_NUMBER.findall(path.stem) for path in paths]
    if not any(numbers):
        return _in_natural_order(paths, problems)
    numbered: dict[int, Path] = {}
    for path, digits in zip(paths, numbers, strict=True):
        if not digits:
            problems.append(f"{path}: has no slice number in its name, but others of its patient have; rename it")
        elif (number := int(digits[-1])) in numbered:
            problems.append(f"{path}: has the number of {numbered[number].name}; rename one, see --patient-pattern")
        else:
            numbered[number] = path
    return tuple(numbered[number] for number in sorted(numbered))


def _in_natural_order(paths: list[Path], problems: list[str]) -> tuple[Path, ...]:
    by_stem: dict[str, Path] = {}
    for path in paths:
        if (twin := by_stem.setdefault(path.stem, path)) is not path:
            problems.append(f"{path}: its mask would have the name of the mask of {twin}; rename one, or separate them")
    # Zeros before runs of digits that are too long for a slice number make them sort as numbers.
    return tuple(sorted(paths, key=lambda path: re.sub("[0-9]+", lambda run: run[0].zfill(255), path.as_posix())))
