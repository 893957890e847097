"""Small stand-ins that several tests share: files and packs that are written in milliseconds."""

from pathlib import Path

import numpy as np
import tifffile

from data.pack import Pack


def write_lgg_patient(
    source: Path,
    patient_id: str,
    *,
    numbers: tuple[int, ...] = (1, 2, 10),
    height: int = 16,
    width: int = 16,
    tumour_numbers: tuple[int, ...] = (2,),
    seed: int = 0,
) -> Path:
    """Returns the folder of a patient written in the LGG layout: random slices, a 4 x 4 tumour in tumour_numbers."""
    folder = source / patient_id
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in numbers:
        image = rng.integers(1, 256, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        if number in tumour_numbers:
            mask[4:8, 4:8] = 255
        tifffile.imwrite(folder / f"{patient_id}_{number}.tif", image, photometric="rgb")
        tifffile.imwrite(folder / f"{patient_id}_{number}_mask.tif", mask)
    return folder


def small_pack(tumour: list[bool], *, num_patients: int = 2, size: int = 8, seed: int = 0) -> Pack:
    """Returns a read-only pack (as Ray's object store hands it out) with one slice per entry of tumour."""
    rng = np.random.default_rng(seed)
    num_slices = len(tumour)
    masks = np.zeros((num_slices, size, size), bool)
    masks[np.array(tumour, bool), 2:6, 2:6] = True
    arrays = {
        "images": rng.integers(0, 256, (num_slices, size, size, 3), dtype=np.uint8),
        "masks": masks,
        "patient_of_slice": np.arange(num_slices, dtype=np.int64) * num_patients // num_slices,
        "slice_numbers": np.arange(num_slices, dtype=np.int64),
        "mean": np.full((num_patients, 3), 100, np.float32),
        "std": np.full((num_patients, 3), 50, np.float32),
        "original_shapes": np.full((num_patients, 2), size, np.int64),
    }
    for array in arrays.values():
        array.setflags(write=False)
    return Pack(**arrays, patient_ids=tuple(f"P{i}" for i in range(num_patients)), fingerprint="small")
