"""A slice as a file stores it, before anybody decides what its colours, its palette and its transparency mean."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Integer, Shaped, UInt8

from data.readers.image_header import IllegalImage

# Larger than any MR slice (512 px is common, 1024 px rare) and small enough that one decoded slice fits in memory.
MAX_SIDE, MAX_CHANNELS, MAX_BYTES = 16384, 64, 2**30


@dataclass(frozen=True, kw_only=True)
class Page:
    """One slice of an image file."""

    pixels: Shaped[np.ndarray, "height width *channels"]
    """Without alpha; the colours that a palette shows."""

    alpha: Shaped[np.ndarray, "height width"] | None = None
    indices: Integer[np.ndarray, "height width"] | None = None
    """Indices into the palette, if there is one."""

    palette: UInt8[np.ndarray, "colours 3"] | None = None
    is_lossy: bool = False
    """Whether its compression changes values, as JPEG does."""

    def plain(self) -> "Page":
        """Return the slice with pixels of a type that all parts of the program take.

        Raises:
            IllegalImage: Values are not finite, or too large.
        """
        return replace(self, pixels=of_plain_type(self.pixels))

    def is_opaque(self) -> bool:
        """Return whether there is no alpha, or one that is opaque everywhere."""
        return self.alpha is None or bool((self.alpha == _opaque(self.alpha)).all())

    def hides_nothing(self) -> bool:
        """Return whether alpha is opaque, but where the pixels are black."""
        if self.alpha is None:
            return True
        is_black = self.pixels == 0 if self.pixels.ndim == 2 else (self.pixels == 0).all(axis=2)
        return bool(((self.alpha == _opaque(self.alpha)) | ((self.alpha == 0) & is_black)).all())


def _opaque(alpha: np.ndarray) -> int:
    return np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1


def with_alpha(pixels: Shaped[np.ndarray, "height width channels"], *, is_lossy: bool = False) -> Page:
    """Return a slice whose last channel is alpha."""
    colours = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :-1]
    return Page(pixels=colours, alpha=pixels[..., -1], is_lossy=is_lossy)


def of_plain_type(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as an integer of 8, 16 or 32 bits or as float32, in this machine's byte order.

    Raises:
        IllegalImage: Values are not finite, or too large.
    """
    if pixels.dtype.itemsize == 8 and pixels.dtype.kind in "iu":
        low, high = pixels.min(initial=0), pixels.max(initial=0)
        kinds = [kind for kind in (np.int32, np.uint32) if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max]
        if not kinds:
            raise IllegalImage(f"its values reach {max(high, -low)}, but 32 bits are legal; divide them")
        pixels = pixels.astype(kinds[0])
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            pixels = pixels.astype(np.float32)
        if num_illegal := np.count_nonzero(~np.isfinite(pixels)):
            raise IllegalImage(f"{num_illegal} values are NaN, infinite or above 3.4e38; replace them by finite values")
    return np.ascontiguousarray(pixels, np.uint8 if pixels.dtype == bool else pixels.dtype.newbyteorder("="))


def check_size(height: int, width: int, *, num_bytes: int = 1, num_pages: int = 1) -> None:
    """Check the size of a file's slices, of num_bytes a pixel.

    Raises:
        IllegalImage: A side is too long, or all of them take too much memory.
    """
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise IllegalImage(
            f"is {height} x {width}, but 1 to {MAX_SIDE} pixels a side are legal; resize or copy it again"
        )
    if (total := height * width * num_bytes * num_pages) > MAX_BYTES:
        raise IllegalImage(f"takes {total / 2**30:.1f} GiB decoded, but at most 1 GiB is legal; resize it")
