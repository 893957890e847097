"""PNG files by hand, whose headers may promise something else than their pixels."""

import struct
import zlib
from collections.abc import Iterable, Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk with its length and its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bytes(
    rows: Sequence[Iterable[int]],
    *,
    width: int,
    height: int | None = None,
    depth: int = 8,
    colour: int = 0,
    before: bytes = b"",
) -> bytes:
    """Return a PNG with these rows of bytes, and with chunks that come before the pixels.

    The header has the given width, height (by default the number of rows), bits per sample and type of colour, whether
    they fit the rows or not.
    """
    header = struct.pack(">IIBBBBB", width, len(rows) if height is None else height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    chunks = png_chunk(b"IHDR", header) + before + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    return SIGNATURE + chunks
