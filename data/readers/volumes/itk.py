"""Read and write the volumes of ITK's tools: MetaImage (.mha, .mhd) and NRRD (.nrrd), with SimpleITK."""

import math
import re
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Shaped

from data.errors import BadFiles, DataError, bad_file
from data.patient import size_text
from data.readers.first_bytes import NUM_BYTES, what_it_is
from data.readers.volumes.grid import to_file_order
from data.readers.volumes.raw import RawVolume, check_sides, without_values

MAX_HEADER_BYTES = 2**16
_BLANKS = rb"[^\S\r\n]*"
_META_FILE = re.compile(rb"^%sElementDataFile%s[=:]%s([^\r\n]*)" % (_BLANKS, _BLANKS, _BLANKS), re.MULTILINE)
_NRRD_FILE = re.compile(rb"^%sdata ?file:%s([^\r\n]*)" % (_BLANKS, _BLANKS), re.MULTILINE | re.IGNORECASE)
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_itk(path: Path) -> RawVolume:
    """Return the volume in a file: of one channel, or of several if each voxel is a vector.

    Raises:
        BadFiles: The file is damaged, or holds no volume of real numbers.
        DataError: SimpleITK is not installed.
    """
    reader, sides = _read_header(path)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _cannot_read(path, error) from error
    stored = import_itk().GetArrayFromImage(image)  # z, y, x and perhaps channels
    if stored.dtype.kind not in "iuf":
        raise bad_file(path, f"holds voxels of type {image.GetPixelIDTypeAsString()}, but must hold real numbers")
    values = np.moveaxis(stored, (0, 1, 2), (2, 1, 0))
    values = values.astype(np.float32) if values.dtype.kind == "f" else values
    assert values.shape == sides
    spacing = tuple(map(float, image.GetSpacing()))
    return RawVolume(values=values, affine=_affine(image), zooms_mm=(spacing[0], spacing[1], spacing[2]))


def read_itk_geometry(path: Path) -> RawVolume:
    """Return the volume in a file as its header describes it, with zeros for values.

    Raises:
        BadFiles: The header is damaged, or promises more than is legal.
        DataError: SimpleITK is not installed.
    """
    reader, sides = _read_header(path)
    return without_values(sides, _affine(reader))


def write_itk(path: Path, labels: Shaped[np.ndarray, "slices height width"], like: Path) -> None:
    """Write a volume of labels on the slices that `to_grid` makes of an image, whole or not at all.

    Args:
        path: Ends in .mha or .nrrd.
        labels: Of an integer type; booleans are written as 0 and 1 in uint8.
        like: The image whose axes, shape and geometry the file gets.

    Raises:
        DataError: The volume and the image differ in size, or SimpleITK is not installed.
        BadFiles: The image cannot be read.
    """
    reader, sides = _read_header(like)
    labels = labels.astype(np.uint8) if labels.dtype == bool else labels
    values = to_file_order(labels, sides[:3], like, _affine(reader))
    image = import_itk().GetImageFromArray(np.ascontiguousarray(values.transpose()))
    image.SetOrigin(reader.GetOrigin())
    image.SetSpacing(reader.GetSpacing())
    image.SetDirection(reader.GetDirection())
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:  # SimpleITK goes by the suffix
        partial = Path(folder) / path.name
        import_itk().WriteImage(image, str(partial), useCompression=True)
        partial.replace(path)


def count_values(path: Path) -> int:
    """Return how many values a file's header promises.

    Raises:
        BadFiles: The header is damaged, or promises more than is legal.
        DataError: SimpleITK is not installed.
    """
    return math.prod(_read_header(path)[1])


def import_itk() -> ModuleType:
    """Return SimpleITK, which is imported at its first use because that takes time."""
    try:
        import SimpleITK
    except ImportError as error:
        raise DataError("reading DICOM, .mha, .mhd and .nrrd needs SimpleITK: pip install -e '.[volumes]'") from error
    return SimpleITK


def _read_header(path: Path) -> tuple[Any, tuple[int, ...]]:
    """Return SimpleITK's reader, which has read the header only, and the sides of the volume with its channels."""
    try:
        with path.open("rb") as file:
            head = file.read(MAX_HEADER_BYTES)
    except OSError as error:
        raise bad_file(path, f"cannot be read ({error.strerror}); check that it exists and may be read") from error
    if known := what_it_is(head[:NUM_BYTES]):
        raise bad_file(path, known)
    _check_data_file(path, head)
    reader = import_itk().ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _cannot_read(path, error) from error
    size, channels = tuple(reader.GetSize()), reader.GetNumberOfComponents()
    while len(size) > 3 and size[-1] == 1:
        size = size[:-1]
    if len(size) != 3:
        raise bad_file(path, f"is {size_text(size)}, but must have 3 dimensions; save each volume as a file")
    sides = (*size, channels) if channels > 1 else size
    check_sides(path, sides)
    return reader, sides


def _check_data_file(path: Path, head: bytes) -> None:
    """Check that the voxels are in the file itself or, of an .mhd, in one of the same folder.

    A header that a stranger sends may name any file of this machine, and may do so in several ways.

    Raises:
        BadFiles: They may be elsewhere, or the first bytes do not say where they are.
    """
    if path.suffix.lower() == ".nrrd":
        header, ended, _ = head.replace(b"\r\n", b"\n").partition(b"\n\n")
        is_safe = not _NRRD_FILE.search(header)
    else:  # this line is the last of the header; a line in another spelling before it is there to deceive
        match = ended = _META_FILE.search(head)
        is_safe = match is not None and b"elementdatafile" not in head[: match.start()].lower()
        is_safe = is_safe and match is not None and _is_beside(path, match[1].strip())
    if not ended:
        raise bad_file(path, f"its header is damaged, or longer than {MAX_HEADER_BYTES} bytes; save it anew")
    if not is_safe:
        raise bad_file(path, "its header names a file elsewhere for its voxels; save header and voxels as one file")


def _is_beside(path: Path, name: bytes) -> bool:
    """Return whether an .mha or .mhd that names this file has its voxels in itself or in one file of its folder."""
    if name.upper() == b"LOCAL":
        return True
    is_list = name.upper().startswith(b"LIST") or b"%" in name  # of files, whose names follow
    return path.suffix.lower() == ".mhd" and not is_list and re.fullmatch(rb"[^/\\\s]+", name) is not None


def _affine(image: Any) -> np.ndarray:
    """Return the affine to right, anterior, superior; ITK's directions are left, posterior, superior."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (-1,))[:9].reshape(3, 3) * np.array(image.GetSpacing())[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return _LPS_TO_RAS @ affine


def _cannot_read(path: Path, error: RuntimeError) -> BadFiles:
    reason = str(error).strip().splitlines()[-1]
    return bad_file(path, f"cannot be read by SimpleITK ({reason}); copy it again or convert it")
