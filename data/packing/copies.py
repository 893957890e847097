"""Patients who look alike: visits of one person, or one patient under two names."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32

from data.packing.pack import Pack

SIDE = 32
"""Side in pixels of the small images that are compared."""

NUM_DEPTHS = 8
"""Number of slices of each patient that are compared, evenly from bottom to top."""

MIN_CORRELATION = 0.98
"""Patients are alike if half of their slices correlate above this. Different patients reach 0.89 (20 LGG patients),
0.90 (3 BraTS cases) and 0.91 (20 phantoms); one head with noise of 12 grey levels twice has 0.993."""

_BLOCK = 500  # patients that are compared with all others at once


class Pair(NamedTuple):
    """Two patients who look alike, by their ids."""

    first: str
    second: str
    correlation: float
    """Median over the slices."""


def alike_patients(pack: Pack) -> Iterator[Pair]:
    """Yield all pairs of patients who look alike, the patients of a pair in the order of the pack."""
    looks = np.stack([_looks(pack, patient) for patient in range(len(pack.patient_ids))], axis=1)
    for start in range(0, looks.shape[1], _BLOCK):
        correlations = np.median(looks[:, start : start + _BLOCK] @ looks.transpose(0, 2, 1), axis=0)
        for row, column in zip(*np.nonzero(correlations > MIN_CORRELATION), strict=True):
            if start + row < column:
                names = pack.patient_ids[start + row], pack.patient_ids[column]
                yield Pair(*names, min(1.0, float(correlations[row, column])))


def _looks(pack: Pack, patient: int) -> Float32[np.ndarray, "depths features"]:
    """Return small images of a patient at each depth, with mean 0 and norm 1, so that a product is a correlation."""
    slices = np.flatnonzero(pack.patient_of_slice == patient)
    depths = (np.arange(NUM_DEPTHS) + 0.5) / NUM_DEPTHS * len(slices)
    looks = []
    for image in pack.images[slices[depths.astype(int)]]:
        grey = image.mean(axis=2, dtype=np.float32)
        looks.append(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel())
    centred = np.stack(looks) - np.mean(looks, axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.where(norms > 1, centred / np.maximum(norms, 1), 0)  # black slices are like no other
