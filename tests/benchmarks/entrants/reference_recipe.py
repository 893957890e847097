"""The recipe of brain-segmentation-pytorch, written plainly: its preprocessing, sampling, augmentation, network, loss.

Reference: Buda, Saha, Mazurowski 2019, doi:10.1016/j.compbiomed.2019.05.002, and
https://github.com/mateuszbuda/brain-segmentation-pytorch.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

FEATURES = 32
LEARNING_RATE = 1e-4
SMOOTH = 1.0
SCALE, ANGLE, FLIP = 0.05, 15, 0.5
DARK = 0.1
"""Share of a volume's largest value below which a pixel becomes 0 and counts as outside of the head."""

EMPTY_SHARE = 0.1
"""Weight that the slices of a patient share evenly when one is drawn; the rest goes by the area of the tumour."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A volume as the network sees it."""

    images: np.ndarray
    """float32 "slices size size channels"."""

    box: tuple[slice, slice, slice]
    """The part of the volume around the head."""

    def fit(self, masks: np.ndarray) -> np.ndarray:
        """Return masks of the whole volume, fitted like the images, as float32 "slices size size"."""
        size = self.images.shape[1]
        cut = [_to_square(mask.astype(np.float32)) for mask in masks[self.box]]
        return np.stack([cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST_EXACT) for mask in cut])


def prepare(images: np.ndarray, size: int) -> Prepared:
    """Return a volume cut to its head, padded to squares, resized, clipped to percentiles and standardised."""
    lit = np.where(images < images.max() * DARK, 0, images)
    box = _box(lit.max(axis=3))
    squares = [_to_square(image.astype(np.float32)) for image in lit[box]]
    resized = [cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC) for image in squares]
    fitted = np.stack([image.reshape(size, size, -1) for image in resized])
    low, high = np.percentile(fitted, (10, 99))
    fitted = fitted.clip(low, high)
    std = fitted.std(axis=(0, 1, 2))
    standardised = (fitted - fitted.mean(axis=(0, 1, 2))) / np.where(std > 0, std, 1)
    return Prepared(images=standardised.astype(np.float32), box=box)


def draw_weights(masks: np.ndarray) -> np.ndarray:
    """Return the probability with which each slice of a patient is drawn."""
    area = masks.sum(axis=(1, 2))
    area = area + EMPTY_SHARE * area.mean() if area.any() else np.ones(len(area))
    return area / area.sum()


def change(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a slice and its mask, scaled, rotated and perhaps mirrored alike."""
    size, middle = len(mask), (len(mask) - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), rng.uniform(-ANGLE, ANGLE), rng.uniform(1 - SCALE, 1 + SCALE))
    image = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR).reshape(image.shape)
    mask = cv2.warpAffine(mask, matrix, (size, size), flags=cv2.INTER_NEAREST)
    return (image[:, ::-1], mask[:, ::-1]) if rng.random() < FLIP else (image, mask)


def dice_loss(probability: Tensor, masks: Tensor) -> Tensor:
    """Return 1 - Dice over all pixels of a batch together."""
    overlap = (probability * masks).sum()
    return 1 - (2 * overlap + SMOOTH) / (probability.sum() + masks.sum() + SMOOTH)


class UNet(nn.Module):
    """Four poolings, two convolutions with batch norm at each level, and transposed convolutions on the way up."""

    def __init__(self, in_channels: int, *, features: int = FEATURES) -> None:
        super().__init__()
        widths = [features * 2**level for level in range(5)]
        self.down = nn.ModuleList(map(_block, [in_channels, *widths], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[:-1])
        self.merge = nn.ModuleList(_block(2 * width, width) for width in widths[:-1])
        self.head = nn.Conv2d(features, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        levels = []
        for block in self.down:
            images = block(nn.functional.max_pool2d(images, 2) if levels else images)
            levels.append(images)
        for level in reversed(range(len(self.up))):
            images = self.merge[level](torch.cat([self.up[level](images), levels[level]], dim=1))
        return self.head(images)


def _block(num_in: int, num_out: int) -> nn.Sequential:
    layers = []
    for channels in (num_in, num_out):
        layers += [nn.Conv2d(channels, num_out, 3, padding=1, bias=False), nn.BatchNorm2d(num_out), nn.ReLU()]
    return nn.Sequential(*layers)


def _box(values: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the box around everything that is not 0; the whole array if all is 0."""
    ranges = []
    for axis in range(3):
        found = np.flatnonzero(values.any(axis=tuple(other for other in range(3) if other != axis)))
        ranges.append(slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(None))
    return ranges[0], ranges[1], ranges[2]


def _to_square(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    edges = [(top, side - height - top), (left, side - width - left)]
    return np.pad(image, edges + [(0, 0)] * (image.ndim - 2))
