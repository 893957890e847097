"""Read and write slices that are image files: an image with its mask in training, an image alone in prediction."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile
from jaxtyping import Shaped, UInt

from data import atomic
from data.errors import bad_file
from data.patient import kind_of
from data.readers.image_files.pair import ReadPair
from data.readers.image_files.picture import FORMAT_OF_SUFFIX
from data.readers.image_header import count_values
from data.readers.reader import FileKind, ImageOptions

TIFF = (".tif", ".tiff")


def stack_slices(
    paths: Sequence[Path], read: Callable[[Path], np.ndarray]
) -> Shaped[np.ndarray, "slices height width channels"]:
    """Return the slices of one patient as a volume.

    Raises:
        BadFiles: A slice differs from the first one in size or type, or cannot be read.
    """
    images = []
    for path in paths:
        image = read(path)
        images.append(image)
        if (image.shape, image.dtype) != (images[0].shape, images[0].dtype):
            reason = (
                f"is {kind_of(image)}, but {paths[0].name} of the same patient is {kind_of(images[0])}: the slices of "
                "a volume must have one size and type; predict them one by one"
            )
            raise bad_file(path, reason)
    return np.stack(images)


def write_image(path: Path, pixels: UInt[np.ndarray, "height width *channels"]) -> None:
    """Write a TIFF or PNG of 8 or 16 bits as the suffix says, grey or RGB, whole or not at all."""
    if path.suffix.lower() in TIFF:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels, photometric="minisblack" if pixels.ndim == 2 else "rgb")
        content = buffer.getvalue()
    else:
        content = cv2.imencode(path.suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()
    atomic.write(path, content, sync=False)


def write_stack(path: Path, slices: UInt[np.ndarray, "slices height width"]) -> None:
    """Write grey slices as the pages of a TIFF, whole or not at all."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        for one in slices:
            tiff.write(one, photometric="minisblack", contiguous=False, metadata=None)
    atomic.write(path, buffer.getvalue(), sync=False)


def _read(paths: Sequence[Path], options: ImageOptions) -> tuple[np.ndarray, None]:
    read = ReadPair(channels=options.channels, grayscale=options.grayscale)
    if len(paths) == 1:
        return read.images(paths[0], may_be_stack=True), None
    return stack_slices(paths, read.image), None


def _write_mask(stem: Path, mask: Shaped[np.ndarray, "*slices height width"], image: Path) -> Path:
    pixels = mask.astype(np.uint8) * 255 if mask.dtype == bool else mask
    if mask.ndim == 3:
        path = stem.with_name(f"{stem.name}.tif")
        write_stack(path, pixels)
        return path
    suffix = image.suffix if image.suffix.lower() in TIFF else ".png"  # JPEG would blur the outline
    path = stem.with_name(stem.name + suffix)
    write_image(path, pixels)
    return path


IMAGES = FileKind(
    name="images",
    noun="image",
    suffixes={suffix: f"image/{name.lower()}" for suffix, name in FORMAT_OF_SUFFIX.items()},
    holds="slice",
    layout=(
        "expected a patient's folder with slices called <PATIENT>_<NUMBER>.tif, a folder of such folders, or one image"
    ),
    read=_read,
    write_mask=_write_mask,
    count_values=count_values,
)
