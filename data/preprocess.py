"""Turn a volume into the network's input, and predictions back to its size; in training and in prediction alike.

Intensities are taken relative to the patient's own volume, because MR intensities have no unit and the gain differs
from scanner to scanner.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped, UInt8

from data.errors import UserError
from data.head import find_head

# Smallest standard deviation, in grey levels, so that a constant channel causes no division by zero.
MIN_STD = 1.0

# Quantiles to which values are clipped; nnU-Net and BraTS pipelines use the same.
WINDOW = (0.005, 0.995)

# If at least this share of all voxels has the same value, that value is background: air, or a stripped skull.
BACKGROUND_SHARE = 0.1

MAX_CONTEXT = 5

MAX_CV2_CHANNELS = 4  # OpenCV 5.0 averages areas of no more


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a patient's slices are prepared for the network; the model records it and prediction repeats it."""

    size: int = 128
    """Side in pixels that slices are resized to, after padding them to a square."""

    crop: Literal["none", "head"] = "none"
    """Whether slices are first cut to the box around the head in the whole volume: `head` or `none`."""

    intensities: Literal["auto", "full", "percentile"] = "auto"
    """How values become the 256 grey levels of the pack. `full`: from the volume's lowest value to its highest;
    `percentile`: from the 0.5th percentile to the 99.5th; `auto`: 8-bit slices stay as they are, and others use
    `percentile`. The background, one value that at least a tenth of all voxels have, becomes 0."""

    normalisation: Literal["zscore", "unit"] = "zscore"
    """`zscore`: zero mean and unit deviation over the head of the volume; `unit`: grey levels from 0 to 1."""

    context_slices: int = 0
    """Number of neighbours above and as many below that are added to a slice as channels (2.5-D). At the ends of a
    volume, the last slice is repeated."""

    def __post_init__(self) -> None:
        for name, legal in (
            ("crop", ("none", "head")),
            ("intensities", ("auto", "full", "percentile")),
            ("normalisation", ("zscore", "unit")),
        ):
            if getattr(self, name) not in legal:
                raise UserError(f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(legal)}")
        for name, low, high in (("size", 1, 1024), ("context_slices", 0, MAX_CONTEXT)):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise UserError(f"{name} is {value!r}, but must be a whole number from {low} to {high}")

    @property
    def num_slices_seen(self) -> int:
        """Number of slices whose channels the network sees at once: one slice and its neighbours."""
        return 2 * self.context_slices + 1


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A volume at the network's size, with what is needed to bring predictions back to its own size."""

    images: UInt8[np.ndarray, "slices size size channels"]
    mean: Float32[np.ndarray, " channels"]
    std: Float32[np.ndarray, " channels"]
    shape: tuple[int, int]
    """Height and width of the original slices."""

    box: tuple[int, int, int, int]
    """Top, left, height and width of the part that cropping kept."""

    def fit_mask(self, mask: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "size size"]:
        """Return a mask of the volume at the network's size, fitted like the images; each bit by itself."""
        size, cut = self.images.shape[1], _cut(mask, self.box)
        bits = range(max(1, int(cut.max(initial=0)).bit_length()))
        fitted = [fit_mask(cut >> bit & 1 > 0, size).astype(np.uint8) << bit for bit in bits]
        return np.bitwise_or.reduce(fitted)

    def unfit(self, probability: Float32[np.ndarray, "size size"]) -> Float32[np.ndarray, "height width"]:
        """Return a probability at the slice's own size; it is 0 outside of the box."""
        top, left, height, width = self.box
        restored = np.zeros(self.shape, np.float32)
        restored[top : top + height, left : left + width] = unfit(probability, height, width)
        return restored


def prepare(images: Shaped[np.ndarray, "slices height width channels"], preprocessing: Preprocessing) -> Prepared:
    """Return a patient's slices at the network's size, not yet normalised by `mean` and `std`."""
    levels = to_grey_levels(images, preprocessing.intensities)
    box = head_box(levels) if preprocessing.crop == "head" else (0, 0, *levels.shape[1:3])
    fitted = np.stack([fit_image(_cut(image, box), preprocessing.size) for image in levels])
    mean, std = np.zeros(fitted.shape[3], np.float32), np.full(fitted.shape[3], 255, np.float32)
    if preprocessing.normalisation == "zscore":
        mean, std = volume_statistics(fitted)
    return Prepared(images=fitted, mean=mean, std=std, shape=images.shape[1:3], box=box)


def to_grey_levels(
    images: Shaped[np.ndarray, "slices height width channels"], intensities: str
) -> UInt8[np.ndarray, "slices height width channels"]:
    """Return the volume in 256 grey levels, converting each channel by itself; see `Preprocessing.intensities`."""
    if images.dtype == np.uint8 and intensities == "auto":
        return images
    shares = (0.0, 1.0) if intensities == "full" else WINDOW
    channels = [_to_grey_levels(images[..., channel], shares) for channel in range(images.shape[3])]
    return np.stack(channels, axis=-1)


