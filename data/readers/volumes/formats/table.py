"""The formats of files that hold a volume, or a channel of one: NIfTI, and those of ITK."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from data.errors import bad_file
from data.readers.reader import FileKind, ImageOptions, Spacing
from data.readers.volumes.formats import itk, nifti
from data.readers.volumes.formats.grid import join_channels, read_grids
from data.readers.volumes.formats.raw import RawVolume


@dataclass(frozen=True, kw_only=True)
class VolumeFormat:
    """How files of a format are read and written."""

    read: Callable[[Path], RawVolume]
    read_geometry: Callable[[Path], RawVolume]
    """Read the header only; the values are zeros."""

    write: Callable[[Path, np.ndarray, Path], None]
    """Write a volume of labels for an image; the arguments are the path, the labels and the image."""

    count_values: Callable[[Path], int]
    written: Mapping[str, str]
    """The suffix of a mask by that of its image, both in lower case; the longest first where one ends in another."""

    media_types: Mapping[str, str]


FORMATS = {
    "nifti": VolumeFormat(
        read=nifti.read_nifti,
        read_geometry=nifti.read_nifti_geometry,
        write=nifti.write_nifti,
        count_values=nifti.count_values,
        written={".nii.gz": ".nii.gz", ".nii": ".nii.gz"},
        media_types={".nii.gz": "application/gzip", ".nii": "application/x-nifti"},
    ),
    "itk": VolumeFormat(
        read=itk.read_itk,
        read_geometry=itk.read_itk_geometry,
        write=itk.write_itk,
        count_values=itk.count_values,
        written={".mha": ".mha", ".mhd": ".mha", ".nrrd": ".nrrd"},
        media_types={".mha": "application/x-metaimage", ".mhd": "application/x-mhd", ".nrrd": "application/x-nrrd"},
    ),
}


def read_volume_file(path: Path) -> RawVolume:
    """Return the volume in a file; NaN stays.

    Raises:
        BadFiles: The file cannot be read, or holds infinite values.
    """
    raw = format_of(path).read(path)
    if raw.values.dtype.kind == "f" and (num_bad := int(np.isinf(raw.values).sum())):
        raise bad_file(path, f"holds {num_bad} voxel(s) that are infinite, but all must be finite; replace them")
    return raw


def format_of(path: Path) -> VolumeFormat:
    """Return the format that a file's suffix says; NIfTI for any other."""
    suffix = VOLUMES.suffix_of(path.name).lower()
    return next((one for one in FORMATS.values() if suffix in one.written), FORMATS["nifti"])


def _read(paths: Sequence[Path], options: ImageOptions) -> tuple[np.ndarray, Spacing | None]:
    grids = read_grids(tuple(paths), read_volume_file, trust_voxels=options.trust_voxels)
    for path, grid in grids.items():
        if grid.values.ndim == 4 and len(grids) > 1:
            raise bad_file(
                path, f"has {grid.values.shape[3]} channels, but is one channel of several; save each channel as a file"
            )
    images = join_channels([grid.values for grid in grids.values()])
    if options.channels:  # of the only file
        if (last := max(options.channels)) >= images.shape[3]:
            reason = f"has {images.shape[3]} channel(s), but number {last + 1} is asked for; see dataset.json beside it"
            raise bad_file(paths[0], reason)
        images = images[..., list(options.channels)]
    images = np.nan_to_num(images, copy=False, nan=0.0) if images.dtype.kind == "f" else images
    return images, grids[paths[0]].spacing_mm


def _write_mask(stem: Path, mask: Shaped[np.ndarray, "slices height width"], image: Path) -> Path:
    written = format_of(image)
    path = stem.with_name(stem.name + written.written[VOLUMES.suffix_of(image.name).lower()])
    written.write(path, mask, image)
    return path


def _count_values(path: Path) -> int:
    return format_of(path).count_values(path)


VOLUMES = FileKind(
    name="nifti",
    noun="volume",
    suffixes={suffix: kind for one in FORMATS.values() for suffix, kind in one.media_types.items()},
    holds="channel",
    layout="expected a case's files called <CASE>_<MODALITY>.nii.gz, or a folder of such cases",
    read=_read,
    write_mask=_write_mask,
    count_values=_count_values,
)
