"""Measure how much tumour a patient's masks show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from data.regions import WHOLE, Region


@dataclass(frozen=True, kw_only=True)
class RegionVolume:
    """How large one of several regions is."""

    name: str
    pixels: int
    ml: float | None
    """None if the files do not say how large a pixel is."""


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """How much tumour a patient has, in all regions together."""

    num_slices: int
    num_slices_with_tumour: int
    num_tumour_pixels: int
    tumour_share: float
    """Tumour pixels divided by all pixels of the volume, air included; rounded to six decimals."""

    tumour_ml: float | None
    """Volume of the tumour; None if the files do not say how large a pixel is."""

    regions: tuple[RegionVolume, ...] = ()
    """Each of several regions; empty if there is one."""


def measure(
    masks: Bool[np.ndarray, "regions slices height width"],
    spacing_mm: tuple[float, float, float] | None,
    regions: Sequence[Region] = WHOLE,
) -> Measurements:
    """Return how much tumour a patient's masks show."""

    def ml(pixels: int) -> float | None:
        return None if spacing_mm is None else pixels * math.prod(spacing_mm) / 1000

    whole, counts = np.any(masks, axis=0), masks.sum((1, 2, 3)).tolist()
    parts = [
        RegionVolume(name=region.name, pixels=count, ml=ml(count))
        for region, count in zip(regions, counts, strict=True)
    ]
    return Measurements(
        num_slices=len(whole),
        num_slices_with_tumour=int(np.any(whole, axis=(1, 2)).sum()),
        num_tumour_pixels=int(whole.sum()),
        tumour_share=round(float(whole.mean()), 6),
        tumour_ml=ml(int(whole.sum())),
        regions=tuple(parts) if len(parts) > 1 else (),
    )
