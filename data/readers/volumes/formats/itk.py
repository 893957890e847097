"""Read and write the volumes of ITK's tools: MetaImage (.mha, .mhd) and NRRD (.nrrd), with SimpleITK."""

import math
import re
import tempfile
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Shaped

from data.errors import BadFiles, DataError, bad_file
from data.patient import size_text
from data.readers.first_bytes import NUM_BYTES, what_it_is
from data.readers.volumes.formats.grid import to_file_order
from data.readers.volumes.formats.meta_header import MAX_HEADER_BYTES, MetaHeader, parse_meta_header
from data.readers.volumes.formats.raw import RawVolume, check_sides, without_values

_NRRD_FILE = re.compile(rb"^[^\S\r\n]*data ?file:", re.MULTILINE | re.IGNORECASE)
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_itk(path: Path) -> RawVolume:
    """Return the volume in a file: of one channel, or of several if each voxel is a vector.

    Raises:
        BadFiles: The file is damaged, or holds no volume of real numbers.
        DataError: SimpleITK is not installed.
    """
    reader, sides, meta = _read_header(path)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _cannot_read(path, error) from error
    stored = import_itk().GetArrayFromImage(image)  # z, y, x and perhaps channels
    if stored.dtype.kind not in "iuf":
        raise bad_file(path, f"holds voxels of type {image.GetPixelIDTypeAsString()}, but must hold real numbers")
    if meta and meta.is_compressed:
        _check_inflated(path, meta, stored)
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
    reader, sides, _ = _read_header(path)
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
    reader, sides, _ = _read_header(like)
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


def _read_header(path: Path) -> tuple[Any, tuple[int, ...], MetaHeader | None]:
    """Return SimpleITK's reader, which has read the header only; the sides of the volume with its channels; and the
    header of a MetaImage."""
    try:
        with path.open("rb") as file:
            head = file.read(MAX_HEADER_BYTES)
    except OSError as error:
        raise bad_file(path, f"cannot be read ({error.strerror}); check that it exists and may be read") from error
    if known := what_it_is(head[:NUM_BYTES]):
        raise bad_file(path, known)
    if path.suffix.lower() == ".nrrd":
        _check_data_file(path, head)
        meta = None
    else:
        meta = parse_meta_header(path, head)
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
    return reader, sides, meta


def _check_data_file(path: Path, head: bytes) -> None:
    """Check that the voxels of an NRRD are in the file itself; a header that a stranger sends may name any file.

    Raises:
        BadFiles: They may be elsewhere, or the first bytes do not say where they are.
    """
    header, ended, _ = head.replace(b"\r\n", b"\n").partition(b"\n\n")
    if not ended:
        raise bad_file(path, f"its header is damaged, or longer than {MAX_HEADER_BYTES} bytes; save it anew")
    if _NRRD_FILE.search(header):
        raise bad_file(path, "its header names a file elsewhere for its voxels; save header and voxels as one file")


def _check_inflated(path: Path, header: MetaHeader, stored: np.ndarray) -> None:
    """Compare the voxels that SimpleITK has read from a compressed MetaImage with those that are in it.

    Raises:
        BadFiles: They differ, or the header says that there are fewer bytes of them.
    """
    data = path if header.is_local else path.with_name(header.file)
    inflate = zlib.decompressobj(wbits=47)  # zlib or gzip
    try:
        with data.open("rb") as file:
            file.seek(header.num_bytes if header.is_local else 0)
            compressed = file.read()
        content = inflate.decompress(compressed, stored.nbytes + 1)
        num_bytes = len(compressed) - len(inflate.unused_data)
        # If SimpleITK reads fewer bytes than there are, old memory may have the right voxels by chance.
        is_whole = float(header.fields.get("CompressedDataSize", num_bytes)) >= num_bytes
        is_same = is_whole and content in (stored.tobytes(), stored.byteswap().tobytes())
    except (OSError, zlib.error):
        is_same = False
    if not is_same:
        raise bad_file(path, "its compressed voxels are damaged, or its header does not describe them; copy it again")


def _affine(image: Any) -> np.ndarray:
    """Return the affine to right, anterior, superior; ITK's directions are left, posterior, superior."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (-1,))[:9].reshape(3, 3) * np.array(image.GetSpacing())[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return _LPS_TO_RAS @ affine


def _cannot_read(path: Path, error: RuntimeError) -> BadFiles:
    reason = str(error).strip().splitlines()[-1]
    return bad_file(path, f"cannot be read by SimpleITK ({reason}); copy it again or convert it")
