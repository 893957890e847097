"""The files of one patient to predict, and the names that tell images from masks and overlays.

A mask beside its image is never read, so that a prediction cannot depend on it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data.readers.reader import FileKind
from data.readers.slices import names


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What a person says about the files to predict, where their names and headers do not say it."""

    patient_pattern: re.Pattern[str] | None = None
    """Finds the patient in the path of a slice below the source, as in training."""

    renames: Mapping[str, str] = field(default_factory=dict)
    """What files of volumes, or DICOM series, call a channel, by its name; both in lower case."""

    trust_voxels: bool = False
    """Whether volumes of one shape have one grid, whatever their affines say."""


@dataclass(frozen=True, kw_only=True)
class VolumeFiles:
    """The files of one patient."""

    patient: str
    folder: Path
    files: tuple[Path, ...]
    """As `kind.holds` says: slices in the order of their numbers, channels in the order of the model, or one volume."""

    kind: FileKind
    indices: tuple[int, ...] = ()
    """The channels to take of a file that holds several, in the order of the model; empty for all."""

    trust_voxels: bool = False
    """Whether files of one shape have one grid, whatever their affines say."""

    problem: str = ""
    """Why the patient cannot be predicted; empty if nothing is known to be wrong."""

    @property
    def reading(self) -> str:
        """How the files are read, where it is not as usual; empty if it is."""
        return f"channels {self.indices}, trust_voxels {self.trust_voxels}" if self.indices or self.trust_voxels else ""


def is_image(name: str, kind: FileKind) -> bool:
    """Return whether a name is that of an image of this kind, rather than of a mask or an overlay."""
    return kind.suffix_of(name) != "" and not is_mask_name(kind.stem_of(name))


def is_mask_name(stem: str) -> bool:
    """Return whether a name without its suffix is that of a mask, or of an output of a prediction.

    Such files may lie beside images: the masks of a data set, and what was predicted before.
    """
    return bool(names.mask_base(stem)) or names.is_output(stem)
