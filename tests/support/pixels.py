"""The pixels of an image file, as the readers decode them."""

from pathlib import Path

import numpy as np

from data.readers.image_files.picture import image_of, read_pages


def read_pixels(path: Path) -> np.ndarray:
    """Return the pixels of a file with one slice."""
    return image_of(path, read_pages(path)[0])
