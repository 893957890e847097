"""Random augmentation of a training slice and its mask; the same seed gives the same result on any machine and rank."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import numpy as np

from data.augmentation.warp import Image, Mask, Warp
from data.legal import Range, check_legal

MAX_STRENGTH = 2.0

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
    warp = Warp(geometry=config.strength * config.geometry, elastic=config.strength * config.elastic)
    changes = _grey_level_changes(config)
    lock = threading.Lock()  # a transform keeps its generator and its last parameters

    def augment(image: Image, mask: Mask, seed: int) -> tuple[Image, Mask]:
        # Whether a change is made, and its seed, are drawn here, before all else: so what is left out changes nothing
        # of the others, and a transform that is not applied costs nothing. Compose.set_random_seed would give all
        # transforms one seed, and with it the same first number (200 of 200 draws, albumentations 2.0.8).
        rng = np.random.default_rng(seed)
        chances, seeds = rng.random(len(changes)), rng.integers(2**31, size=len(changes))
        image, mask = warp(image, mask, rng)
        for change, chance, change_seed in zip(changes, chances, seeds, strict=True):
            if chance < change.probability:
                with lock:
                    change.transform.set_random_seed(int(change_seed))
                    image = change.transform(image=image)["image"]
        return image, mask

    return augment


@dataclass(frozen=True, kw_only=True)
class _Change:
    """A change of grey levels, and how often it is made."""

    transform: Any
    probability: float


def _grey_level_changes(config: AugmentConfig) -> list[_Change]:
    """Return every change of grey levels in its order; those that are left out have the probability 0."""
    # The import takes 1.7 s and needs the [search] extra; a command line only needs the config above.
    # The variable stops albumentations from looking for a newer version on the network during the import.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A

    intensity, noise = config.strength * config.intensity, config.strength * config.noise
    gamma, often = 1.35**intensity, 0.5 if intensity else 0.0
    contrast = A.RandomBrightnessContrast(brightness_limit=0.05 * intensity, contrast_limit=0.2 * intensity, p=1)
    return [
        _Change(transform=A.RandomGamma(gamma_limit=(100 / gamma, 100 * gamma), p=1), probability=often),
        _Change(transform=contrast, probability=often),
        _Change(
            transform=A.GaussNoise(std_range=(0.005 * noise, 0.02 * noise), p=1), probability=min(1.0, 0.2 * noise)
        ),
    ]