def _to_grey_levels(values: np.ndarray, shares: tuple[float, float]) -> np.ndarray:
    found, counts = np.unique(values.ravel()[:: max(1, values.size // 100_000)], return_counts=True)
    inside = values != found[counts.argmax()]
    lowest = 1  # 0 is kept for the background
    if np.mean(inside) > 1 - BACKGROUND_SHARE:
        inside, lowest = np.ones(values.shape, bool), 0
    if not inside.any():
        return np.zeros(values.shape, np.uint8)
    # float64, because the difference of two float32 may be too small for a float32.
    low, high = np.quantile(values[inside].astype(np.float64), shares)
    if not high > low:
        return np.where(inside, 255, 0).astype(np.uint8)
    levels = lowest + (values.astype(np.float64) - low) / (high - low) * (255 - lowest)
    return np.where(inside, levels.clip(lowest, 255).round(), 0).astype(np.uint8)


def head_box(images: UInt8[np.ndarray, "slices height width channels"]) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the box around the head in all slices; the whole slice without a head."""
    head = find_head(images).any(axis=0)
    if not head.any():
        return 0, 0, *images.shape[1:3]
    rows, columns = np.flatnonzero(np.any(head, axis=1)), np.flatnonzero(np.any(head, axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def neighbours(
    slices: Int64[np.ndarray, " chosen"], patient_of_slice: Int64[np.ndarray, " slices"], context_slices: int
) -> Int64[np.ndarray, "chosen seen"]:
    """Return the indices of each slice and its neighbours, lowest first; a patient's last slice is repeated."""
    patients = patient_of_slice[slices]
    first = np.searchsorted(patient_of_slice, patients, side="left")
    last = np.searchsorted(patient_of_slice, patients, side="right") - 1
    offsets = np.arange(-context_slices, context_slices + 1)
    return np.clip(slices[:, None] + offsets, first[:, None], last[:, None])


def as_channels(
    images: UInt8[np.ndarray, "chosen seen height width channels"],
) -> UInt8[np.ndarray, "chosen height width stacked"]:
    """Return each slice and its neighbours as one image: all channels of the lowest slice, then those of the next."""
    chosen, _, height, width, _ = images.shape
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1, 4).reshape(chosen, height, width, -1))


def fit_image(
    image: UInt8[np.ndarray, "height width channels"], size: int
) -> UInt8[np.ndarray, "{size} {size} channels"]:
    """Return the image padded with zeros to a centred square and resized: by area average down, linearly up."""
    square = _pad_to_square(image)
    return _resize(square, size, cv2.INTER_AREA if size < len(square) else cv2.INTER_LINEAR)


def fit_mask(mask: Bool[np.ndarray, "height width"], size: int) -> Bool[np.ndarray, "{size} {size}"]:
    """Return the mask padded and resized like its image; downwards, a pixel is tumour if at least half of it was."""
    square = _pad_to_square(mask[..., None].astype(np.float32))
    # NEAREST_EXACT samples at pixel centres, as INTER_LINEAR does for the image; INTER_NEAREST would shift the mask.
    interpolation = cv2.INTER_AREA if size < len(square) else cv2.INTER_NEAREST_EXACT
    return _resize(square, size, interpolation)[..., 0] >= 0.5


def unfit(
    probability: Float32[np.ndarray, "size size"], height: int, width: int
) -> Float32[np.ndarray, "{height} {width}"]:
    """Return the probability at the slice's own size: resized linearly to the padded square, without the padding."""
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = _resize(probability[..., None], side, cv2.INTER_LINEAR)[..., 0]
    return square[top : top + height, left : left + width].copy()


def volume_statistics(
    images: UInt8[np.ndarray, "slices height width channels"],
) -> tuple[Float32[np.ndarray, " channels"], Float32[np.ndarray, " channels"]]:
    """Return the mean and standard deviation of every channel over the head in the whole volume, in grey levels.

    The head is where any channel exceeds 0.1 of its 99th percentile over the volume. The standard deviation is at least
    1.0. A volume that is black everywhere has mean 0 and standard deviation 1. Training and prediction both call this
    after `fit_image`.
    """
    num_channels = images.shape[3]
    head = find_head(images)
    if not head.any():
        return np.zeros(num_channels, np.float32), np.ones(num_channels, np.float32)
    # From 256 counts instead of the pixels: exact, and no float copy of a whole volume.
    counts = np.stack([np.bincount(images[..., c][head], minlength=256) for c in range(num_channels)])
    levels = np.arange(256)
    mean = counts @ levels / counts.sum(axis=1)
    variance = (counts * (levels - mean[:, None]) ** 2).sum(axis=1) / counts.sum(axis=1)
    return mean.astype(np.float32), np.maximum(np.sqrt(variance), MIN_STD).astype(np.float32)


def normalise(
    images: UInt8[np.ndarray, "batch height width channels"],
    mean: Float32[np.ndarray, "batch channels"],
    std: Float32[np.ndarray, "batch channels"],
) -> Float32[np.ndarray, "batch channels height width"]:
    """Return (image - mean) / std with channels first, as a view of memory in which channels are last.

    torch calls this layout channels_last; `torch.from_numpy` uses it without a copy.
    """
    batch, height, width, channels = images.shape
    rows = images.reshape(batch, height, width * channels).astype(np.float32)
    # Whole rows: NumPy takes eight times as long to repeat three numbers for every pixel.
    rows -= np.tile(mean, width)[:, None]
    rows /= np.tile(std, width)[:, None]
    return rows.reshape(images.shape).transpose(0, 3, 1, 2)


def _cut(array: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    top, left, height, width = box
    return array[top : top + height, left : left + width]


def _pad_to_square(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return np.pad(image, ((top, side - height - top), (left, side - width - left), (0, 0)))


def _resize(square: np.ndarray, size: int, interpolation: int) -> np.ndarray:
    if len(square) == size:
        return square
    if square.shape[2] > MAX_CV2_CHANNELS:
        starts = range(0, square.shape[2], MAX_CV2_CHANNELS)
        parts = [_resize(square[..., start : start + MAX_CV2_CHANNELS], size, interpolation) for start in starts]
        return np.concatenate(parts, axis=2)
    resized = cv2.resize(square, (size, size), interpolation=interpolation)
    return resized.reshape(size, size, square.shape[2])  # cv2 drops the axis of a single channel
