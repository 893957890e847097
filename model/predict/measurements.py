"""Measure how much tumour a patient's masks show."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """How much tumour a patient has."""

    num_slices: int
    num_slices_with_tumour: int
    num_tumour_pixels: int
    tumour_share: float
    """Tumour pixels divided by all pixels of the volume, air included; rounded to six decimals."""

    tumour_ml: float | None
    """Volume of the tumour; None if the files do not say how large a pixel is."""


def measure(
    masks: Bool[np.ndarray, "slices height width"], spacing_mm: tuple[float, float, float] | None
) -> Measurements:
    """Return how much tumour a patient's masks show."""
    num_pixels = int(masks.sum())
    return Measurements(
        num_slices=len(masks),
        num_slices_with_tumour=int(masks.any((1, 2)).sum()),
        num_tumour_pixels=num_pixels,
        tumour_share=round(float(masks.mean()), 6),
        tumour_ml=None if spacing_mm is None else num_pixels * math.prod(spacing_mm) / 1000,
    )
