"""Patients, which every reader returns, and the volume that a patient's files hold.

Readers only find files, so a folder is checked in milliseconds; `Patient.read` decodes them.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Bool, Shaped

from data.errors import BadFiles, Problem


@dataclass(frozen=True, kw_only=True)
class Volume:
    """All slices of a patient as they are in the files."""

    images: Shaped[np.ndarray, "slices height width channels"]
    """Finite values of any integer or floating type, in the scanner's own unit."""

    masks: Bool[np.ndarray, "slices height width"]
    numbers: tuple[int, ...]
    """Number of each slice within the patient, ascending; a missing number is a gap."""

    spacing_mm: tuple[float, float, float] | None = None
    """Distance between slices, rows and columns; None if the files do not say."""


class Patient(ABC):
    """A patient: a unique id and files to read."""

    id: str
    group: str
    """The institution or the folder that a patient belongs to, on which intensities may depend."""

    @property
    @abstractmethod
    def files(self) -> tuple[Path, ...]:
        """The files that `read` reads."""

    @abstractmethod
    def read(self) -> Volume:
        """Return the volume in the files.

        Raises:
            BadFiles: Files cannot be used; the error lists them with reasons.
        """

    @abstractmethod
    def without(self, paths: Collection[Path]) -> "Patient | None":
        """Return the patient without the slices that need these files; None if nothing is left."""


@dataclass(frozen=True, kw_only=True)
class SliceFiles:
    """The files of one slice, and its number within the volume."""

    number: int
    image: Path
    mask: Path


ReadSlice = Callable[[SliceFiles], tuple[np.ndarray, np.ndarray]]
"""Return an image "height width channels" and a mask "height width". Raises BadFiles."""


@dataclass(frozen=True, kw_only=True)
class SlicePatient(Patient):
    """A patient whose slices are files, ordered by number."""

    id: str
    group: str = ""
    slices: tuple[SliceFiles, ...]
    read_slice: ReadSlice

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for one in self.slices for path in (one.image, one.mask))

    def read(self) -> Volume:
        read, problems = [], []
        for one in self.slices:
            try:
                read.append((one, *self.read_slice(one)))
            except BadFiles as error:
                problems += error.problems
        kinds = Counter(kind_of(image) for _, image, _ in read)
        usual = kinds.most_common(1)[0][0] if kinds else ""
        for one, image, _ in read:
            if (kind := kind_of(image)) != usual:
                reason = f"is {kind}, but most slices of patient {self.id} are {usual}; a volume has one size and type"
                problems.append(Problem(path=one.image, reason=reason))
        if problems:
            raise BadFiles(f"{len(problems)} file(s) of patient {self.id} cannot be used:", problems)
        slices, images, masks = zip(*read, strict=True)
        return Volume(images=np.stack(images), masks=np.stack(masks), numbers=tuple(one.number for one in slices))

    def without(self, paths: Collection[Path]) -> "SlicePatient | None":
        left = tuple(one for one in self.slices if one.image not in paths and one.mask not in paths)
        return replace(self, slices=left) if left else None


P = TypeVar("P", bound=Patient, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Scan(Generic[P]):
    """The patients that a reader found in a folder, before anything is decoded."""

    patients: tuple[P, ...]
    """Sorted by id."""

    problems: tuple[Problem, ...] = ()
    """Files that belong to no patient, or that lack their image or mask. Only a person can tell whether the patients
    are right without them.
    """

    warnings: tuple[str, ...] = ()
    """Remarks that a person should read although nothing is wrong."""

    channel_names: tuple[str, ...] = ()
    """Names of the channels, in order; empty if the files do not name them, so that they are numbered."""


def shown_channel(num_channels: int, names: Sequence[str] = ()) -> int:
    """Return the index of the channel that pictures show: the one called flair, on which a tumour is seen best.

    Without that name it is the second of three channels, where the LGG set has FLAIR, and otherwise the first.
    """
    if "flair" in names:
        return names.index("flair")
    return 1 if num_channels == 3 else 0


def size_text(shape: Sequence[int]) -> str:
    """Return a shape as text for messages, such as `16 x 16 x 3`."""
    return " x ".join(map(str, shape))


def kind_of(image: np.ndarray) -> str:
    """Return the size and type of an image as text, such as `16 x 16 x 3 of uint8`; all slices of a volume share it."""
    return f"{size_text(image.shape)} of {image.dtype}"
