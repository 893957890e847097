"""The images of a prediction, on disk: which files are the slices of which patient, and what is written for them.

A mask that lies beside its image is passed over unread, so that a prediction can never depend on it.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import tifffile
from jaxtyping import Shaped, UInt8

from data.folder import ReadPair
from data.patient import DataError, bad_file, kind_of, problems_message

TIFF = (".tif", ".tiff")
SUFFIXES = (*TIFF, ".png", ".jpg", ".jpeg")
NOT_IMAGES = ("_mask", "_overlay")
"""Ends of the names of files that lie beside images and are none: the data set's masks, and what a prediction wrote."""

LAYOUT = "expected a patient's folder with slices called <PATIENT>_<NUMBER>.tif, a folder of such folders, or one image"

_NAME = re.compile(r"(?P<prefix>.+)_(?P<number>[0-9]{1,9})")


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One patient to predict: a name and the files of the slices, in number order."""

    patient: str
    folder: Path
    slices: tuple[Path, ...]


def find_volumes(source: Path) -> tuple[Volume, ...]:
    """Return the volumes at `source`, sorted by patient: every folder that holds images is a patient.

    A single image is a volume of one slice, called after the file.

    Raises:
        DataError: Nothing is there, or it cannot be told which files are whose slices. Lists all problems.
    """
    if source.is_file():
        if source.suffix.lower() not in SUFFIXES:
            raise DataError(f"{source} is no image: its suffix must be one of {', '.join(SUFFIXES)}; {LAYOUT}")
        return (Volume(patient=source.stem, folder=source.parent, slices=(source,)),)
    if not source.is_dir():
        raise DataError(f"{source} does not exist; {LAYOUT}")
    problems: list[str] = []
    volumes = sorted(_find(source, problems), key=lambda volume: volume.patient)
    for one, other in pairwise(volumes):
        if one.patient == other.patient:
            problems.append(f"{other.folder}: a patient of this name is already in {one.folder}; predict them apart")
    if problems:
        raise DataError(problems_message(f"{source} has {len(problems)} problem(s); {LAYOUT}:", problems))
    if not volumes:
        raise DataError(f"{source} holds no image ({', '.join(SUFFIXES)}); {LAYOUT}")
    return tuple(volumes)


def read_volume(volume: Volume, read: ReadPair) -> Shaped[np.ndarray, "slices height width channels"]:
    """Return the slices of a patient, with the channels that `read` takes.

    Raises:
        BadFiles: A file is damaged, has too few channels, or has another size or type than the first slice.
    """
    images = [read.image(path) for path in volume.slices]
    for path, image in zip(volume.slices, images, strict=True):
        if (image.shape, image.dtype) != (images[0].shape, images[0].dtype):
            reason = (
                f"is {kind_of(image)}, but {volume.slices[0].name} of the same patient is {kind_of(images[0])}: the "
                "slices of a volume must have one size and type; predict them one by one"
            )
            raise bad_file(path, reason)
    return np.stack(images)


def write_image(path: Path, pixels: UInt8[np.ndarray, "height width *channels"]) -> None:
    """Write a TIFF or PNG as the suffix says, grey or RGB, whole or not at all."""
    if path.suffix.lower() in TIFF:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels, photometric="minisblack" if pixels.ndim == 2 else "rgb")
        write_whole(path, buffer.getvalue())
    else:
        write_whole(path, cv2.imencode(path.suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes())


def write_whole(path: Path, content: bytes) -> None:
    """Put the bytes into the file, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _find(source: Path, problems: list[str]) -> Iterator[Volume]:
    for folder in (source, *sorted(path for path in source.rglob("*") if path.is_dir())):
        images = [path for path in sorted(folder.iterdir()) if _is_image(path)]
        if images:
            # `resolve` gives "." a name.
            yield Volume(patient=folder.resolve().name, folder=folder, slices=_order(folder, images, problems))


def _is_image(path: Path) -> bool:
    is_hidden, is_none = path.name.startswith("."), path.stem.lower().endswith(NOT_IMAGES)
    return path.suffix.lower() in SUFFIXES and path.is_file() and not is_hidden and not is_none


def _order(folder: Path, images: list[Path], problems: list[str]) -> tuple[Path, ...]:
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
