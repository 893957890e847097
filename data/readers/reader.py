"""The description of a layout of data: a `Reader`, which is a row of the table in `data.readers.table`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

import numpy as np
from jaxtyping import Shaped

from data.errors import DataError, UserError
from data.patient import Patient, Scan
from data.readers.tree import Tree
from data.regions import parse_regions

Spacing = tuple[float, float, float]
"""Distance between slices, rows and columns, in mm."""


@dataclass(frozen=True, kw_only=True)
class LayoutOptions:
    """Options that only some layouts take: `Reader.options` names those of a layout."""

    channels: tuple[str, ...] = ()
    """Channels to take, in this order: by name in the LGG layout (`pre`, `flair`, `post`), by number from 0 in a folder
    of images. None given: all."""

    grayscale: bool = False
    """Whether the colours of a slice become one channel, weighted as ITU-R BT.601 does."""

    modalities: tuple[str, ...] = ()
    """Modalities of volumes or DICOM to take as channels, in this order, such as `t1ce flair`. None given: all that
    every case has."""

    modality: tuple[str, ...] = ()
    """What files call a channel, such as `t1c=pink` where a model or `--modalities` says t1c and files end in _pink.
    Common spellings need no such help."""

    segmentation: str | None = None
    """Which of a case's files is its segmentation: a pattern for the name or path, such as '*_tumor_seg.nii.gz'. None:
    by common names, a manual one before an automatic one."""

    trust_voxels: bool = False
    """Whether files of a case that have one shape match voxel by voxel even where their affines differ."""

    labels: tuple[int, ...] = ()
    """Values of a mask that count as tumour. None given: every value above 0; masks of slices must then have two values
    only."""

    regions: tuple[str, ...] = ()
    """Regions to segment, each with the labels that belong to it, such as `WT=1,2,4 TC=1,4 ET=4`, or the name of those
    of a public data set: brats2013, brats2021, brats2023 or msd. The network has an output for each, and Dice is the
    mean over them. None given: one region, of `--labels`."""

    missing_masks: Literal["refuse", "empty"] = "refuse"
    """What an image without a mask file means: a mistake, which is refused, or a slice without tumour."""

    patient_pattern: str | None = None
    """Regular expression that finds the person in a file's path below the source: its group `patient`, or its first
    group, or all of it. All patients (volumes) of a person are on one side of the split. In a folder of images, it also
    says which slices are one patient. None: known names of visits, such as BraTS-GLI-00001-000; images: by folder."""

    def __post_init__(self) -> None:
        parse_regions(self.regions, self.labels)
        if len(set(self.channels)) < len(self.channels):
            raise UserError(f"channels are {', '.join(self.channels)}, but each may be taken once")


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How the images of a patient are read from its files, where files leave a choice."""

    channels: tuple[int, ...] = ()
    """The indices of the channels to take of a file that holds several, from 0; empty for all."""

    grayscale: bool = False
    """Whether the colours of a slice become one channel."""

    trust_voxels: bool = False
    """Whether files of one shape have one grid, whatever their affines say."""


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """A kind of file, such as NIfTI: how prediction and the service read images without masks, and write masks."""

    name: str
    """Its name in the answer of /healthz."""

    noun: str
    """Its name in messages, before the word "file"."""

    suffixes: Mapping[str, str]
    """Media type by suffix in lower case, the longest suffix first where one ends in another."""

    holds: Literal["slice", "channel", "volume"]
    """Whether a file holds one slice with all its channels, one channel with all its slices, or all of a volume."""

    layout: str
    """How files must be arranged for a prediction; messages end with it."""

    read: Callable[
        [Sequence[Path], ImageOptions],
        tuple[Shaped[np.ndarray, "slices height width channels"], Spacing | None],
    ]
    """Return the images in the files of one patient, which are in order, and their spacing, if the files say it.
    Raises BadFiles."""

    write_mask: Callable[[Path, np.ndarray, Path], Path]
    """Write a mask (a slice or a volume, as `holds` says; or the slices of a stack, if `read` returned several for one
    file) for an image, and return its path. The arguments are the path to write to without a suffix, the mask, and the
    image. A mask is boolean, or holds labels."""

    count_values: Callable[[Path], int]
    """Return how many values (pixels times channels) a file decodes to, from its header alone; 0 if `read` will refuse
    the header. Raises BadFiles for a header that lies: only this protects the service from decompression bombs."""

    def suffix_of(self, name: str) -> str:
        """Return the suffix of a file's name, as it is spelt there; empty if it is not one of this kind."""
        found = next((suffix for suffix in self.suffixes if name.lower().endswith(suffix)), "")
        return name[len(name) - len(found) :]

    def known_stem(self, name: str) -> str | None:
        """Return a file's name without its suffix; None if the file is not of this kind."""
        suffix = self.suffix_of(name)
        return name.removesuffix(suffix) if suffix else None

    def stem_of(self, name: str) -> str:
        """Return a file's name without its suffix, which may be one that only `read` knows, such as .npy."""
        known = self.known_stem(name)
        return PurePath(name).stem if known is None else known

    def media_type_of(self, name: str) -> str:
        """Return the media type of a file of this kind."""
        return self.suffixes[self.suffix_of(name).lower()]

    def write_masks(
        self, folder: Path, files: Sequence[Path], masks: Shaped[np.ndarray, "slices height width"], *, patient: str
    ) -> list[Path]:
        """Write the masks of one patient's files, booleans or labels, and return their paths: one a slice, a stack, or
        one volume."""
        if self.holds != "slice":
            return [self.write_mask(folder / f"{patient}_mask", masks, files[0])]
        if len(files) == 1 < len(masks):
            return [self.write_mask(folder / f"{self.stem_of(files[0].name)}_mask", masks, files[0])]
        return [
            self.write_mask(folder / f"{self.stem_of(path.name)}_mask", mask, path)
            for path, mask in zip(files, masks, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Everything that the program knows about a layout of data."""

    scan: Callable[[Tree, LayoutOptions], Scan[Patient]]
    """Return the patients in a tree of files. Raises DataError."""

    recognise: Callable[[Tree], str] | None = None
    """Return the rule by which a tree has this layout, for a person to read, and an empty text if it has not; None if
    the source is not a folder."""

    generate: Callable[[str | None, Path], Path] | None = None
    """Return a folder of generated patients, for a source such as `phantom:40`; None if the source must be a folder.
    The arguments are the text after the colon (None without a colon) and the folder to write below."""

    files: FileKind
    """The kind of file that prediction and the service read."""

    channels: tuple[str, ...] = ()
    """Names of an image's channels in the order of the file; empty if channels are numbered from 0."""

    options: tuple[str, ...] = ()
    """Fields of `LayoutOptions` that apply to this layout; the others are refused."""

    description: str
    """The data in the model card, after the number of patients, and in the help of `--data-format`."""

    licence: str = ""
    """The sentence on the data's licence in the model card; empty if only the user knows the licence."""

    warning: str = ""
    """A sentence at the top of the model card; empty for none."""

    def channel_indices(self, channels: Sequence[str]) -> tuple[int, ...]:
        """Return the indices of channels in an image file, from 0; empty if none are given, which means all.

        Raises:
            DataError: There is no such channel.
        """
        if self.channels:
            legal, known = ", ".join(self.channels), all(channel in self.channels for channel in channels)
        else:
            legal, known = "numbers from 0", all(channel.isascii() and channel.isdigit() for channel in channels)
        if not known:
            raise DataError(f"--channels is {', '.join(channels)}, but the channels of this layout are {legal}")
        return tuple(self.channels.index(name) if self.channels else int(name) for name in channels)
