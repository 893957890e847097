"""Read a NIfTI file as axial slices, and write a mask of such slices as a NIfTI file.

A file states the directions of its axes. Every volume is turned into axial slices as radiologists view them: from
inferior to superior, with row 0 anterior and column 0 the patient's right. Oblique volumes are not resampled; each axis
takes the direction that it is closest to. A file without qform and sform is taken as LAS, as nibabel does.

nibabel interprets headers, affines and scaling. The bytes are read here, and no more of them than the header promises:
nibabel would allocate and inflate before it checks.
"""

import gzip
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from data import atomic
from data.errors import BadFiles, DataError, Problem, bad_file
from data.patient import size_text
from data.readers.image_header import count_product

MAX_SIDE, MAX_VOXELS = 16384, 2**29  # 1024 x 1024 x 512: beyond MR of a head, within the memory of a workstation
MAX_OFFSET_BYTES = 2**24  # the part before the voxels takes kilobytes; more is a damaged header, or a bomb
MAX_GZIP_RATIO = 1032  # the most that deflate reaches (https://zlib.net/zlib_tech.html)
AFFINE_TOLERANCE = 1e-3  # mm: more than tools lose by storing float32 or quaternions, far less than a voxel
LABEL_TOLERANCE = 1e-3  # scl_slope is a rounded float32: a scaled label 4 may read as 3.9999998

SUFFIX = re.compile(r"\.nii(?P<gz>\.gz)?$", re.IGNORECASE)
_MM = {1: 1e3, 3: 1e-3}  # NIFTI_UNITS_METER and _MICRON; all else is mm, or not said


class Grid(NamedTuple):
    """The volume in a file."""

    values: np.ndarray  # "slices height width": integers as stored, or float32
    affine: np.ndarray  # of these axes, so equal grids compare equal however their files order the axes
    spacing_mm: tuple[float, float, float] | None


def read_grid(path: Path, *, labels: bool) -> Grid:
    """Return the volume of a file.

    Args:
        labels: Whether the values are labels: they are rounded, and must be whole numbers.

    Raises:
        BadFiles: The file is damaged, holds more or less than it promises, or holds no finite volume of real numbers.
        DataError: nibabel is not installed.
    """
    orientations = import_nibabel().orientations
    with _open(path) as stream:
        header, shape, axes = _read_header(path, stream)
        values = _read_values(path, stream, header, shape)
        if labels:
            if num_bad := int((abs(values - values.round()) > LABEL_TOLERANCE).sum()):
                raise bad_file(
                    path, f"holds {num_bad} label(s) that are not whole numbers; resample it by nearest neighbour"
                )
            values = values.round()
        zooms = np.array(header.get_zooms()[:3], float) * _MM.get(int(header["xyzt_units"]) % 8, 1.0)
        is_known = np.isfinite(zooms).all() and zooms.min() > 0
        affine = header.get_best_affine() @ orientations.inv_ornt_aff(axes, shape)
        spacing_mm = tuple(zooms[np.argsort(axes[:, 0])].tolist()) if is_known else None
        return Grid(orientations.apply_orientation(values, axes), affine, spacing_mm)


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
    values = values.astype(np.float32) if values.dtype.kind == "f" else values
    if num_bad := values.size - int(np.isfinite(values).sum()):
        raise bad_file(path, f"holds {num_bad} voxel(s) that are NaN or infinite, but all must be finite")
    return values


def read_channels(
    paths: Sequence[Path],
) -> tuple[Shaped[np.ndarray, "slices height width channels"], tuple[float, float, float] | None]:
    """Return the volumes of several files on one grid as the channels of one, and the first one's spacing.

    They are of one integer type if all files hold unscaled integers, else float32.

    Raises:
        BadFiles: Files are damaged, hold no finite volume, or differ in their grids; the error lists all of them.
        DataError: nibabel is not installed.
    """
    grids = read_grids(paths)
    return join_channels([grid.values for grid in grids.values()]), grids[paths[0]].spacing_mm


def read_grids(paths: Sequence[Path], *, segmentation: Path | None = None, whose: str = "") -> dict[Path, Grid]:
    """Return the volumes of several files on one grid; the segmentation holds labels.

    Args:
        whose: Words after the number of files in the headline of BadFiles, such as " of patient 7".

    Raises:
        BadFiles: Files are damaged, hold no finite volume, or differ in their grids; the error lists all of them.
        DataError: nibabel is not installed.
    """
    grids: dict[Path, Grid] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            grids[path] = read_grid(path, labels=path == segmentation)
        except BadFiles as error:
            problems += error.problems
            continue
        first = next(iter(grids))
        if reason := difference(grids[path], grids[first]):
            problems.append(Problem(path=path, reason=f"{reason} {first.name}; resample them to one grid"))
    if problems:
        raise BadFiles(f"{len(problems)} file(s){whose} cannot be used:", problems)
    return grids


