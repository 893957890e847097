"""From a slice of any size to the network's input and back; training, prediction and export share these functions.

Statistics are those of the patient's own volume: MR intensities have no unit, and gain differs from scanner to scanner.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

# A pixel belongs to the head when any channel exceeds this share of its 99th percentile. Air is below 2 % in the LGG
# slices, grey matter above 25 %; the percentile instead of the maximum ignores single bright vessels.
HEAD_THRESHOLD = 0.1
HEAD_PERCENTILE = 0.99

# In grey levels; a constant channel would otherwise divide by zero.
MIN_STD = 1.0


def fit_image(
    image: UInt8[np.ndarray, "height width channels"], size: int
) -> UInt8[np.ndarray, "{size} {size} channels"]:
    """Returns the image padded to a centred square with zeros, then resized: area average down, linear up."""
    square = _pad_to_square(image)
    return _resize(square, size, cv2.INTER_AREA if size < len(square) else cv2.INTER_LINEAR)


def fit_mask(mask: Bool[np.ndarray, "height width"], size: int) -> Bool[np.ndarray, "{size} {size}"]:
    """Returns the mask padded and resized like its image; down, a pixel is tumour when at least half of it was."""
    square = _pad_to_square(mask[..., None].astype(np.float32))
    # NEAREST_EXACT samples at pixel centres, as INTER_LINEAR does for the image; INTER_NEAREST would shift the mask.
    interpolation = cv2.INTER_AREA if size < len(square) else cv2.INTER_NEAREST_EXACT
    return _resize(square, size, interpolation)[..., 0] >= 0.5


def unfit(
    probability: Float32[np.ndarray, "size size"], height: int, width: int
) -> Float32[np.ndarray, "{height} {width}"]:
    """Returns the probability at the slice's own size: resized linearly to the padded square, the padding cut off."""
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = _resize(probability[..., None], side, cv2.INTER_LINEAR)[..., 0]
    return square[top : top + height, left : left + width].copy()


def volume_statistics(
    images: UInt8[np.ndarray, "slices height width channels"],
) -> tuple[Float32[np.ndarray, " channels"], Float32[np.ndarray, " channels"]]:
    """Returns mean and standard deviation of every channel over the head's pixels of the whole volume, in grey levels.

    The head is where any channel exceeds 0.1 of its 99th percentile over the volume. A standard deviation is at least
    1.0. A volume that is black everywhere has mean 0 and standard deviation 1. Training and prediction both call this
    after `fit_image`.
    """
    num_channels = images.shape[3]
    thresholds = [HEAD_THRESHOLD * _percentile(images[..., c]) for c in range(num_channels)]
    head = np.zeros(images.shape[:3], bool)
    for c in range(num_channels):
        head |= images[..., c] > thresholds[c]
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
    """Returns (image - mean) / std with channels first, as a view of memory in which channels are last.

    That is the layout torch calls channels_last: `torch.from_numpy` takes it over without a copy.
    """
    result = np.subtract(images, mean[:, None, None, :], dtype=np.float32)
    result /= std[:, None, None, :]
    return result.transpose(0, 3, 1, 2)


def _pad_to_square(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return np.pad(image, ((top, side - height - top), (left, side - width - left), (0, 0)))


def _resize(square: np.ndarray, size: int, interpolation: int) -> np.ndarray:
    if len(square) == size:
        return square
    resized = cv2.resize(square, (size, size), interpolation=interpolation)
    return resized.reshape(size, size, square.shape[2])  # cv2 drops the axis of a single channel


def _percentile(values: UInt8[np.ndarray, "..."]) -> int:
    counts = np.bincount(values.ravel(), minlength=256).cumsum()
    return int(np.searchsorted(counts, HEAD_PERCENTILE * counts[-1]))
