"""Group the files of a study into series, and find out from the headers alone how the slices of each lie in space."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from data.patient import size_text
from data.printable import some
from data.readers.dicom.series.header import Frame, Header
from data.readers.dicom.series.roles import role_of, slug_of
from data.readers.volumes.cases.names import FAMILIES
from data.readers.volumes.formats.raw import MAX_SIDE, MAX_VALUES

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From DICOM's directions to those of an affine."""

MAX_OFF = 0.1
"""How far a slice may lie from its place in an even stack, in distances between slices, as for voxels of two grids."""

SAME_DIRECTION = 1e-3
"""How much the cosines of directions of one stack may differ."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Where the pixels of a slice are."""

    path: Path
    frame: int
    """The number of the frame in the file, from 0."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """A series of images, as its headers describe it."""

    uid: str
    number: int
    description: str
    role: str
    """flair, t1c, t1, t2, or the slug."""

    slug: str
    """The description as one word, unique in the study."""

    slices: tuple[Slice, ...]
    """In the order in which they lie."""

    size: tuple[int, int]
    """Columns and rows."""

    affine: tuple[tuple[float, ...], ...]
    """From column, row and slice to mm to the right, anterior, superior; empty if there is a problem."""

    problem: str = ""
    """Why the slices are no volume, in words that follow the series' name; empty if they are one."""

    instance_uids: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def path(self) -> Path:
        """The first file, which stands for the series in messages."""
        return self.slices[0].path

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(one.path for one in self.slices))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices."""
        return (*self.size, len(self.slices))

    @property
    def matrix(self) -> Float[np.ndarray, "4 4"]:
        return np.array(self.affine)

    def __str__(self) -> str:
        return f'{self.slug} (series {self.number}, "{self.description}", {size_text(self.shape)})'


def find_series(headers: Iterable[Header]) -> list[Series]:
    """Return the series of one study, in the order of their numbers, with slugs that no two share."""
    groups: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        groups[header.series_uid].append(header)
    found = sorted((_series(group) for group in groups.values()), key=lambda series: (series.number, series.uid))
    for more in (lambda place, one: one.number, lambda place, one: place):
        counts = Counter(one.slug for one in found)
        found = [
            one if counts[one.slug] == 1 else replace(one, slug=f"{one.slug}-{more(place, one)}")
            for place, one in enumerate(found)
        ]
    return [one if one.role in FAMILIES else replace(one, role=one.slug) for one in found]


def _series(headers: Sequence[Header]) -> Series:
    """Return the series of headers that share its UID."""
    first = min(headers, key=lambda header: str(header.path))
    planes = [
        (frame, Slice(path=header.path, frame=number))
        for header in headers
        for number, frame in enumerate(header.frames)
    ]
    problem = _unlike(headers) or _unplaced([frame for frame, _ in planes])
    if not problem:
        planes = _sorted(planes)
        problem = _uneven([frame for frame, _ in planes])
    return Series(
        uid=first.series_uid,
        number=first.series_number,
        description=first.description,
        role=role_of(first.description, has_contrast=any(header.has_contrast for header in headers)),
        slug=slug_of(first.description),
        slices=tuple(place for _, place in planes),
        size=(first.columns, first.rows),
        affine=() if problem else _affine([frame for frame, _ in planes], first.thickness),
        problem=problem,
        instance_uids=frozenset(header.instance_uid for header in headers),
    )


def _unlike(headers: Sequence[Header]) -> str:
    """Return why files are no slices of one volume, by what they hold; empty if they are."""
    first = headers[0]
    sizes = sorted({(header.rows, header.columns) for header in headers})
    num_values = first.rows * first.columns * sum(len(header.frames) for header in headers)
    if len(sizes) > 1:
        return f"has slices of several sizes ({some(map(size_text, sizes), most=3)}), but all must have one"
    if max(first.rows, first.columns) > MAX_SIDE or num_values > MAX_VALUES:
        return (
            f"has {num_values} voxels in slices of {size_text(sizes[0])}, but a side must be at most {MAX_SIDE}, and a "
            f"volume at most {MAX_VALUES} voxels"
        )
    if colours := {header.colour for header in headers} - {"MONOCHROME2"}:
        return f"has pixels of kind {min(colours) or 'unknown'}, but must be MONOCHROME2: grey, and brighter is more"
    if any(len({frame.scaling for frame in header.frames}) > 1 for header in headers):
        return "scales the frames of one file differently; save each frame as a file (classic MR, not enhanced)"
    return ""


def _unplaced(frames: Sequence[Frame]) -> str:
    """Return why it is not known where slices lie, or that they are no stack; empty if they are one."""
    first = frames[0]
    if any(frame.position is None or len(frame.orientation) != 6 or frame.spacing is None for frame in frames):
        return "does not say where its slices lie (position, orientation and spacing of pixels); it may be a picture"
    values = [[*(frame.position or ()), *frame.orientation, *(frame.spacing or ())] for frame in frames]
    rows, columns = np.reshape(first.orientation, (2, 3))
    is_legal = np.isfinite(values).all() and min(first.spacing or (0,)) > 0
    if not is_legal or np.abs(np.cross(rows, columns)).max() < 0.1 or abs(rows @ columns) > SAME_DIRECTION:
        return "has an illegal position, orientation or spacing; export it again"
    planes = np.array(values)[:, 3:]
    if np.abs(planes - planes[0]).max() > SAME_DIRECTION:
        return "has slices of several directions or spacings, as a localizer has; a volume has one"
    return ""


def _sorted(planes: Sequence[tuple[Frame, Slice]]) -> list[tuple[Frame, Slice]]:
    """Return frames in the order in which they lie along their normal."""
    normal = _normal(planes[0][0])
    return sorted(planes, key=lambda plane: float(np.array(plane[0].position) @ normal))


def _normal(frame: Frame) -> np.ndarray:
    """Return the direction across a frame."""
    rows, columns = np.reshape(frame.orientation, (2, 3))
    return np.cross(rows, columns)


def _uneven(frames: Sequence[Frame]) -> str:
    """Return why sorted frames do not lie at even distances; empty if they do."""
    if len(frames) == 1:
        return ""
    positions = np.array([frame.position for frame in frames])
    normal = _normal(frames[0])
    gaps = np.diff(positions @ normal)
    usual = float(np.percentile(gaps, 50, method="lower"))  # of two gaps, the one that is not doubled
    if repeated := int((gaps < MAX_OFF * max(usual, 1e-3)).sum()):
        return f"has {repeated} slice(s) where another one lies: several echoes, times or kinds of images in one series"
    wide = int(gaps.argmax())
    if gaps[wide] > 1.5 * usual:
        z = f"{gaps[wide]:.4g} mm between slices {wide + 1} and {wide + 2}, and usually {usual:.4g} mm"
        return f"lacks slices: there are {z}; copy the series again"
    steps = np.linspace(positions[0], positions[-1], len(positions))
    if (off := float(np.abs(positions - steps).max())) > MAX_OFF * usual:
        gap = f"{gaps.min():.4g} to {gaps.max():.4g} mm"
        return f"has slices at uneven places (gaps of {gap}; up to {off:.3g} mm off an even stack); resample it"
    return ""


def _affine(frames: Sequence[Frame], thickness: float | None) -> tuple[tuple[float, ...], ...]:
    """Return the affine of sorted, even frames; a single one is as thick as the file says, or 1 mm."""
    first, last = np.array(frames[0].position), np.array(frames[-1].position)
    rows, columns = np.reshape(frames[0].orientation, (2, 3))
    spacing = frames[0].spacing or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = rows * spacing[1], columns * spacing[0]
    affine[:3, 2] = (
        (last - first) / (len(frames) - 1) if len(frames) > 1 else np.cross(rows, columns) * (thickness or 1)
    )
    affine[:3, 3] = first
    return tuple(map(tuple, (LPS_TO_RAS @ affine).tolist()))
