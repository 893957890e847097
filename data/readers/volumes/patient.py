"""A patient whose channels and segmentation are volumes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from data.errors import BadFiles, Problem, bad_file
from data.patient import Patient, Volume
from data.readers.volumes.formats.grid import Grid, join_channels, read_grids
from data.readers.volumes.formats.raw import RawVolume
from data.readers.volumes.formats.table import read_volume_file
from data.regions import Region, count_labels, encode

LABEL_TOLERANCE = 1e-3
"""How far a label may be from a whole number: scl_slope is a rounded float32, and a label 1 may read as 0.9999."""

MAX_SHOWN = 6
NO_LABELS = (
    "each holds labels that are not whole numbers; if they were resampled, do it by nearest neighbour; if they hold "
    "probabilities, save them as 0 and 1"
)
NAN_IN_TUMOUR = "each holds NaN in tumour voxels, but NaN may only be background; replace it"
NAN_NOTE = "NaN outside the tumour is background, and counts as 0"


@dataclass(frozen=True, kw_only=True)
class VolumePatient(Patient):
    """A case: a file for each channel, or one for several, and one for the segmentation."""

    images: tuple[Path, ...]
    """The file of each channel, in the order of the channels."""

    segmentation: Path
    indices: tuple[int | None, ...] = ()
    """The number of each channel in its file; None if it is all that the file holds, and no number at all if that is
    so for all channels."""

    trust_voxels: bool = False
    """Whether files of one shape have one grid, whatever their affines say."""

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys((*self.images, self.segmentation)))

    def without(self, paths: Collection[Path]) -> "VolumePatient | None":
        return None if any(path in paths for path in self.files) else self

    def read_file(self, path: Path) -> RawVolume:
        """Return the volume that a file of `images`, or `segmentation`, holds or stands for."""
        return read_volume_file(path)

    def encode_labels(
        self, labels: Shaped[np.ndarray, "slices height width"]
    ) -> tuple[UInt8[np.ndarray, "slices height width"], dict[int, int]]:
        """Return the masks of the regions as bits, and the number of voxels of each label."""
        return encode(labels, self.regions), count_labels(labels)

    def name_of(self, path: Path) -> str:
        """Return what messages about other files call a file."""
        return path.name

    def read(self) -> Volume:
        """Return axial slices from inferior (number 1) to superior; row 0 is anterior, column 0 the patient's right.

        The images are of one integer type if all files hold unscaled integers; else they are float32, with the file's
        scaling applied. Negative values stay. The spacing is that of the first image.

        Raises:
            BadFiles: Files are damaged, or differ in their grids; the error lists all of them.
            DataError: A package that reads the format is not installed.
        """
        grids = read_grids(
            tuple(dict.fromkeys((*self.images, self.segmentation))),
            self.read_file,
            whose=f" of patient {self.id}",
            name_of=self.name_of,
            trust_voxels=self.trust_voxels,
        )
        labels, notes = read_labels(self.segmentation, grids[self.segmentation].values)
        masks, counts = self.encode_labels(labels)
        notes = (*notes, *_unlisted(counts, self.regions))
        masks = np.ascontiguousarray(masks)
        images = read_channels(self.images, self.indices or (None,) * len(self.images), grids)
        if images.dtype.kind == "f" and np.isnan(images).any():
            self._refuse_nan_in_tumour(images, masks > 0)
            images, notes = np.nan_to_num(images, copy=False, nan=0.0), (*notes, NAN_NOTE)
        return Volume(
            images=images,
            masks=masks,
            numbers=tuple(range(1, len(masks) + 1)),
            spacing_mm=grids[self.images[0]].spacing_mm,
            labels=counts,
            notes=notes,
        )

    def _refuse_nan_in_tumour(self, images: np.ndarray, masks: np.ndarray) -> None:
        problems = []
        for channel, path in enumerate(self.images):
            if count := int(np.isnan(images[..., channel][masks]).sum()):
                share = f"{count} of {int(masks.sum())} tumour voxels"
                reason = f"holds NaN in {share}, but NaN may only be background; replace it"
                problems.append(Problem(path=path, reason=reason, cause=NAN_IN_TUMOUR))
        if problems:
            raise BadFiles(f"{len(problems)} file(s) of patient {self.id} cannot be used:", problems)


def _unlisted(counts: Mapping[int, int], regions: Sequence[Region]) -> Iterator[str]:
    """Yield a note if a segmentation has labels that are in no region."""
    listed = {label for region in regions for label in region.labels}
    if listed and (others := sorted(set(counts) - listed)):
        yield f"label(s) {', '.join(map(str, others))} of segmentations are in no region, and count as no tumour"


def read_channels(
    paths: Collection[Path], indices: Collection[int | None], grids: Mapping[Path, Grid]
) -> Shaped[np.ndarray, "slices height width channels"]:
    """Return the channels at places in volumes that were read.

    Raises:
        BadFiles: A file has fewer channels than the index asks for, or several where one is expected.
    """
    channels = []
    for path, index in zip(paths, indices, strict=True):
        values = grids[path].values
        count = values.shape[3] if values.ndim == 4 else 1
        if index is not None and index >= count:
            raise bad_file(
                path, f"has {count} channel(s), but number {index + 1} is asked for; see dataset.json beside it"
            )
        if index is None and count > 1 and len(paths) > 1:
            raise bad_file(path, f"has {count} channels, but is one channel of several; save each channel as a file")
        channels.append(values if index is None or values.ndim == 3 else values[..., index])
    return join_channels(channels)


def read_labels(
    path: Path, values: Shaped[np.ndarray, "slices height width *channels"]
) -> tuple[Shaped[np.ndarray, "slices height width"], tuple[str, ...]]:
    """Return the whole numbers in a segmentation, and notes on how they were read.

    Raises:
        BadFiles: It has several channels, or values that are not labels.
    """
    if values.ndim == 4:
        raise bad_file(
            path, f"has {values.shape[3]} channels, but a segmentation has one; save it as one volume of labels"
        )
    if values.dtype.kind in "iu":
        return values, ()
    notes = ()
    if np.isnan(values).any():
        values, notes = np.nan_to_num(values, nan=0.0), ("NaN in a segmentation is no tumour",)
    rounded = values.round()
    if not (bad := np.abs(values - rounded) > LABEL_TOLERANCE).any():
        return rounded, notes
    distinct = np.unique(values)
    if len(distinct) == 2 and distinct[0] == 0:
        note = "a segmentation of 0 and one other value, which is no whole number, is tumour where it is not 0"
        return (values != 0).astype(np.uint8), (*notes, note)
    shown = ", ".join(f"{value:.4g}" for value in distinct[:MAX_SHOWN]) + (", ..." if len(distinct) > MAX_SHOWN else "")
    raise bad_file(
        path,
        f"holds {int(bad.sum())} label(s) that are not whole numbers, among the values {shown}; if it was resampled, "
        "do it by nearest neighbour; if it holds probabilities, save it as 0 and 1",
        cause=NO_LABELS,
    )
