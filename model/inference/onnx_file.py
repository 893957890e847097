"""Read the file of an exported model, and check it before a runtime opens it.

A runtime parses, folds constants and allocates memory while it loads, so a foreign or damaged file is refused first.
Nothing is unpickled or unpacked here.
"""

from pathlib import Path

from model.inference.onnx_graph import is_sorted, names_other_files
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
            exported by this program, has values in other files, or a graph that cannot be computed.
    """
    try:
        content = _read(file)
    except OSError as error:
        raise ModelError(f"model {file} cannot be read ({error.strerror or error}); check it and the disk") from error
    check_content(file, content)
    settings = settings_of(content, f"model {file}")
    if names_other_files(content):
        raise ModelError(
            f"model {file} has weights in other files, and may name any file of this machine; export it as one file"
        )
    if not is_sorted(content):
        raise ModelError(f"model {file} has nodes that wait for each other, so it is damaged; export it again")
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
