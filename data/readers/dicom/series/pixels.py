"""Read the pixels of a series with SimpleITK, whose GDCM decodes the compressed transfer syntaxes that scanners use."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from data.errors import BadFiles, bad_file
from data.patient import size_text
from data.readers.dicom.series.dataset import parse
from data.readers.dicom.series.series import Series
from data.readers.volumes.formats.itk import import_itk
from data.readers.volumes.formats.raw import RawVolume

UNDEFINED = 0xFFFFFFFF
"""The length of an element that ends with a mark instead."""


def read_series(series: Series) -> RawVolume:
    """Return the volume of a series whose headers are those of a stack, scaled by slope and intercept.

    Files are read one by one: each has a scaling of its own, and the message says which one is damaged.

    Raises:
        BadFiles: Files are damaged, or compressed in an unknown way; the error lists all of them.
        DataError: SimpleITK is not installed.
    """
    num_frames = {path: 0 for path in series.files}
    for one in series.slices:
        num_frames[one.path] += 1
    pixels, problems = {}, []
    for path, count in num_frames.items():
        try:
            pixels[path] = _read_file(path, (*series.size, count))
        except BadFiles as error:
            problems += error.problems
    if problems:
        raise BadFiles(f"{len(problems)} file(s) of series {series} cannot be used:", problems)
    planes = [pixels[one.path][one.frame] for one in series.slices]
    dtype = np.result_type(*{plane.dtype for plane in planes})
    values = np.empty((len(planes), *planes[0].shape), np.float32 if dtype.kind == "f" else dtype)
    np.stack(planes, out=values, casting="same_kind")
    return RawVolume(values=values.transpose(2, 1, 0), affine=series.matrix, zooms_mm=_zooms(series))


def _zooms(series: Series) -> tuple[float, float, float]:
    x, y, z = np.linalg.norm(series.matrix[:3, :3], axis=0).tolist()
    return x, y, z


def _read_file(path: Path, shape: tuple[int, ...]) -> Shaped[np.ndarray, "frames rows columns"]:
    """Return the pixels of a file that promised as many columns, rows and frames."""
    parse(path, lambda dataset: _check_lengths(path, dataset))
    itk = import_itk()
    itk.ProcessObject.SetGlobalWarningDisplay(False)  # it would print what is raised as well
    reader = itk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size = (*reader.GetSize(), 1)[:3]
        if size != shape or reader.GetNumberOfComponents() != 1:
            raise bad_file(
                path, f"is {size_text(size)} (columns, rows, frames), but its header said {size_text(shape)}"
            )
        values = itk.GetArrayFromImage(reader.Execute()).reshape(shape[::-1])
    except RuntimeError as error:
        reason = next((line for line in str(error).splitlines()[::-1] if line.strip()), "no reason given").strip()
        raise bad_file(
            path,
            f"its pixels cannot be decoded by SimpleITK ({reason}); the file is truncated, or compressed in a way that "
            "is not read: copy it again or decompress it, such as by gdcmconv --raw",
        ) from error
    if values.dtype.kind not in "iuf":
        raise bad_file(path, f"holds pixels of type {values.dtype}, but must hold real numbers")
    return values


def _check_lengths(path: Path, dataset: Any) -> None:
    """Check that no element before the pixels is longer than the file; SimpleITK 2.5 allocates what a length says, so a
    damaged file of a kilobyte takes 4 GB and half a minute.

    Raises:
        BadFiles: One is.
    """
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        length = getattr(element, "length", UNDEFINED)  # elements that are decoded already are whole
        if length != UNDEFINED and len(element.value or b"") < length:
            raise bad_file(path, f"says that its element {tag} has {length} bytes, more than the file: copy it again")
        if element.VR == "SQ":
            for item in dataset[tag].value:
                _check_lengths(path, item)
