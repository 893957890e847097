"""Turn volumes into axial slices, as radiologists view them, and compare the grids of several.

Slices go from inferior to superior, with row 0 anterior and column 0 the patient's right. Oblique volumes are not
resampled; each axis takes the direction that it is closest to.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float, Int, Shaped

from data.errors import BadFiles, DataError, Problem, bad_file
from data.patient import size_text
from data.readers.volumes.formats.raw import RawVolume

MAX_DISTANCE = 0.1
"""How far apart the same voxel may lie in two files of one grid, in voxels. Tools that store float32 or quaternions
lose far less; half a voxel would be a shift."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A volume as axial slices."""

    values: Shaped[np.ndarray, "slices height width *channels"]
    raw_shape: tuple[int, ...]
    raw_affine: Float[np.ndarray, "4 4"]
    axes: Int[np.ndarray, "3 2"]
    """The turn from the file's axes to slices, rows and columns, in nibabel's words an orientation."""

    spacing_mm: tuple[float, float, float] | None


def to_grid(path: Path, raw: RawVolume) -> Grid:
    """Return a volume as axial slices.

    Raises:
        BadFiles: The affine gives no direction to some axis.
        DataError: nibabel is not installed.
    """
    orientations = import_nibabel().orientations
    axes = find_axes(path, raw.affine)
    spacing = None if raw.zooms_mm is None else tuple(np.array(raw.zooms_mm)[np.argsort(axes[:, 0])].tolist())
    return Grid(
        values=orientations.apply_orientation(raw.values, axes),
        raw_shape=raw.values.shape[:3],
        raw_affine=raw.affine,
        axes=axes,
        spacing_mm=spacing,
    )


def find_axes(path: Path, affine: np.ndarray) -> np.ndarray:
    """Return the turn from a file's axes to slices, rows and columns.

    Raises:
        BadFiles: The affine gives no direction to some axis.
    """
    nibabel = import_nibabel()
    own = nibabel.io_orientation(affine if np.isfinite(affine).all() else np.zeros((4, 4)))
    if np.isnan(own).any():
        raise bad_file(path, "its affine gives no direction to some axis; repair qform and sform, or convert it again")
    slices_rows_columns = nibabel.orientations.axcodes2ornt("SPL")
    return nibabel.orientations.ornt_transform(own, slices_rows_columns).astype(int)


OTHER_SIZE = "each differs in size from the first file of its case; resample them to one grid"
ELSEWHERE = (
    "each has as many voxels as the first file of its case, but lies elsewhere. If only the affine is wrong and the "
    "voxels match, which a viewer shows, give --trust-voxels; otherwise resample them to one grid"
)


def read_grids(
    paths: Sequence[Path],
    read: Callable[[Path], RawVolume],
    *,
    whose: str = "",
    name_of: Callable[[Path], str] = lambda path: path.name,
    trust_voxels: bool = False,
) -> Mapping[Path, Grid]:
    """Return the volumes of several files on one grid.

    Args:
        read: Reads a file, or all files that the path stands for, such as those of a series; raises BadFiles.
        whose: Words after the number of files in the headline of BadFiles, such as " of patient 7".
        name_of: Returns what messages about other files call one.
        trust_voxels: Whether files of one shape have one grid, whatever their affines say.

    Raises:
        BadFiles: Files are damaged, or differ in their grids; the error lists all of them.
        DataError: nibabel is not installed.
    """
    grids: dict[Path, Grid] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            raw = read(path)
            first = next(iter(grids.values()), None)
            grids[path] = _trusted(path, raw, first) if trust_voxels and first else to_grid(path, raw)
        except BadFiles as error:
            problems += error.problems
            continue
        if first and (reason := difference(grids[path], first, name_of(next(iter(grids))))):
            is_size = grids[path].values.shape[:3] != first.values.shape[:3]
            problems.append(Problem(path=path, reason=reason, cause=OTHER_SIZE if is_size else ELSEWHERE))
    if problems:
        raise BadFiles(f"{len(problems)} file(s){whose} cannot be used:", problems)
    return grids


