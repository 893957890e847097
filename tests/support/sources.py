"""Sources in each layout, with five patients of three slices, for tests to damage.

The slices are as large as those of the pack, so that both are equal, pixel for pixel. No two slices are alike, so that
a test notices an image with the mask of another slice or patient.
"""

from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import tifffile

from data.preprocess import Preprocessing
from data.source import ReadingOptions
from search.cohort import Cohort
from search.config import SearchConfig

PATIENTS, NUMBERS, SIDE = ("P0", "P1", "P2", "P3", "P4"), (1, 2, 3), 64
MODALITIES = ("flair", "t1", "t2")
Slice = tuple[str, int]
"""A patient, and the number of a slice."""

ALL: set[Slice] = {(patient, number) for patient in PATIENTS for number in NUMBERS}
WHOLE = {("P1", number) for number in NUMBERS}
ONE = {("P1", 2)}
MAX_SECONDS = 2.0


def image_of(patient: str, number: int) -> np.ndarray:
    return np.random.default_rng([int(patient[1:]), number]).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def mask_of(patient: str, number: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10 * number : 10 * number + 8, 12 * int(patient[1:]) : 12 * int(patient[1:]) + 9] = 255
    return mask


def write_tiff(path: Path, pixels: np.ndarray, **options: Any) -> None:
    options |= {"photometric": "rgb"} if pixels.shape[2:] == (3,) else {}
    tifffile.imwrite(path, pixels, **options)


def write_png(path: Path, pixels: np.ndarray, suffix: str = ".png") -> None:
    path.write_bytes(cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes())


def write_nifti(path: Path, slices: np.ndarray) -> None:
    """Write slices from inferior to superior, their rows to the back and their columns to the patient's left."""
    affine = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)
    nibabel.Nifti1Image(slices, affine).to_filename(path)


def write_lgg(source: Path) -> None:
    for patient, number in sorted(ALL):
        (source / patient).mkdir(parents=True, exist_ok=True)
        write_tiff(source / patient / f"{patient}_{number}.tif", image_of(patient, number))
        write_tiff(source / patient / f"{patient}_{number}_mask.tif", mask_of(patient, number))


def write_folder(source: Path) -> None:
    for patient, number in sorted(ALL):
        for kind, make in (("images", image_of), ("masks", mask_of)):
            (source / kind / patient).mkdir(parents=True, exist_ok=True)
            write_png(source / kind / patient / f"{number}.png", make(patient, number))


def write_brats(source: Path) -> None:
    for patient in PATIENTS:
        (source / patient).mkdir(parents=True)
        images = np.stack([image_of(patient, number) for number in NUMBERS])
        for k, name in enumerate(MODALITIES):
            write_nifti(source / patient / f"{patient}_{name}.nii.gz", np.ascontiguousarray(images[..., k]))
        labels = np.stack([mask_of(patient, number) // 64 for number in NUMBERS])
        write_nifti(source / patient / f"{patient}_seg.nii.gz", labels)


def touch(source: Path, *paths: str) -> None:
    """Create empty files, for scans, which open none."""
    for path in paths:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).touch()


def config_of(source: Path, **reading: Any) -> SearchConfig:
    """Return the config of a search on a source, with these options of reading it."""
    reading = {"modalities": MODALITIES} | reading if reading.get("data_format") == "nifti" else reading
    return SearchConfig(
        data=str(source),
        out=Path(source).parent / "runs",
        cache=False,
        reading=ReadingOptions(**reading),
        preprocessing=Preprocessing(size=SIDE),
    )


def slices_of(cohort: Cohort) -> dict[Slice, tuple[np.ndarray, np.ndarray]]:
    """Return the image and the mask of every slice of training, validation and test patients."""
    found: dict[Slice, tuple[np.ndarray, np.ndarray]] = {}
    for pack in (cohort.train_pack, cohort.val_pack):
        for i, number in enumerate(pack.slice_numbers.tolist()):
            found[pack.patient_ids[pack.patient_of_slice[i]], number] = pack.images[i], pack.masks[i]
    for patient in cohort.test_patients:
        volume = patient.read()
        found |= {
            (patient.id, number): (image, mask)
            for number, image, mask in zip(volume.numbers, volume.images, volume.masks, strict=True)
        }
    return found


def assert_slices(cohort: Cohort, expected: set[Slice]) -> None:
    """Check that a cohort has exactly these slices, each with its own image and mask."""
    found = slices_of(cohort)
    assert set(found) == expected
    for key, (image, mask) in found.items():
        np.testing.assert_array_equal(image, image_of(*key))
        np.testing.assert_array_equal(mask, mask_of(*key) > 0)
    assert sum(cohort.num_slices.values()) == len(expected)
