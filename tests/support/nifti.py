"""NIfTI cases whose voxels are known, in any orientation."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import ArrayLike, DTypeLike

from data.errors import BadFiles
from data.readers.volumes.patient import VolumePatient

# In display order: 4 slices upwards, 5 rows to the back, 6 columns to the patient's left. No two voxels are alike.
SLICES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 20
LABELS = np.zeros((4, 5, 6), np.uint8)
LABELS[1, 2, 3:5], LABELS[1, 2, 5], LABELS[2, 0, 1] = 1, 2, 4
SPACING_MM = (3.0, 2.0, 1.0)
ORIENTATIONS = ("RAS", "LPS", "LAS", "ASL", "SPL", "IRP", "PIR")
DISPLAY = nibabel.orientations.axcodes2ornt("SPL")


def as_nifti(
    slices: np.ndarray,
    codes: str = "RAS",
    *,
    dtype: DTypeLike | None = None,
    spacing: tuple[float, ...] = SPACING_MM,
    image: Callable[..., Any] = nibabel.Nifti1Image,
) -> Any:
    """Return a NIfTI image of the slices whose axes run as the codes say."""
    displayed = np.array([[0, 0, -1, 40], [0, -1, 0, 30], [1, 0, 0, -20], [0, 0, 0, 1]]) @ np.diag([*spacing, 1.0])
    there = nibabel.orientations.ornt_transform(DISPLAY, nibabel.orientations.axcodes2ornt(codes))
    values = nibabel.orientations.apply_orientation(slices, there)
    affine = displayed @ nibabel.orientations.inv_ornt_aff(there, slices.shape)
    assert "".join(nibabel.aff2axcodes(affine)) == codes
    return image(values, affine, dtype=dtype or slices.dtype)


def write_case(
    source: Path,
    case: str = "A",
    *,
    codes: str = "RAS",
    suffix: str = ".nii.gz",
    modalities: tuple[str, ...] = ("t1", "flair"),
    separator: str = "_",
    **seg: Any,
) -> Path:
    """Write a case and return its folder; modality k holds SLICES + 1000 k, and `seg` are options of the mask."""
    folder = source / case
    folder.mkdir(parents=True)
    for k, name in enumerate(modalities):
        as_nifti(SLICES + np.int16(1000 * k), codes).to_filename(folder / f"{case}{separator}{name}{suffix}")
    as_nifti(LABELS, codes, **seg).to_filename(folder / f"{case}{separator}seg{suffix}")
    return folder


def patient_of(folder: Path, *, suffix: str = ".nii.gz", **options: Any) -> VolumePatient:
    paths = [folder / f"{folder.name}_{name}{suffix}" for name in ("t1", "flair", "seg")]
    return VolumePatient(id=folder.name, images=tuple(paths[:2]), segmentation=paths[2], **options)


def problems_of(patient: VolumePatient) -> dict[str, str]:
    """Return the reasons for which a patient cannot be read, by the name of the file."""
    with pytest.raises(BadFiles) as caught:
        patient.read()
    return {problem.path.name: problem.reason for problem in caught.value.problems}


def rewrite(path: Path, change: Callable[[bytearray], object]) -> None:
    """Change the uncompressed bytes of a NIfTI file in place, or replace them by the bytes that `change` returns."""
    content = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    changed = change(content)
    content = changed if isinstance(changed, bytes | bytearray) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def put(content: bytearray, offset: int, value: ArrayLike, dtype: DTypeLike) -> None:
    """Overwrite the bytes at an offset; nifti1.h says what they mean."""
    written = np.array(value, dtype).tobytes()
    content[offset : offset + len(written)] = written
