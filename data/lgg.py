"""Reader of the Kaggle LGG layout: one folder a patient, `NAME_12.tif` beside `NAME_12_mask.tif`.

The layout is that of https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation (kaggle_3m): 8-bit RGB TIFF
slices whose channels are pre-contrast, FLAIR and post-contrast, and one-channel masks of 0 and 255.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import Bool, UInt8

from data.patient import BadFiles, DataError, Patient, Problem, Scan, SliceFiles, SlicePatient

LAYOUT = "expected <source>/<PATIENT>/<PATIENT>_<NUMBER>.tif, each beside its <PATIENT>_<NUMBER>_mask.tif"

# Larger than any MR slice (512 px is common, 1024 px rare) and small enough that one decoded slice fits in memory.
MAX_SIDE = 16384

# At most 9 digits: the number is stored as an int64, and a longer one is a date or an id that was mistaken for it.
_FILE_NAME = re.compile(r"(?P<prefix>.+)_(?P<number>[0-9]{1,9})(?P<mask>_mask)?\.tiff?", re.IGNORECASE)


def find_patients(source: Path) -> tuple[Patient, ...]:
    """Returns the patients below source; see `scan`.

    Raises:
        DataError: source is missing or holds no patient.
        BadFiles: anything there that would make training wrong in silence; all of it in one message.
    """
    found = scan(source)
    if found.problems:
        count = len(found.problems)
        raise BadFiles(f"data source {source} has {count} problem(s); {LAYOUT}:", found.problems)
    return found.patients


def scan(source: Path) -> Scan:
    """Returns the patients below source, sorted by id, their slices ordered by number (`_2` before `_10`).

    A patient is a folder that holds TIFF files; its name is the id. source is kaggle_3m, a folder above it, or a single
    patient's folder. Hidden files and folders are passed over. Nothing is decoded. Problems are images without a mask,
    masks without an image, and whatever else would make training wrong in silence, such as a number or an id twice.

    Raises:
        DataError: source is missing or holds no patient.
    """
    if not source.is_dir():
        what = "is a file" if source.exists() else "does not exist"
        raise DataError(f"data source {source} {what}, but must be a folder; {LAYOUT}.")
    problems: list[Problem] = []
    by_id: dict[str, Path] = {}
    patients = []
    for folder, names in _tiff_folders(source, problems):
        if folder.name in by_id:
            reason = (
                f"patient id {folder.name} is already that of {by_id[folder.name]}; "
                "name one of the two folders as the source, or remove the copy"
            )
            problems.append(Problem(path=folder, reason=reason))
            continue
        by_id[folder.name] = folder
        if slices := _pair(folder, names, problems):
            group = _institution(folder.name)
            patients.append(SlicePatient(id=folder.name, group=group, slices=slices, read_slice=read_slice))
    if not patients and not problems:
        raise DataError(f"data source {source} holds no patient: no .tif or .tiff file is in it or below it; {LAYOUT}.")
    return Scan(patients=tuple(sorted(patients, key=lambda patient: patient.id)), problems=tuple(problems))


def read_slice(files: SliceFiles) -> tuple[UInt8[np.ndarray, "height width 3"], Bool[np.ndarray, "height width"]]:
    """Returns the image (pre-contrast, FLAIR, post-contrast; 0 to 255) and the tumour mask of one slice.

    The mask file holds 0 and 255, or 0 and 1; an all-zero mask is a slice without tumour.

    Raises:
        BadFiles: a file cannot be read, or is not what the layout promises; the message names the file.
    """
    image = read_tiff(files.image, num_channels=3)
    mask = read_tiff(files.mask, num_channels=1)
    if mask.shape != image.shape[:2]:
        raise _bad(
            files.mask,
            f"the mask is {_by(mask.shape)} pixels, but its image {files.image.name} is {_by(image.shape[:2])}; both "
            "must have one size.",
        )
    values = np.unique(mask)
    if not (np.isin(values, (0, 255)).all() or np.isin(values, (0, 1)).all()):
        shown = ", ".join(str(value) for value in values[:6]) + (", ..." if len(values) > 6 else "")
        raise _bad(files.mask, f"mask values are {shown}, but must be 0 and 255 (or 0 and 1); save it unscaled.")
    return image, mask != 0


def _tiff_folders(source: Path, problems: list[Problem]) -> Iterator[tuple[Path, list[str]]]:
    # Links are followed because large data sets are often linked into place; `seen` ends a cycle of links.
    seen = set()

    def cannot_list(error: OSError) -> None:
        problems.append(Problem(path=Path(error.filename), reason=f"cannot be listed ({error.strerror})"))

    walk = os.walk(source.absolute(), followlinks=True, onerror=cannot_list)
    for folder, subfolders, names in walk:
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        tiffs = sorted(n for n in names if n.lower().endswith((".tif", ".tiff")) and not n.startswith("."))
        if tiffs:
            yield Path(folder), tiffs


def _pair(folder: Path, names: list[str], problems: list[Problem]) -> tuple[SliceFiles, ...]:
    images: dict[int, Path] = {}
    masks: dict[int, Path] = {}
    prefixes = defaultdict(list)
    for name in names:
        match = _FILE_NAME.fullmatch(name)
        if match is None:
            reason = "the name is not <PATIENT>_<NUMBER>.tif or <PATIENT>_<NUMBER>_mask.tif"
            problems.append(Problem(path=folder / name, reason=reason))
            continue
        prefixes[match["prefix"]].append(name)
        found, number = masks if match["mask"] else images, int(match["number"])
        if number in found:
            reason = f"slice number {number} is already that of {found[number].name}"
            problems.append(Problem(path=folder / name, reason=reason))
        else:
            found[number] = folder / name
    if len(prefixes) > 1:
        # Two patients under one id would be told apart nowhere, and could then not be split apart either.
        shown = ", ".join(sorted(prefixes)[:4])
        reason = f"holds slices of {len(prefixes)} patients ({shown}); give each a folder of its own"
        problems.append(Problem(path=folder, reason=reason))
    problems.extend(
        Problem(path=images[number], reason=f"image without mask ({images[number].stem}_mask.tif)")
        for number in sorted(images.keys() - masks)
    )
    problems.extend(
        Problem(path=masks[number], reason="mask without image") for number in sorted(masks.keys() - images)
    )
    pairs = sorted(images.keys() & masks)
    return tuple(SliceFiles(number=number, image=images[number], mask=masks[number]) for number in pairs)


def read_tiff(path: Path, *, num_channels: int) -> np.ndarray:
    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            _check_page(path, page, num_channels)
            if len(tiff.pages) > 1:
                raise _bad(path, f"holds {len(tiff.pages)} pages, but must hold one slice; split it into files.")
            if _is_truncated(page, path.stat().st_size):
                raise _bad(path, "is truncated (the file ends before its pixels do); copy it again.")
            return page.asarray()
    except BadFiles:
        raise
    except (
        Exception
    ) as error:  # tifffile raises a wide family of errors for damaged files: every one is the file's fault
        reason = f"{type(error).__name__}: {error}"
        raise _bad(path, f"cannot be read as TIFF ({reason}); copy it again or save it uncompressed.") from error


def _check_page(path: Path, page: tifffile.TiffPage, num_channels: int) -> None:
    """Refuses a page by its header alone, before a pixel is decoded: a small file may promise a huge image."""
    shape, dtype = page.shape, page.dtype
    if max(shape) > MAX_SIDE:
        raise _bad(path, f"is {_by(shape)}, but at most {MAX_SIDE} pixels a side are legal; resize it.")
    if num_channels == 3 and (len(shape) != 3 or shape[2] != 3 or dtype != np.uint8):
        depth = f"{dtype.itemsize * 8}-bit {dtype}" if dtype is not None else "unknown depth"
        raise _bad(
            path,
            f"the image is {_by(shape)} of {depth}, but must be height x width x 3 of 8-bit uint8 (pre-contrast, "
            "FLAIR, post-contrast); convert it.",
        )
    if num_channels == 1 and len(shape) != 2:
        raise _bad(path, f"the mask is {_by(shape)}, but must be height x width; save it with one channel.")


def _is_truncated(page: tifffile.TiffPage, num_bytes: int) -> bool:
    # tifffile fills strips that lie beyond the end of the file with zeros, without a word.
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    return not ends or max(ends) > num_bytes or min(page.databytecounts) == 0


def _bad(path: Path, reason: str) -> BadFiles:
    return BadFiles("a file cannot be used:", [Problem(path=path, reason=reason)])


def _institution(patient_id: str) -> str:
    """Returns the institution in a TCGA barcode, `TCGA_DU`; nothing for other ids."""
    match = re.match(r"TCGA_[A-Z0-9]{2}(?=_)", patient_id)
    return match[0] if match else ""


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
