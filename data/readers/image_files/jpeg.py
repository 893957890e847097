"""Read a JPEG; and decode what OpenCV decodes."""

from typing import BinaryIO

import cv2
import numpy as np

from data.readers.image_files.page import Page, check_size
from data.readers.image_header import JPEG_END, IllegalImage, jpeg_frame, jpeg_segments


def read(file: BinaryIO) -> list[Page]:
    """Return the slice in a JPEG.

    Raises:
        IllegalImage: It is truncated, damaged, too large, or neither grey nor RGB.
    """
    content = file.read()
    if JPEG_END not in (marker for marker, _ in jpeg_segments(content)):
        raise IllegalImage("is truncated (there is no end marker); copy it again")
    height, width, num_channels = jpeg_frame(content)
    check_size(height, width)
    if num_channels not in (1, 3):
        raise IllegalImage(f"has {num_channels} channels (4 are CMYK), but must be grey or RGB; convert it")
    # A coded block takes at least one bit; libjpeg fills missing blocks with grey.
    if (height // 8) * (width // 8) > 8 * len(content):
        raise IllegalImage(f"is damaged ({height} x {width} pixels do not fit {len(content)} bytes); copy it again")
    return [Page(pixels=decode(content), is_lossy=True)]


def decode(content: bytes) -> np.ndarray:
    """Return the pixels that OpenCV decodes, with channels in the order of the file.

    Raises:
        IllegalImage: OpenCV decodes none.
    """
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise IllegalImage("its pixels are damaged, or encoded in a rare way; copy it again or save it again")
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
