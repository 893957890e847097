"""Random augmentation of a training slice and its mask; the same seed gives the same result on any machine and rank."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from jaxtyping import UInt8

from data.legal import Range, check_legal

MAX_STRENGTH = 2.0

Image = UInt8[np.ndarray, "height width channels"]
Mask = UInt8[np.ndarray, "height width"]
"""Bits, one for each region (data/regions.py)."""

Augment = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How strongly training slices are changed at random."""

    strength: Annotated[float, Range(at_least=0, at_most=MAX_STRENGTH)] = 1.0
    """Factor on every magnitude, and on the probability of elastic deformation and noise; 0 (none) to 2. 1 is rotation
    by 12 degrees, shift 5 %, scale 10 %, gamma 1.35, contrast 20 %: near brain-segmentation-pytorch (15 degrees, 5 %).
    """

    geometry: Annotated[float, Range(at_least=0, at_most=MAX_STRENGTH)] = 1.0
    """Factor on `strength` for rotation, shift and scale; 0 leaves them out, and mirroring, which has no strength."""

    elastic: Annotated[float, Range(at_least=0, at_most=MAX_STRENGTH)] = 1.0
    """Factor on `strength` for elastic deformation; 0 leaves it out."""

    intensity: Annotated[float, Range(at_least=0, at_most=MAX_STRENGTH)] = 1.0
    """Factor on `strength` for gamma, brightness and contrast; 0 leaves them out."""

    noise: Annotated[float, Range(at_least=0, at_most=MAX_STRENGTH)] = 1.0
    """Factor on `strength` for Gaussian noise; 0 leaves it out."""

    def __post_init__(self) -> None:
        check_legal(self)

    @property
    def changes_something(self) -> bool:
        """Whether any kind of augmentation is left."""
        return self.strength > 0 and max(self.geometry, self.elastic, self.intensity, self.noise) > 0


def build_augment(config: AugmentConfig) -> Augment | None:
    """Return augment(image, mask, seed) -> (image, mask), or None if the config leaves every kind out.

    Image and mask get the same geometric transform, the mask by nearest neighbour; only the image changes grey levels.
    The result depends on the arguments alone, not on earlier calls or a global generator, and the inputs are not
    changed. Several threads may call the function, but it cannot be pickled: build it in the process that uses it.
    """
    if not config.changes_something:
        return None
    # OpenCV's own threads gain at most 0.03 ms on a slice of 50 kB (measured) and would take cores from torch.
    cv2.setNumThreads(0)
    transforms = _transforms(config)
    lock = threading.Lock()  # a transform keeps its generator and its last parameters

    def augment(image: Image, mask: Mask, seed: int) -> tuple[Image, Mask]:
        data = {"image": image, "mask": mask}
        # Compose.set_random_seed gives all transforms one seed: all then draw the same first number and are applied
        # together or not at all (200 of 200 draws, albumentations 2.0.8). So each transform gets a seed of its own. One
        # that is left out keeps its place, so that the others draw what they would draw beside it.
        seeds = np.random.SeedSequence(seed).generate_state(len(transforms))
        with lock:
            for transform, transform_seed in zip(transforms, seeds, strict=True):
                if transform:
                    transform.set_random_seed(int(transform_seed))
                    data = transform(**data)
        return data["image"], data["mask"]

    return augment


def _transforms(config: AugmentConfig) -> list:
    """Return every transform in its place; None for those that are left out."""
    # The import takes 1.7 s and needs the [search] extra; a command line only needs the config above.
    # The variable stops albumentations from looking for a newer version on the network during the import.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A

    kinds = (config.geometry, config.elastic, config.intensity, config.noise)
    geometry, elastic, intensity, noise = (config.strength * kind for kind in kinds)
    gamma = 1.35**intensity
    affine = A.Affine(
        rotate=(-12 * geometry, 12 * geometry),
        translate_percent=(-0.05 * geometry, 0.05 * geometry),
        scale=(1 - 0.1 * geometry, 1 + 0.1 * geometry),
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        p=0.8,
    )
    # Displacements of about 2 pixels at strength 1. It is the most expensive transform, so it is rare.
    bend = A.ElasticTransform(
        alpha=100 * elastic, sigma=8, mask_interpolation=cv2.INTER_NEAREST, p=min(1.0, 0.2 * elastic)
    )
    return [
        A.HorizontalFlip(p=0.5) if geometry else None,
        affine if geometry else None,
        bend if elastic else None,
        A.RandomGamma(gamma_limit=(100 / gamma, 100 * gamma), p=0.5) if intensity else None,
        A.RandomBrightnessContrast(brightness_limit=0.05 * intensity, contrast_limit=0.2 * intensity, p=0.5)
        if intensity
        else None,
        A.GaussNoise(std_range=(0.005 * noise, 0.02 * noise), p=min(1.0, 0.2 * noise)) if noise else None,
    ]
