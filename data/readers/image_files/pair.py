"""Read the image and the mask of a slice, or of all slices of a patient."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from data.errors import BadFiles, bad_file
from data.patient import SliceFiles, size_text
from data.readers.image_files.mask import as_mask
from data.readers.image_files.page import Page
from data.readers.image_files.picture import image_of, read_pages
from data.readers.reader import LayoutOptions, Reader
from data.regions import WHOLE, Region, parse_regions

_ITU_R_601 = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, kw_only=True)
class ReadPair:
    """A function that decodes the image and the mask of a slice; unlike a closure, it can be pickled."""

    regions: tuple[Region, ...] = WHOLE
    """The regions whose masks are returned; without labels where masks hold 0 and 1, 0 and 255, or the like."""

    channels: tuple[int, ...] = ()
    """Indices of the image's channels to take, from 0; empty for all."""

    grayscale: bool = False
    """Whether red, green and blue become one channel, weighted as ITU-R BT.601 does."""

    @classmethod
    def of_layout(cls, options: LayoutOptions, reader: Reader) -> "ReadPair":
        """Return the function that reads slices of a layout as its options say.

        Raises:
            DataError: The layout has no such channel, or the regions are not legal.
        """
        return cls(
            regions=parse_regions(options.regions, options.labels),
            channels=reader.channel_indices(options.channels),
            grayscale=options.grayscale,
        )

    def __call__(self, files: SliceFiles) -> tuple[Any, ...]:
        """Return the image "height width channels", of the file's own type, and the mask "height width" as bits; then
        notes on how the mask was read. If the files are stacks, both have the slices as their first axis.

        Raises:
            BadFiles: With a problem for the image, the mask or both.
        """
        parts, problems = [], []
        for read, path in ((self.images, files.image), (self._masks, files.mask)):
            try:
                parts.append(None if path is None else read(path, may_be_stack=files.is_whole))
            except BadFiles as error:
                problems += error.problems
        if problems:
            raise BadFiles("a slice cannot be used:", problems)
        images, found = parts
        if files.mask is None:
            masks, notes = np.zeros(images.shape[:3], np.uint8), ()
        else:
            masks, notes = found
            _check_sizes(files.mask, masks, images)
        return (images, masks, *notes) if len(images) > 1 else (images[0], masks[0], *notes)

    def _masks(self, path: Path, *, may_be_stack: bool = False) -> tuple[np.ndarray, tuple[str, ...]]:
        masks = [as_mask(path, page, self.regions) for page in read_pages(path, may_be_stack=may_be_stack)]
        notes = tuple(dict.fromkeys(mask.note for mask in masks if mask.note))
        return np.stack([mask.bits for mask in masks]), notes

    def image(self, path: Path) -> Shaped[np.ndarray, "height width channels"]:
        """Return the image of one slice alone.

        Raises:
            BadFiles: With one problem.
        """
        return self.images(path)[0]

    def images(self, path: Path, *, may_be_stack: bool = False) -> Shaped[np.ndarray, "slices height width channels"]:
        """Return the slices in an image file.

        Raises:
            BadFiles: With one problem.
        """
        pages = read_pages(path, may_be_stack=may_be_stack)
        return np.stack([self._channels(path, page) for page in pages])

    def _channels(self, path: Path, page: Page) -> Shaped[np.ndarray, "height width channels"]:
        image = np.atleast_3d(image_of(path, page))
        if max(self.channels, default=0) >= image.shape[2]:
            asked = f"--channels asks for number {max(self.channels)}, counted from 0"
            raise bad_file(path, f"has {image.shape[2]} channel(s), but {asked}; choose another")
        image = image[..., self.channels] if self.channels else image
        if not self.grayscale or image.shape[2] == 1:
            return np.ascontiguousarray(image)
        if image.shape[2] != 3:
            raise bad_file(
                path,
                f"has {image.shape[2]} channels, but --grayscale needs 1 or 3; choose --channels instead",
            )
        grey = image @ _ITU_R_601
        return (grey if image.dtype.kind == "f" else np.rint(grey)).astype(image.dtype)[..., None]


def _check_sizes(path: Path, masks: np.ndarray, images: np.ndarray) -> None:
    if len(masks) != len(images):
        raise bad_file(
            path,
            f"the mask has {len(masks)} pages, but its image has {len(images)}; save a mask page for each image page",
        )
    if masks[0].shape != images[0].shape[:2]:
        size, of_image = map(size_text, (masks[0].shape, images[0].shape[:2]))
        raise bad_file(path, f"the mask is {size}, but its image is {of_image}; both must have one size")