def join_channels(
    channels: Sequence[Shaped[np.ndarray, "slices height width"]],
) -> Shaped[np.ndarray, "slices height width channels"]:
    """Return volumes as the channels of one, of one integer type if all hold integers, else float32."""
    dtype = np.result_type(*channels)  # float64 for uint64 and int64
    dtype = dtype.newbyteorder("=") if dtype.kind in "iu" else np.float32
    images = np.empty((*channels[0].shape, len(channels)), dtype)  # np.stack would keep the order of the files' axes
    for k, channel in enumerate(channels):
        images[..., k] = channel
    return images


def difference(grid: Grid, first: Grid) -> str:
    """Return how grid differs from first, as text to be followed by the name of first's file; empty if they agree."""
    if grid.values.shape != first.values.shape:
        return f"is {size_text(grid.values.shape)} (slices, rows, columns), but {size_text(first.values.shape)} is"
    off = np.abs(grid.affine - first.affine).max()
    return "" if off <= AFFINE_TOLERANCE else f"lies elsewhere: its affine differs by {off:.3g} from that of"


def write_mask(path: Path, mask: Bool[np.ndarray, "slices height width"], like: Path) -> None:
    """Write a mask on the slices that `NiftiPatient.read` returns, as 0 and 1 in uint8, whole or not at all.

    Args:
        path: Ends in .nii or .nii.gz.
        like: The image whose axes, shape and affine the file gets.

    Raises:
        DataError: path has another suffix, the mask and the image differ in size, or nibabel is not installed.
        BadFiles: The image cannot be read.
    """
    if not (suffix := SUFFIX.search(path.name)):
        raise DataError(f"mask file {path} must end in .nii or .nii.gz.")
    nibabel = import_nibabel()
    with _open(like) as stream:
        header, shape, axes = _read_header(like, stream)
    values = np.zeros(shape, np.uint8)
    slices = nibabel.orientations.apply_orientation(values, axes)  # a view of values
    if slices.shape != mask.shape:
        raise DataError(f"the mask is {size_text(mask.shape)}, but the slices of {like} are {size_text(slices.shape)}.")
    slices[:] = mask
    header.set_data_dtype(np.uint8)
    header.set_data_offset(0)  # "directly behind the header": the image's extensions are not copied
    header["cal_min"] = header["cal_max"] = 0  # the image's window would hide the mask in a viewer
    image = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    content = image(values.reshape(header.get_data_shape()), header.get_best_affine(), header).to_bytes()
    atomic.write(path, gzip.compress(content, mtime=0) if suffix["gz"] else content, sync=False)


def count_values(path: Path) -> int:
    """Return how many voxels a file's header promises; 0 if the header is not NIfTI, so that reading refuses it.

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


def import_nibabel() -> ModuleType:
    """Return nibabel, which is imported at its first use because that takes time."""
    try:
        import nibabel
    except ImportError as error:
        raise DataError("reading NIfTI needs nibabel: pip install nibabel") from error
    return nibabel


def _read_header(path: Path, stream: BufferedIOBase) -> tuple[Any, tuple[int, ...], np.ndarray]:
    """Return the header, the sides of the volume, and the orientation that makes its axes slices, rows, columns."""
    nibabel, head = import_nibabel(), stream.read(540)
    if head[344:348] == b"n+1\0":
        header = nibabel.Nifti1Header(head[:348], check=False)
    elif head[4:8] == b"n+2\0" and len(head) == 540:
        header = nibabel.Nifti2Header(head, check=False)
    else:
        raise bad_file(path, "is not NIfTI in one file: its header has no n+1 or n+2; copy it again or convert it")
    shape, sides = header.get_data_shape(), header.get_data_shape()[:3]
    if len(sides) < 3 or any(side != 1 for side in shape[3:]):
        raise bad_file(
            path, f"is {size_text(shape) or 'one number'}, but must have 3 dimensions; save each volume as a file"
        )
    if min(sides) < 1 or max(sides) > MAX_SIDE or math.prod(sides) > MAX_VOXELS:
        raise bad_file(
            path, f"is {size_text(sides)}, but must be 1 to {MAX_SIDE} a side, and at most {MAX_VOXELS} voxels"
        )
    affine = header.get_best_affine()
    own = nibabel.io_orientation(affine if np.isfinite(affine).all() else np.zeros((4, 4)))
    if np.isnan(own).any():
        raise bad_file(path, "its affine gives no direction to some axis; repair qform and sform, or convert it again")
    slices_rows_columns = nibabel.orientations.axcodes2ornt("SPL")
    return header, sides, nibabel.orientations.ornt_transform(own, slices_rows_columns).astype(int)


@contextmanager
def _open(path: Path) -> Iterator[BufferedIOBase]:
    """Open a file, and turn whatever gzip, numpy and nibabel raise for a damaged file into BadFiles."""
    try:
        if not path.is_file():
            raise bad_file(path, "is missing, or is a folder or a device; put the file there")
        if not path.stat().st_size:
            raise bad_file(path, "is empty (0 bytes); copy it again")
        opened = gzip.open if path.name.lower().endswith(".gz") else open
        with opened(path, "rb") as stream, np.errstate(all="ignore"):
            yield stream
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise bad_file(path, f"cannot be read as NIfTI ({type(error).__name__}: {error}); copy it again") from error
