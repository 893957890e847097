"""The files of one patient to predict, and the names that tell images from masks and overlays.

A mask beside its image is never read, so that a prediction cannot depend on it.
"""

from dataclasses import dataclass
from pathlib import Path

from data.readers.reader import FileKind

NOT_IMAGES = ("_mask", "_overlay", "_seg")
"""Endings of the names of files that may lie beside images: masks of the data set, and outputs of a prediction."""


@dataclass(frozen=True, kw_only=True)
class VolumeFiles:
    """The files of one patient."""

    patient: str
    folder: Path
    files: tuple[Path, ...]
    """As `kind.holds` says: slices in the order of their numbers, channels in the order of the model, or one volume."""

    kind: FileKind


def is_image(name: str, kind: FileKind) -> bool:
    """Return whether a name is that of an image of this kind, rather than of a mask or an overlay."""
    return kind.suffix_of(name) != "" and not kind.stem_of(name).lower().endswith(NOT_IMAGES)
