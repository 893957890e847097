"""Read the fields of Protobuf messages without a schema, and so without the package that knows one.

Reference: https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterator

MAX_FIELDS = 100_000
"""More fields than any message of a model has: a graph has one for each node."""


class NotProtobuf(Exception):
    """The bytes are not a Protobuf message."""


def fields(message: memoryview, *, most: int = MAX_FIELDS) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the bytes of each field of a message.

    Args:
        most: How many fields the message may have; one of nothing but fields of two bytes would take minutes.

    Raises:
        NotProtobuf: The fields do not end where the message ends, or are too many.
    """
    at = 0
    for _ in range(most):
        if at >= len(message):
            return
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _, end = _varint(message, at)
        elif kind == 2:
            length, at = _varint(message, at)
            end = at + length
        elif kind in (1, 5):
            end = at + (8 if kind == 1 else 4)
        else:
            raise NotProtobuf(f"field of kind {kind} at byte {at}")
        if end > len(message):
            raise NotProtobuf(f"field {number} ends after the message")
        yield number, message[at:end]
        at = end
    if at < len(message):
        raise NotProtobuf(f"more than {most} fields")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return an integer stored as 7 bits a byte, lowest first, and the index of the byte after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
    raise NotProtobuf(f"no integer at byte {at}")
