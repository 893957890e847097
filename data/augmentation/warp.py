"""Mirror, rotate, shift, scale and bend a training slice and its mask alike, at random.

It draws and computes what albumentations' HorizontalFlip, Affine and ElasticTransform do, pixel by pixel
(tests/data/augmentation/test_warp.py), in less time: most of theirs is spent beside OpenCV.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

DEGREES, SHIFT, SCALE = 12.0, 0.05, 0.1
"""The largest rotation, shift (as a share of the side) and change of scale, at strength 1."""

MIRRORED, MOVED, BENT = 0.5, 0.8, 0.2
"""The share of slices that are mirrored, moved and bent. Bending takes the longest, so it is rare; its share is for
strength 1."""

BEND, SMOOTHNESS = 100.0, 8.0
"""Factor on the random displacement of each pixel, at strength 1, and the deviation of the blur that makes it smooth,
in pixels: displacements of about 2 pixels."""

Image = UInt8[np.ndarray, "height width channels"]
Mask = UInt8[np.ndarray, "height width"]
"""Bits, one for each region (data/regions.py)."""


@dataclass(frozen=True, kw_only=True)
class Warp:
    """How strongly slices are moved and bent."""

    geometry: float
    """Factor on rotation, shift and scale; 0 leaves them out, and mirroring."""

    elastic: float
    """Factor on bending; 0 leaves it out."""

    def __call__(self, image: Image, mask: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
        """Return a slice and its mask, changed alike. What is drawn for one kind does not depend on the others."""
        mirrored, moved, bent, angle, right, down, wider, higher = rng.random(8)
        if self.geometry and mirrored < MIRRORED:
            image, mask = image[:, ::-1], mask[:, ::-1]
        if self.geometry and moved < MOVED:
            degrees, shift, scale = (self.geometry * most for most in (DEGREES, SHIFT, SCALE))
            matrix = affine_matrix(
                mask.shape,
                degrees=_between(-degrees, degrees, angle),
                shifts=(_between(-shift, shift, right), _between(-shift, shift, down)),
                scales=(_between(1 - scale, 1 + scale, wider), _between(1 - scale, 1 + scale, higher)),
            )
            image, mask = move(image, mask, matrix)
        if self.elastic and bent < BENT * self.elastic:
            noise = 2 * rng.random((2, *mask.shape), np.float32) - 1
            image, mask = bend(image, mask, displacements(noise, BEND * self.elastic))
        return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def affine_matrix(
    sides: tuple[int, ...], *, degrees: float, shifts: tuple[float, float], scales: tuple[float, float]
) -> Float64[np.ndarray, "2 3"]:
    """Return the matrix that scales, rotates around the middle and shifts by whole pixels.

    Args:
        sides: Height and width in pixels.
        shifts: To the right and down, as shares of width and height.
        scales: Across and down.
    """
    height, width = sides
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    linear = np.array([[cos * scales[0], sin * scales[1]], [-sin * scales[0], cos * scales[1]]])
    middle = np.array([width / 2 - 0.5, height / 2 - 0.5])
    shift = np.array([int(shifts[0] * width), int(shifts[1] * height)])
    return np.column_stack([linear, middle + shift - linear @ middle])


def move(image: Image, mask: Mask, matrix: Float64[np.ndarray, "2 3"]) -> tuple[Image, Mask]:
    """Return a slice and its mask after an affine map; what comes from outside is 0."""
    size = mask.shape[::-1]
    moved = _by_fours(image, lambda channels: cv2.warpAffine(channels, matrix, size, flags=cv2.INTER_LINEAR))
    return moved, cv2.warpAffine(np.ascontiguousarray(mask), matrix, size, flags=cv2.INTER_NEAREST)


def displacements(
    noise: Float32[np.ndarray, "2 height width"], strength: float
) -> Float32[np.ndarray, "2 height width"]:
    """Return how far each pixel is displaced across and down, in pixels, from noise between -1 and 1."""
    joined = noise.reshape(-1, noise.shape[2])  # as one image, as albumentations blurs them
    blurred = cv2.GaussianBlur(joined, (0, 0), SMOOTHNESS, borderType=cv2.BORDER_REPLICATE)
    blurred *= strength
    return blurred.reshape(noise.shape)


def bend(image: Image, mask: Mask, field: Float32[np.ndarray, "2 height width"]) -> tuple[Image, Mask]:
    """Return a slice and its mask with each pixel taken from where it is displaced to; what is outside is 0."""
    across, down = _grid(*mask.shape) + field
    bent = _by_fours(image, lambda channels: cv2.remap(channels, across, down, cv2.INTER_LINEAR))
    return bent, cv2.remap(np.ascontiguousarray(mask), across, down, cv2.INTER_NEAREST)


def _by_fours(image: Image, change: Callable[[Image], np.ndarray]) -> Image:
    """Return the changed image. OpenCV knows what lies outside for four channels at most; of two it interpolates
    coarsely, so two that are left over are changed one by one."""
    height, width, channels = image.shape
    if channels <= 4:
        return change(np.ascontiguousarray(image)).reshape(image.shape)
    cuts = [*range(4, channels, 4), *([channels - 1] if channels % 4 == 2 else [])]
    parts = [change(np.ascontiguousarray(part)) for part in np.split(image, cuts, axis=2)]
    return np.concatenate([part.reshape(height, width, -1) for part in parts], axis=2)


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


@cache
def _grid(height: int, width: int) -> Float32[np.ndarray, "2 height width"]:
    return np.stack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))
