"""Reader of the Kaggle LGG layout: one folder per patient, `NAME_12.tif` beside `NAME_12_mask.tif`.

The layout is that of https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation (kaggle_3m): 8-bit RGB TIFF
slices whose channels are pre-contrast, FLAIR and post-contrast, and one-channel masks of 0 and 255.
"""

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from data.errors import DataError, Problem
from data.patient import Scan, SliceFiles, SlicePatient
from data.readers.images import IMAGES, ReadPair
from data.readers.reader import LayoutOptions, Reader
from data.readers.walk import require_folder, walk

LAYOUT = "expected <source>/<PATIENT>/<PATIENT>_<NUMBER>.tif, each beside its <PATIENT>_<NUMBER>_mask.tif"

CHANNELS = ("pre", "flair", "post")
"""Channels of an image, in the order of the file."""

# At most 9 digits: a longer number is a date or an id rather than the number of a slice.
_FILE_NAME = re.compile(r"(?P<prefix>.+)_(?P<number>[0-9]{1,9})(?P<mask>_mask)?\.tiff?", re.IGNORECASE)


def scan(source: Path, *, channels: tuple[str, ...] = (), grayscale: bool = False) -> Scan[SlicePatient]:
    """Return the patients below source, sorted by id, with their slices ordered by number (`_2` before `_10`).

    A patient is a folder that holds TIFF files, and the folder's name is the id. source is kaggle_3m, a folder above
    it, or the folder of one patient. Hidden files and folders are left out. Nothing is decoded. Problems are images
    without a mask, masks without an image, and whatever else would spoil training unnoticed, such as a number or an id
    that occurs twice.

    Args:
        channels: Names in CHANNELS to take, in this order; empty for all.
        grayscale: Whether the three channels become one.

    Raises:
        DataError: source does not exist or holds no patient, or there is no such channel.
    """
    read_slice = ReadPair(channels=READER.channel_indices(channels), grayscale=grayscale)
    require_folder(source, LAYOUT)
    problems: list[Problem] = []
    by_id: dict[str, Path] = {}
    patients = []
    for folder, _, names in walk(source.absolute(), problems):
        if not (tiffs := [name for name in names if name.lower().endswith((".tif", ".tiff"))]):
            continue
        if folder.name in by_id:
            reason = (
                f"patient id {folder.name} is already that of {by_id[folder.name]}; "
                "name one of the two folders as the source, or remove the copy"
            )
            problems.append(Problem(path=folder, reason=reason))
            continue
        by_id[folder.name] = folder
        if slices := _pair(folder, tiffs, problems):
            group = _institution(folder.name)
            patients.append(SlicePatient(id=folder.name, group=group, slices=slices, read_slice=read_slice))
    if not patients and not problems:
        raise DataError(f"data source {source} holds no patient: no .tif or .tiff file is in it or below it; {LAYOUT}.")
    return Scan(patients=tuple(sorted(patients, key=lambda patient: patient.id)), problems=tuple(problems))


def looks_like(source: Path) -> bool:
    """Return whether a TIFF named as a mask lies in source or at most 3 folders below it."""
    paths = (path for depth in range(4) for path in source.glob("*/" * depth + "*_mask.tif*"))
    return any(_FILE_NAME.fullmatch(path.name) for path in paths)


def _pair(folder: Path, names: list[str], problems: list[Problem]) -> tuple[SliceFiles, ...]:
    """Return the slices, without those whose files are ambiguous; the ambiguities are added to problems."""
    claimed: dict[bool, dict[int, list[Path]]] = {False: defaultdict(list), True: defaultdict(list)}
    prefixes = set()
    for name in names:
        match = _FILE_NAME.fullmatch(name)
        if match is None:
            reason = "the name is not <PATIENT>_<NUMBER>.tif or <PATIENT>_<NUMBER>_mask.tif; rename it"
            problems.append(Problem(path=folder / name, reason=reason))
            continue
        prefixes.add(match["prefix"])
        claimed[bool(match["mask"])][int(match["number"])].append(folder / name)
    if len(prefixes) > 1:
        # Two patients under one id could not be told apart, and the split would mix them.
        shown = ", ".join(sorted(prefixes)[:4])
        reason = f"holds slices of {len(prefixes)} patients ({shown}); give each a folder of its own"
        problems.append(Problem(path=folder, reason=reason))
        return ()
    twice = {number for found in claimed.values() for number, paths in found.items() if len(paths) > 1}
    problems.extend(
        Problem(path=path, reason=f"slice number {number} is already that of {paths[0].name}; remove one")
        for found in claimed.values()
        for number, paths in sorted(found.items())
        for path in paths[1:]
    )
    images, masks = (
        {number: paths[0] for number, paths in claimed[kind].items() if number not in twice} for kind in (False, True)
    )
    problems.extend(
        Problem(
            path=images[number], reason=f"has no mask ({images[number].stem}_mask.tif); add it, or move the image away"
        )
        for number in sorted(images.keys() - masks)
    )
    problems.extend(
        Problem(path=masks[number], reason="has no image; add it, or move the mask away")
        for number in sorted(masks.keys() - images)
    )
    pairs = sorted(images.keys() & masks)
    return tuple(SliceFiles(number=number, image=images[number], mask=masks[number]) for number in pairs)


def _institution(patient_id: str) -> str:
    """Return the institution in a TCGA barcode, such as `TCGA_DU`; empty for other ids."""
    match = re.match(r"TCGA_[A-Z0-9]{2}(?=_)", patient_id)
    return match[0] if match else ""


def _scan(source: Path, options: LayoutOptions) -> Scan[SlicePatient]:
    found = scan(source, channels=options.channels, grayscale=options.grayscale)
    return replace(found, channel_names=options.channels or CHANNELS)


READER = Reader(
    scan=_scan,
    recognise=looks_like,
    files=IMAGES,
    channels=CHANNELS,
    options=("channels", "grayscale"),
    description="TIFF slices in the layout of the LGG MRI Segmentation set",
    licence=(
        "The LGG MRI Segmentation set (Buda et al. 2019, doi:10.1016/j.compbiomed.2019.05.002) is CC BY-NC-SA 4.0: it "
        "requires attribution, forbids commercial use, and asks for the same licence for everything made from it, "
        "including this model. Another set in the same layout has its own licence."
    ),
)
