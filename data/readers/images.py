"""Read and write slices that are image files: an image with its mask in training, an image alone in prediction."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from jaxtyping import Bool, Shaped, UInt8

from data import atomic
from data.errors import BadFiles, bad_file
from data.patient import SliceFiles, kind_of, size_text
from data.readers.image_file import FORMAT_OF_SUFFIX, as_mask, read_pixels
from data.readers.image_header import count_values
from data.readers.reader import FileKind

TIFF = (".tif", ".tiff")
_ITU_R_601 = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, kw_only=True)
class ReadPair:
    """A function that decodes the image and the mask of a slice; unlike a closure, it can be pickled."""

    labels: tuple[int, ...] = ()
    """Mask values that are tumour; empty where masks hold 0 and 1, or 0 and 255."""

    channels: tuple[int, ...] = ()
    """Indices of the image's channels to take, from 0; empty for all."""

    grayscale: bool = False
    """Whether red, green and blue become one channel, weighted as ITU-R BT.601 does."""

    def __call__(self, files: SliceFiles) -> tuple[Shaped[np.ndarray, "h w channels"], Bool[np.ndarray, "h w"]]:
        """Return the image, of the file's own type, and the tumour mask; both of height h and width w.

        Raises:
            BadFiles: With a problem for the image, the mask or both.
        """
        parts, problems = [], []
        for read, path in ((self.image, files.image), (self._mask, files.mask)):
            try:
                parts.append(read(path))
            except BadFiles as error:
                problems += error.problems
        if problems:
            raise BadFiles("a slice cannot be used:", problems)
        image, mask = parts
        if mask.shape != image.shape[:2]:
            size, of_image = map(size_text, (mask.shape, image.shape[:2]))
            raise bad_file(files.mask, f"the mask is {size}, but its image is {of_image}; both must have one size")
        return image, mask

    def _mask(self, path: Path) -> np.ndarray:
        return as_mask(path, read_pixels(path), self.labels)

    def image(self, path: Path) -> Shaped[np.ndarray, "height width channels"]:
        """Return the image alone.

        Raises:
            BadFiles: With one problem.
        """
        image = np.atleast_3d(read_pixels(path))
        if max(self.channels, default=0) >= image.shape[2]:
            asked = f"--channels asks for number {max(self.channels)}, counted from 0"
            raise bad_file(path, f"has {image.shape[2]} channel(s), but {asked}; choose another")
        image = image[..., self.channels] if self.channels else image
        if not self.grayscale or image.shape[2] == 1:
            return np.ascontiguousarray(image)
        if image.shape[2] != 3:
            raise bad_file(path, f"has {image.shape[2]} channels, but --grayscale needs 1 or 3; choose with --channels")
        grey = image @ _ITU_R_601
        return (grey if image.dtype.kind == "f" else np.rint(grey)).astype(image.dtype)[..., None]


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


def write_image(path: Path, pixels: UInt8[np.ndarray, "height width *channels"]) -> None:
    """Write a TIFF or PNG as the suffix says, grey or RGB, whole or not at all."""
    if path.suffix.lower() in TIFF:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels, photometric="minisblack" if pixels.ndim == 2 else "rgb")
        content = buffer.getvalue()
    else:
        content = cv2.imencode(path.suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()
    atomic.write(path, content, sync=False)


def _read(paths: Sequence[Path], channels: tuple[int, ...], grayscale: bool) -> tuple[np.ndarray, None]:
    return stack_slices(paths, ReadPair(channels=channels, grayscale=grayscale).image), None


def _write_mask(stem: Path, mask: Bool[np.ndarray, "height width"], image: Path) -> Path:
    suffix = image.suffix if image.suffix.lower() in TIFF else ".png"  # JPEG would blur the outline
    path = stem.with_name(stem.name + suffix)
    write_image(path, mask.astype(np.uint8) * 255)
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
