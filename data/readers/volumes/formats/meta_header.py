"""The header of a MetaImage (.mha, .mhd), checked before SimpleITK reads it.

SimpleITK 2.5 believes what the header says: `NDims = -1` ends its process or lets it hang, and a wrong size of the
compressed voxels gives those that lay in its memory before. So only headers of the usual form are handed to it.

Reference: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data.errors import bad_file

MAX_HEADER_BYTES = 2**16
"""Longest header that is read."""

_BLANKS = rb"[^\S\r\n]*"
_FILE = re.compile(rb"^%sElementDataFile%s[=:]%s([^\r\n]*)\r?\n?" % (_BLANKS, _BLANKS, _BLANKS), re.MULTILINE)
_LINE = re.compile(r"\s*([^=:]{1,100}?)\s*[=:]\s*(.{0,4000}?)\s*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_VECTORS = ("DimSize", "ElementSpacing", "ElementSize", "Offset", "Position", "Origin", "CenterOfRotation")
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_COUNTS = ("ElementNumberOfChannels", "CompressedDataSize", "HeaderSize", "HeaderSizePerSlice")


@dataclass(frozen=True, kw_only=True)
class MetaHeader:
    """What the header says."""

    fields: Mapping[str, str]
    """Each value by its name, but for the file of the voxels."""

    file: str
    """The file of the voxels; LOCAL if it is the file of the header."""

    num_bytes: int
    """Where the header ends, and the voxels begin if they are in the same file."""

    @property
    def is_local(self) -> bool:
        """Whether the voxels are in the file of the header."""
        return self.file.upper() == "LOCAL"

    @property
    def is_compressed(self) -> bool:
        """Whether the voxels are compressed."""
        return self.fields.get("CompressedData", "")[:1].lower() in ("t", "y", "1")


def parse_meta_header(path: Path, head: bytes) -> MetaHeader:
    """Return the header of a MetaImage, given the first bytes of its file.

    Raises:
        BadFiles: It is damaged, unusual, too long, or names voxels that are not in a file of the same folder.
    """
    if (match := _FILE.search(head)) is None:
        raise bad_file(path, f"its header is damaged, or longer than {MAX_HEADER_BYTES} bytes; save it anew")
    header = MetaHeader(
        fields=_fields(path, head[: match.start()].decode("latin-1")),
        file=match[1].strip().decode("latin-1"),
        num_bytes=match.end(),
    )
    # The line of the file is the last of the header; one in another spelling before it is there to deceive.
    deceives = any(name.lower() == "elementdatafile" for name in header.fields)
    if deceives or not (header.is_local or _is_beside(path, header.file)):
        raise bad_file(path, "its header names a file elsewhere for its voxels; save header and voxels as one file")
    return header


def _fields(path: Path, text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        found = _LINE.fullmatch(line)
        if found is None or found[1].lower() in (name.lower() for name in fields):
            raise bad_file(path, f"its header has a line that is damaged, or there twice ({line[:40]!r}); save it anew")
        fields[found[1]] = found[2]
    num_dimensions = fields.get("NDims", "")
    if not re.fullmatch("[1-4]", num_dimensions):
        raise bad_file(path, f"its header says NDims = {num_dimensions[:40]}, but must say 3; save it anew")
    lengths = dict.fromkeys(_VECTORS, int(num_dimensions)) | dict.fromkeys(_MATRICES, int(num_dimensions) ** 2)
    for name, length in (lengths | dict.fromkeys(_COUNTS, 1)).items():
        values = fields.get(name, "1 " * length).split()
        if len(values) != length or not all(map(_NUMBER.fullmatch, values)):
            raise bad_file(path, f"its header says {name} = {fields[name][:40]}, but must say {length} number(s)")
    return fields


def _is_beside(path: Path, name: str) -> bool:
    """Return whether an .mhd that names this file has its voxels in one file of its folder."""
    is_list = name.upper().startswith("LIST") or "%" in name  # of files, whose names follow
    return path.suffix.lower() == ".mhd" and not is_list and re.fullmatch(r"[^/\\\s]+", name) is not None
