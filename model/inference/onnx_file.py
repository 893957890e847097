"""The file of an exported model: whether it is one, and what it says of itself, before any runtime opens it.

A runtime parses, folds constants and allocates while it loads; a foreign or damaged file is refused before that.
Nothing is unpickled or unpacked.
"""

from collections.abc import Iterator
from pathlib import Path

from model.manifest import check_content
from model.settings import ModelError, Settings

MODEL_NAME = "model.onnx"
METADATA_KEY = "tumour_search"

MAX_BYTES = 2**31
"""Protobuf, and with it ONNX in one file, ends here; the largest network that a search can find has a tenth of it."""

_NO_MODELS = {
    b"PK": "a zip archive, as PyTorch's checkpoints are",
    b"\x80": "a pickle, as PyTorch's old checkpoints are",
    b"\x1f\x8b": "gzip",
    b"\x89HDF": "HDF5, as Keras's models are",
    b"<": "XML, as OpenVINO's own models are",
}
"""What is often mistaken for a model, by its first bytes; ONNX begins with none of these."""

_METADATA, _KEY, _VALUE = 14, 1, 2  # ModelProto.metadata_props, StringStringEntryProto.key and .value in onnx.proto


def model_file(path: Path) -> Path:
    """Return the file of a model that is named by itself or by its folder.

    Raises:
        ModelError: There is none.
    """
    file = path / MODEL_NAME if path.is_dir() else path
    if not file.is_file():
        raise ModelError(f"model {file} does not exist; name an exported {MODEL_NAME}, or the folder that holds it")
    return file


def read_model(file: Path) -> tuple[bytes, Settings]:
    """Return what a model's file holds, and its settings.

    Raises:
        ModelError: The file is too large, damaged, not what its manifest names, or was not exported by this program.
    """
    num_bytes = file.stat().st_size
    if num_bytes > MAX_BYTES:
        raise ModelError(f"model {file} has {num_bytes} bytes, but at most {MAX_BYTES} are legal: it is no model")
    with file.open("rb", buffering=0) as stream:  # a buffer would be put before the rest by copying both
        first = stream.read(8)
        for start, what in _NO_MODELS.items():
            if first.startswith(start):
                raise ModelError(f"model {file} is {what}, and is not opened; name an exported {MODEL_NAME}")
        stream.seek(0)
        content = stream.readall()
    check_content(file, content)
    try:
        metadata = _metadata(content)
    except ValueError as error:
        raise ModelError(f"model {file} cannot be read as ONNX: it is damaged or no model; export it again") from error
    if METADATA_KEY not in metadata:
        raise ModelError(f"model {file} has no {METADATA_KEY} settings: it is not of this program; export one with it")
    try:
        return content, Settings.from_json(metadata[METADATA_KEY])
    except ModelError as error:
        raise ModelError(f"model {file}: {error}; export it again with this version") from error


def _metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of an ONNX file. Raises ValueError where its fields do not end where the file does.

    Reference: https://protobuf.dev/programming-guides/encoding
    """
    entries = [dict(_fields(field)) for number, field in _fields(memoryview(content)) if number == _METADATA]
    return {str(entry.get(_KEY, b""), "utf-8"): str(entry.get(_VALUE, b""), "utf-8") for entry in entries}


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at < len(message):
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
            raise ValueError(f"field of kind {kind} at byte {at}")
        if end > len(message):
            raise ValueError(f"field {number} ends behind the message")
        yield number, message[at:end]
        at = end


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return a whole number of 7 bits a byte, lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
    raise ValueError(f"no whole number at byte {at}")