def _trusted(path: Path, raw: RawVolume, first: Grid) -> Grid:
    """Return a volume on its own grid if that agrees with another one, and else with the affine of that one."""
    if raw.values.shape[:3] != first.raw_shape:
        return to_grid(path, raw)
    with suppress(BadFiles):
        own = to_grid(path, raw)
        if not difference(own, first, ""):
            return own
    return to_grid(path, replace(raw, affine=first.raw_affine))


def difference(grid: Grid, first: Grid, name: str) -> str:
    """Return how a grid differs from that of a file called `name`, and what to do; empty if they agree."""
    if grid.values.shape[:3] != first.values.shape[:3]:
        sizes = size_text(grid.values.shape[:3]), size_text(first.values.shape[:3])
        return f"is {sizes[0]} (slices, rows, columns), but {name} is {sizes[1]}; resample them to one grid"
    if (apart := distance(grid, first)) <= MAX_DISTANCE:
        return ""
    return (
        f"has as many voxels as {name}, but lies elsewhere, up to {apart:.3g} voxels away: its {geometry(grid)}; that "
        f"file's {geometry(first)}. If only the affine is wrong and the voxels match, which a viewer shows, give "
        "--trust-voxels; otherwise resample it to that grid"
    )


def distance(grid: Grid, first: Grid) -> float:
    """Return how far apart the same voxel lies in two grids of one size, in voxels of the first, where it is most."""
    sides = first.values.shape[:3]
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*(side - 1 for side in sides), 1]
    moved = corners @ (_turned(grid) - _turned(first)).T
    sizes = np.linalg.norm(first.raw_affine[:3, :3], axis=0)
    return float(np.abs(moved[:, :3]).max() / max(sizes.min(), 1e-9))


def _turned(grid: Grid) -> np.ndarray:
    """Return the affine of a grid's slices, rows and columns."""
    return grid.raw_affine @ import_nibabel().orientations.inv_ornt_aff(grid.axes, grid.raw_shape)


def geometry(grid: Grid) -> str:
    """Return where a file says that it lies, in words."""
    nibabel = import_nibabel()
    sizes = ", ".join(f"{size:.3g}" for size in np.linalg.norm(grid.raw_affine[:3, :3], axis=0))
    origin = ", ".join(f"{one:.4g}" for one in grid.raw_affine[:3, 3])
    codes = "".join(nibabel.aff2axcodes(grid.raw_affine))
    return f"axes run {codes}, its origin is ({origin}) mm, its voxels ({sizes}) mm"


def to_file_order(
    slices: Shaped[np.ndarray, "slices height width"], shape: tuple[int, ...], path: Path, affine: np.ndarray
) -> Shaped[np.ndarray, "x y z"]:
    """Return slices in the order of the axes of the image that `to_grid` turned into such slices.

    Args:
        shape: The sides of the image along its own axes.

    Raises:
        DataError: The slices and the image differ in size.
    """
    values = np.zeros(shape, slices.dtype)
    turned = import_nibabel().orientations.apply_orientation(values, find_axes(path, affine))  # a view
    if turned.shape != slices.shape:
        sizes = size_text(slices.shape), size_text(turned.shape)
        raise DataError(f"the mask is {sizes[0]}, but the slices of {path} are {sizes[1]}; predict that image again.")
    turned[:] = slices
    return values


def join_channels(
    channels: Sequence[Shaped[np.ndarray, "slices height width *some"]],
) -> Shaped[np.ndarray, "slices height width channels"]:
    """Return volumes as the channels of one, of one integer type if all hold integers, else float32."""
    dtype = np.result_type(*channels)  # float64 for uint64 and int64
    dtype = dtype.newbyteorder("=") if dtype.kind in "iu" else np.float32
    parts = [channel if channel.ndim == 4 else channel[..., None] for channel in channels]
    images = np.empty((*channels[0].shape[:3], sum(part.shape[3] for part in parts)), dtype)
    at = 0  # np.concatenate would keep the order of the files' axes
    for part in parts:
        images[..., at : at + part.shape[3]] = part
        at += part.shape[3]
    return images


def import_nibabel() -> ModuleType:
    """Return nibabel, which is imported at its first use because that takes time."""
    try:
        import nibabel
    except ImportError as error:
        raise DataError("reading volumes needs nibabel: pip install nibabel") from error
    return nibabel
