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


def look(image: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, " features"]:
    """Return a small image of mean 0 and norm 1, so that a product is a correlation; zeros for a black one."""
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel()
    small -= small.mean()
    norm = np.linalg.norm(small)
    return small / norm if norm > 1 else np.zeros_like(small)  # a black slice is like no other


def _looks(pack: Pack, patient: int) -> Float32[np.ndarray, "depths features"]:
    """Return what a patient looks like at each depth."""
    slices = np.flatnonzero(pack.patient_of_slice == patient)
    depths = (np.arange(NUM_DEPTHS) + 0.5) / NUM_DEPTHS * len(slices)
    return np.stack([look(image.mean(axis=2, dtype=np.float32)) for image in pack.images[slices[depths.astype(int)]]])
