"""The table of all layouts of data; to add one, write a module with a `Reader` and add a row here."""

from data.readers import folder, lgg, phantom
from data.readers.dicom import reader as dicom
from data.readers.reader import FileKind, Reader
from data.readers.volumes import reader as volumes

READERS: dict[str, Reader] = {
    "nifti": volumes.READER,
    "dicom": dicom.READER,
    "folder": folder.READER,
    "lgg": lgg.READER,
    "phantom": phantom.READER,
}
"""Readers by the name that `--data-format`, models and experiments use. If several recognise a folder, the first one
reads it."""

AUTO = "auto"


def data_formats() -> tuple[str, ...]:
    """Return the legal values of `--data-format`."""
    return (AUTO, *(name for name, reader in READERS.items() if reader.recognise))


def file_kinds() -> list[FileKind]:
    """Return the kinds of files that the readers know, each once."""
    kinds = {reader.files.name: reader.files for reader in READERS.values()}
    return list(kinds.values())


def kind_of_file(name: str) -> FileKind | None:
    """Return the kind of file that a name's suffix says; None for a suffix that no reader knows."""
    return next((kind for kind in file_kinds() if kind.suffix_of(name)), None)
