"""Patients, which every reader returns, and the volume that a patient's files hold.

Readers only find files, so most folders are checked in milliseconds; `Patient.read` decodes them.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from data.errors import BadFiles, Problem
from data.regions import WHOLE, Region
from data.splitting.persons import person_of


@dataclass(frozen=True, kw_only=True)
class Volume:
    """All slices of a patient as they are in the files."""

    images: Shaped[np.ndarray, "slices height width channels"]
    """Finite values of any integer or floating type, in the scanner's own unit."""

    masks: UInt8[np.ndarray, "slices height width"]
    """Bit k of a voxel says whether it lies in region k (data/regions.py); of one region, a mask is 0 and 1."""

    numbers: tuple[int, ...]
    """Number of each slice within the patient, ascending; a missing number is a gap."""

    spacing_mm: tuple[float, float, float] | None = None
    """Distance between slices, rows and columns; None if the files do not say."""

    labels: Mapping[int, int] = field(default_factory=dict)
    """Number of voxels of each label of the segmentation above 0, before regions were made of them; empty
    where masks are images, DICOM SEG or RTSTRUCT."""

    notes: tuple[str, ...] = ()
    """How values were read that can be read in several ways, such as NaN; the same words for all patients, so that a
    note is printed once, with the number of patients."""

    @property
    def tumour(self) -> Bool[np.ndarray, "slices height width"]:
        """Whether a voxel lies in any region."""
        return self.masks > 0


@dataclass(frozen=True, kw_only=True)
class Patient(ABC):
    """A patient: a unique id and files to read."""

    id: str
    group: str = ""
    """The institution or the folder that a patient belongs to, on which intensities may depend."""

    person: str = field(default="", repr=False)
    """The person whose visit this is. All visits of a person are on one side of the split. Not given: as the id says
    by a known naming of visits, and else the id."""

    regions: tuple[Region, ...] = WHOLE
    """The regions whose masks `read` returns."""

    def __post_init__(self) -> None:
        if not self.person:
            object.__setattr__(self, "person", person_of(self.id))

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
    mask: Path | None
    """None: there is no tumour."""

    is_whole: bool = False
    """Whether the files may hold all slices of the patient, as pages."""


ReadSlice = Callable[[SliceFiles], tuple[Any, ...]]
"""Return an image "height width channels" and a mask "height width", and any notes (see `Volume.notes`). Both arrays
have the slices as their first axis if the files hold several. Raises BadFiles."""


@dataclass(frozen=True, kw_only=True)
class SlicePatient(Patient):
    """A patient whose slices are files, ordered by number."""

    slices: tuple[SliceFiles, ...]
    read_slice: ReadSlice

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for one in self.slices for path in (one.image, one.mask) if path is not None)

    def read(self) -> Volume:
        read, notes, problems = [], [], []
        for one in self.slices:
            try:
                image, mask, *own = self.read_slice(one)
            except BadFiles as error:
                problems += error.problems
            else:
                read.append((one, image, mask))
                notes += [(note, one) for note in own]
        problems += [*self._odd_sizes(read), *self._odd_masks(notes)]
        if problems:
            raise BadFiles(f"{len(problems)} file(s) of patient {self.id} cannot be used:", problems)
        slices, images, masks = zip(*read, strict=True)
        said = tuple(dict.fromkeys(note for note, _ in notes))
        if len(slices) == 1 and images[0].ndim == 4:
            return Volume(
                images=images[0],
                masks=masks[0].astype(np.uint8),
                numbers=tuple(range(1, len(images[0]) + 1)),
                notes=said,
            )
        numbers = tuple(one.number for one in slices)
        return Volume(images=np.stack(images), masks=np.stack(masks).astype(np.uint8), numbers=numbers, notes=said)

    def _odd_sizes(self, read: Sequence[tuple[SliceFiles, np.ndarray, np.ndarray]]) -> Iterator[Problem]:
        kinds = Counter(kind_of(image) for _, image, _ in read)
        usual = kinds.most_common(1)[0][0] if kinds else ""
        for one, image, _ in read:
            if (kind := kind_of(image)) != usual:
                reason = f"is {kind}, but most slices of patient {self.id} are {usual}; a volume has one size and type"
                yield Problem(path=one.image, reason=reason)

    def _odd_masks(self, notes: Sequence[tuple[str, SliceFiles]]) -> Iterator[Problem]:
        """Yield the masks that are read in another way than most of the patient: their values may be labels."""
        counts = Counter(note for note, _ in notes)
        usual = counts.most_common(1)[0][0] if counts else ""
        for note, one in notes:
            if note != usual:
                reason = (
                    f"in it, {note}; but in other slices of patient {self.id}, {usual}: if these values are labels, "
                    "say with --labels which of them are tumour"
                )
                yield Problem(path=one.mask or one.image, reason=reason)

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


def count_notes(notes: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return each note of patients once, with the number of patients."""
    counts = Counter(note for own in notes for note in own)
    return tuple(f"{note} ({count} patient(s))" for note, count in counts.items())


def differing_channels(patients: Sequence[tuple[Patient, int]]) -> list[Problem]:
    """Return the files of patients that have another number of channels than most patients."""
    counts = Counter(count for _, count in patients)
    usual = counts.most_common(1)[0][0] if counts else 0
    problems = []
    for patient, count in patients:
        if count != usual:
            what = f"{count} channels, but most patients have {usual}"
            if isinstance(patient, SlicePatient) and {count, usual} == {1, 3}:
                what += "; --grayscale makes one grey channel of all"
            reason, cause = f"patient {patient.id} has {what}", f"their patients have {what}"
            problems += [Problem(path=path, reason=reason, cause=cause) for path in patient.files]
    return problems


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
