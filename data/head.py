"""Where the head is in a volume, and how much of a mask lies outside of it."""

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

# A pixel belongs to the head if any channel exceeds this share of its 99th percentile. In the LGG slices air is below 2
# % and grey matter above 25 %. Unlike the maximum, the percentile ignores single bright vessels.
HEAD_THRESHOLD = 0.1
HEAD_PERCENTILE = 0.99

MAX_OUTSIDE_SHARE = 0.25
"""A larger share of a tumour outside the head, with its holes filled, is odd: correct masks overshoot the edge by up to
24 % of a slice's tumour in BraTS, and not at all in LGG."""

MAX_SPECK_PIXELS = 10  # a contour of this area is noise in the air and not part of the head


def find_head(
    images: UInt8[np.ndarray, "slices height width channels"],
) -> Bool[np.ndarray, "slices height width"]:
    """Return the mask of the head: pixels where any channel exceeds 0.1 of its 99th percentile over the volume."""
    head = np.zeros(images.shape[:3], bool)
    for channel in range(images.shape[3]):
        head |= images[..., channel] > HEAD_THRESHOLD * _percentile(images[..., channel])
    return head


def num_outside(head: Bool[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]) -> int:
    """Return how many pixels of a slice's mask lie outside of its head, whose holes are filled."""
    if not mask.any():
        return 0
    contours, _ = cv2.findContours(head.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contours = [one for one in contours if cv2.contourArea(one) > MAX_SPECK_PIXELS]
    filled = cv2.drawContours(np.zeros(head.shape, np.uint8), contours, -1, 1, cv2.FILLED)
    return int(np.count_nonzero(mask & (filled == 0)))


def _percentile(values: UInt8[np.ndarray, "..."]) -> int:
    counts = np.bincount(values.ravel(), minlength=256).cumsum()
    return int(np.searchsorted(counts, HEAD_PERCENTILE * counts[-1]))
