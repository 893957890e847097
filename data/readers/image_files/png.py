"""Read a PNG."""

import struct
import zlib
from typing import BinaryIO

import numpy as np

from data.readers.image_files.jpeg import decode
from data.readers.image_files.page import Page, check_size, with_alpha
from data.readers.image_header import IllegalImage, PngHeader, png_header

_GREY, _PALETTE, _GREY_ALPHA = 0, 3, 4


def read(file: BinaryIO) -> list[Page]:
    """Return the slice in a PNG.

    Raises:
        IllegalImage: It is truncated, damaged, too large, or animated.
    """
    content = file.read()
    header, chunks = _check(content)
    pixels = decode(content)
    alpha = None
    if pixels.shape[2:] == (4,):
        page = with_alpha(pixels)
        pixels, alpha = page.pixels, page.alpha
    if header.colour in (_GREY, _GREY_ALPHA) and pixels.ndim == 3:
        pixels = pixels[..., 0]
    if header.colour == _PALETTE:
        palette = np.frombuffer(chunks.get(b"PLTE", b""), np.uint8).reshape(-1, 3)
        return [Page(pixels=pixels, alpha=alpha, indices=_indices(content), palette=palette)]
    if header.colour == _GREY and header.depth < 8:
        # OpenCV spreads grey values of 1, 2 and 4 bits over 0 to 255, which would change labels.
        pixels = pixels // (255 // (2**header.depth - 1))
    return [Page(pixels=pixels, alpha=alpha)]


def _check(content: bytes) -> tuple[PngHeader, dict[bytes, bytes]]:
    """Return the header and the small chunks of a PNG whose chunks are all there and undamaged."""
    view, at, kind, header = memoryview(content), 8, b"", PngHeader(0, 0, 0, 0)
    chunks: dict[bytes, bytes] = {}
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, at) if at + 12 <= len(content) else (0, b"")
        end = at + 12 + length
        if not kind or end > len(content):
            raise IllegalImage("is truncated (there is no IEND chunk at its end); copy it again")
        if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", content, end - 4)[0]:
            raise IllegalImage(f"is damaged (the checksum of chunk {kind.decode('latin-1')!r} is wrong); copy it again")
        if at == 8:
            header = png_header(content)
            check_size(header.height, header.width)
        if kind == b"acTL" and (num_frames := struct.unpack_from(">I", content, at + 8)[0]) > 1:
            raise IllegalImage(f"holds {num_frames} pages, but must hold one slice; split it into files")
        if kind in (b"PLTE", b"tRNS"):
            chunks[kind] = content[at + 8 : end - 4]
        at = end
    return header, chunks


def _indices(content: bytes) -> np.ndarray:
    """Return the indices in a PNG with a palette: decoders only return colours, so each index becomes a grey."""
    out, at, kind = bytearray(content[:8]), 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, at)
        chunk = content[at : at + 12 + length]
        if kind == b"PLTE":
            greys = bytes(value for index in range(length // 3) for value in (index, index, index))
            chunk = chunk[:8] + greys + struct.pack(">I", zlib.crc32(kind + greys))
        out += b"" if kind == b"tRNS" else chunk
        at += 12 + length
    return decode(bytes(out))[..., 0]
