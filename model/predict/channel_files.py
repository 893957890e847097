"""Find patients whose channels are in separate files, such as the modalities of a NIfTI case."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.readers.reader import FileKind
from data.readers.walk import walk
from model.predict.volume_files import NOT_IMAGES, VolumeFiles, is_image


def find_cases(
    source: Path, kind: FileKind, channel_names: Sequence[str], problems: list[str]
) -> Iterator[VolumeFiles]:
    """Yield the cases in a folder or below it, and add what is wrong with the files to `problems`.

    A case is a folder with a file <CASE>_<MODALITY> for each channel, where <CASE> is the name of the folder.
    """
    suffix = next(iter(kind.suffixes))
    for folder, _, names in walk(source.absolute(), problems_of_walk := []):
        case = folder.resolve().name
        by_modality = _by_modality(folder, names, case, kind, problems)
        if by_modality.keys() <= {ending[1:] for ending in NOT_IMAGES}:
            continue
        chosen = [by_modality.get(name.lower(), []) for name in channel_names]
        if all(len(files) == 1 for files in chosen):
            files = tuple(folder / name for (name,) in chosen)
            yield VolumeFiles(patient=case, folder=folder, files=files, kind=kind)
        for modality, files in zip(channel_names, chosen, strict=True):
            if not files:
                found = ", ".join(sorted(by_modality))
                problems.append(f"{folder}: has no {modality} ({case}_{modality}{suffix}), but {found}; add it")
            elif len(files) > 1:
                problems.append(f"{folder / files[1]}: is the same modality as {files[0]}; remove one of the two")
    problems += map(str, problems_of_walk)


def _by_modality(
    folder: Path, names: Sequence[str], case: str, kind: FileKind, problems: list[str]
) -> dict[str, list[str]]:
    """Return the names of the files of a case by their modality in lower case."""
    pattern = re.compile(rf"{re.escape(case)}[_-](.+)", re.IGNORECASE)
    found: dict[str, list[str]] = {}
    for name in names:
        if kind.suffix_of(name) and (match := pattern.fullmatch(kind.stem_of(name))):
            found.setdefault(match[1].lower(), []).append(name)
        elif is_image(name, kind):
            suffix = next(iter(kind.suffixes))
            problems.append(f"{folder / name}: the name is not {case}_<MODALITY>{suffix}; rename it, or move it away")
    return found
