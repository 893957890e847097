"""Read the file of an exported model, and check it before a runtime opens it.

A runtime parses, folds constants and allocates memory while it loads, so a foreign or damaged file is refused first.
Nothing is unpickled or unpacked here.
"""

from pathlib import Path

from model.inference.protobuf import NotProtobuf, fields
from model.manifest import check_content
from model.settings import ModelError, Settings

MODEL_NAME = "model.onnx"
METADATA_KEY = "tumour_search"

MAX_BYTES = 2**31
"""Limit of Protobuf, and so of ONNX in one file; the largest network that a search can find takes a tenth of it."""

_FOREIGN = {
    b"PK": "a zip archive, like PyTorch's checkpoints",
    b"\x80": "a pickle, like PyTorch's old checkpoints",
    b"\x1f\x8b": "gzip",
    b"\x89HDF": "HDF5, like Keras's models",
    b"<": "XML, like OpenVINO's own models",
}
"""First bytes of files that are often mistaken for a model; no ONNX file begins with any of them."""

MAX_PARTS = 2000
"""Most fields of a model besides those of its graph, such as entries of its metadata; it has about ten."""

MAX_SETTINGS_BYTES = 2**20
"""Largest text of settings; they take some hundred bytes."""

_METADATA, _KEY, _VALUE = 14, 1, 2  # ModelProto.metadata_props, StringStringEntryProto.key and .value in onnx.proto

# The numbers of fields that lead from a model to its tensors, by the kind of message; and in a tensor, the field that
# says that its values are in another file.
_PATHS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL = 13  # TensorProto.external_data
MAX_DEPTH = 64
"""How deep graphs and attributes may lie in each other."""


def model_file(path: Path) -> Path:
    """Return the path of a model's file, given that path or the folder that holds the file.

    Raises:
        ModelError: There is no such file.
    """
    file = path / MODEL_NAME if path.is_dir() else path
    if not file.is_file():
        raise ModelError(f"model {file} does not exist; name an exported {MODEL_NAME}, or the folder that holds it")
    return file


def read_model(file: Path) -> tuple[bytes, Settings]:
    """Return the content of a model's file, and the settings in it.

    Raises:
        ModelError: The file cannot be read, is too large or damaged, is not the one that its manifest names, was not
            exported by this program, or has values in other files.
    """
    try:
        content = _read(file)
    except OSError as error:
        raise ModelError(f"model {file} cannot be read ({error.strerror or error}); check it and the disk") from error
    check_content(file, content)
    settings = settings_of(content, f"model {file}")
    if _names_other_files(content):
        raise ModelError(
            f"model {file} has weights in other files, and may name any file of this machine; export it as one file"
        )
    return content, settings


def settings_of(content: bytes, name: str = "the model") -> Settings:
    """Return the settings in the bytes of a model's file.

    Args:
        name: How error messages call the model.

    Raises:
        ModelError: The bytes are not ONNX, or were not exported by this program.
    """
    try:
        metadata = _metadata(content)
    except (NotProtobuf, UnicodeDecodeError) as error:
        raise ModelError(f"{name} cannot be read as ONNX: it is damaged or not a model; export it again") from error
    if METADATA_KEY not in metadata:
        raise ModelError(
            f"{name} has no {METADATA_KEY} settings: this program did not export it; use one that it exported"
        )
    if (num_bytes := len(metadata[METADATA_KEY])) > MAX_SETTINGS_BYTES:
        raise ModelError(f"{name} has settings of {num_bytes} bytes, but they have at most {MAX_SETTINGS_BYTES}")
    try:
        return Settings.from_json(metadata[METADATA_KEY])
    except ModelError as error:
        raise ModelError(f"{name}: {error}; export it again with this version") from error


def _read(file: Path) -> bytes:
    num_bytes = file.stat().st_size
    if num_bytes > MAX_BYTES:
        raise ModelError(f"model {file} has {num_bytes} bytes, but at most {MAX_BYTES} are legal: it is not a model")
    with file.open("rb", buffering=0) as stream:  # a buffered file would copy both parts to join them
        first = stream.read(8)
        for start, what in _FOREIGN.items():
            if first.startswith(start):
                raise ModelError(f"model {file} is {what}, and is not opened; name an exported {MODEL_NAME}")
        stream.seek(0)
        return stream.readall()


def _metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of an ONNX file.

    Raises:
        NotProtobuf: The fields do not end where the file ends.
    """
    parts = fields(memoryview(content), most=MAX_PARTS)
    entries = [dict(fields(field, most=MAX_PARTS)) for number, field in parts if number == _METADATA]
    return {str(entry.get(_KEY, b""), "utf-8"): str(entry.get(_VALUE, b""), "utf-8") for entry in entries}


def _names_other_files(content: bytes) -> bool:
    """Return whether an ONNX file says that values of a tensor are in other files, or cannot be searched for that.

    ONNX Runtime takes such a name relative to the working directory if the model came as bytes.
    """
    if b"location" not in content:  # the key under which the name of the file is stored
        return False
    left = [(memoryview(content), "model", 0)]
    try:
        while left:
            message, kind, depth = left.pop()
            if depth > MAX_DEPTH:
                return True
            for number, field in fields(message):
                if kind == "tensor" and number == _EXTERNAL:
                    return True
                if inner := _PATHS.get(kind, {}).get(number):
                    left.append((field, inner, depth + 1))
    except NotProtobuf:
        return True
    return False
