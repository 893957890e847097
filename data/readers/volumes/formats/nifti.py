"""Read a NIfTI file, and write a mask as one.

A file without qform and sform is taken as LAS, as nibabel does. nibabel interprets headers, affines and scaling. The
bytes are read here, and no more of them than the header promises: nibabel would allocate and inflate before it checks.
Whether a file is compressed is seen from its first bytes, because files are renamed more often than they are packed.
"""

import gzip
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from data import atomic
from data.errors import DataError, bad_file
from data.patient import size_text
from data.readers.first_bytes import NUM_BYTES, what_it_is
from data.readers.image_header import count_product
from data.readers.volumes.formats.grid import import_nibabel, to_file_order
from data.readers.volumes.formats.raw import RawVolume, check_sides, without_values

MAX_OFFSET_BYTES = 2**24  # the part before the voxels takes kilobytes; more is a damaged header, or a bomb
MAX_GZIP_RATIO = 1032  # the most that deflate reaches (https://zlib.net/zlib_tech.html)

SUFFIX = re.compile(r"\.nii(?P<gz>\.gz)?$", re.IGNORECASE)
_MM = {1: 1e3, 3: 1e-3}  # NIFTI_UNITS_METER and _MICRON; all else is mm, or not said
_GZIP = b"\x1f\x8b"


def read_nifti(path: Path) -> RawVolume:
    """Return the volume in a file: of one channel, or of several if the file has a fourth side.

    Values that are not finite are as they are in the file.

    Raises:
        BadFiles: The file is damaged, holds more or less than it promises, or holds no volume of real numbers.
        DataError: nibabel is not installed.
    """
    with _open(path) as stream:
        header, shape = _read_header(path, stream)
        values = _read_values(path, stream, header, shape)
    zooms = np.array(header.get_zooms()[:3], float) * _MM.get(int(header["xyzt_units"]) % 8, 1.0)
    is_known = np.isfinite(zooms).all() and zooms.min() > 0
    return RawVolume(
        values=values,
        affine=header.get_best_affine().astype(float),
        zooms_mm=tuple(zooms.tolist()) if is_known else None,
    )


def read_nifti_geometry(path: Path) -> RawVolume:
    """Return the volume in a file as its header describes it, with zeros for values.

    Raises:
        BadFiles: The header is damaged, or that of no volume.
        DataError: nibabel is not installed.
    """
    with _open(path) as stream:
        header, shape = _read_header(path, stream)
    return without_values(shape, header.get_best_affine().astype(float))


def write_nifti(path: Path, labels: Shaped[np.ndarray, "slices height width"], like: Path) -> None:
    """Write a volume of labels on the slices that `to_grid` makes of an image, whole or not at all.

    Args:
        path: Ends in .nii or .nii.gz.
        labels: Of an integer type; booleans are written as 0 and 1 in uint8.
        like: The image whose axes, shape and affine the file gets.

    Raises:
        DataError: path has another suffix, the volume and the image differ in size, or nibabel is not installed.
        BadFiles: The image cannot be read.
    """
    if not (suffix := SUFFIX.search(path.name)):
        raise DataError(f"mask file {path} must end in .nii or .nii.gz.")
    nibabel = import_nibabel()
    with _open(like) as stream:
        header, shape = _read_header(like, stream)
    labels = labels.astype(np.uint8) if labels.dtype == bool else labels
    values = to_file_order(labels, shape[:3], like, header.get_best_affine())
    header.set_data_shape((*shape[:3], *(1 for _ in header.get_data_shape()[3:])))
    header.set_data_dtype(labels.dtype)
    header.set_slope_inter(1, 0)
    header.set_data_offset(0)  # "directly behind the header": the image's extensions are not copied
    header["cal_min"] = header["cal_max"] = 0  # the image's window would hide the mask in a viewer
    image = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    content = image(values.reshape(header.get_data_shape()), header.get_best_affine(), header).to_bytes()
    atomic.write(path, gzip.compress(content, mtime=0) if suffix["gz"] else content, sync=False)


def count_values(path: Path) -> int:
    """Return how many values a file's header promises; 0 if the header is not NIfTI, so that reading refuses it.

    Raises:
        BadFiles: The header is damaged, or a side is below 1.
    """
    nibabel = import_nibabel()
    with _open(path) as stream:
        head = stream.read(540)
        if head[344:348] == b"n+1\0":
            return count_product(path, *nibabel.Nifti1Header(head[:348], check=False).get_data_shape())
        if head[4:8] == b"n+2\0":
            return count_product(path, *nibabel.Nifti2Header(head, check=False).get_data_shape())
    return 0


def _read_header(path: Path, stream: BufferedIOBase) -> tuple[Any, tuple[int, ...]]:
    """Return the header, and the sides of the volume with its channels, if it has more than one."""
    nibabel, head = import_nibabel(), stream.read(540)
    if head[344:348] == b"n+1\0":
        header = nibabel.Nifti1Header(head[:348], check=False)
    elif head[4:8] == b"n+2\0" and len(head) == 540:
        header = nibabel.Nifti2Header(head, check=False)
    else:
        known = what_it_is(head[:NUM_BYTES])
        raise bad_file(
            path, known or "is not NIfTI in one file: its header has no n+1 or n+2; copy it again or convert it"
        )
    shape = header.get_data_shape()
    channels = [side for side in shape[3:] if side != 1]
    if len(shape) < 3 or len(channels) > 1:
        raise bad_file(
            path,
            f"is {size_text(shape) or 'one number'}, but must have 3 dimensions, or 4 of which the last are channels; "
            "save each volume as a file",
        )
    sides = (*shape[:3], *channels)
    check_sides(path, sides)
    return header, sides


def _read_values(path: Path, stream: BufferedIOBase, header: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return the voxels in the order of the file: integers as stored, or float32 with the file's scaling."""
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise bad_file(path, f"holds voxels of type {header.get_value_label('datatype')}, but must hold real numbers")
    offset = max(int(header["vox_offset"]), header.single_vox_offset)
    promised = offset + math.prod(shape) * dtype.itemsize
    most = path.stat().st_size * (MAX_GZIP_RATIO if isinstance(stream, gzip.GzipFile) else 1)
    stream.seek(0)
    # One byte more than promised reveals an excess, and makes gzip verify its checksum.
    content = stream.read(promised + 1) if promised <= most and offset <= MAX_OFFSET_BYTES else b""
    if len(content) != promised:
        what = "more" if len(content) > promised else "less"
        raise bad_file(path, f"holds {what} than the {promised} bytes that its header promises; copy it again")
    values = np.frombuffer(content, dtype, offset=offset).reshape(shape, order="F")
    values = import_nibabel().volumeutils.apply_read_scaling(values, *header.get_slope_inter())
    return values.astype(np.float32) if values.dtype.kind == "f" else values


@contextmanager
def _open(path: Path) -> Iterator[BufferedIOBase]:
    """Open a file, and turn whatever gzip, numpy and nibabel raise for a damaged file into BadFiles."""
    try:
        if not path.is_file():
            raise bad_file(path, "is missing, or is a folder or a device; put the file there")
        with path.open("rb") as file:
            first = file.read(NUM_BYTES)
        if not first:
            raise bad_file(path, what_it_is(first))
        opened = gzip.open if first.startswith(_GZIP) else open
        with opened(path, "rb") as stream, np.errstate(all="ignore"):
            yield stream
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise bad_file(path, f"cannot be read as NIfTI ({type(error).__name__}: {error}); copy it again") from error
