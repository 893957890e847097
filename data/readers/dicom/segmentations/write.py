"""Write the mask of a study as DICOM SEG on the voxels of a series, with highdicom."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Shaped

from data import atomic
from data.errors import DataError, bad_file
from data.readers.dicom.series.dataset import import_pydicom, parse
from data.readers.dicom.series.series import Series
from data.readers.volumes.formats.grid import to_file_order

NAME = "tumour-search"
_NEEDED = "PatientName PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName"
"""What the standard wants in every file, if only empty; anonymised files may lack it."""


def write_segments(path: Path, mask: Shaped[np.ndarray, "slices height width"], series: Series) -> None:
    """Write a mask on the slices that `to_grid` makes of a series, whole or not at all.

    Of a mask with labels, each label is a segment, called by its number.

    Raises:
        DataError: The mask has another size than the series, or highdicom or pydicom is not installed.
        BadFiles: A file of the series cannot be read, or lacks what the standard wants.
    """
    frames = to_file_order(mask, series.shape, series.path, series.matrix).transpose(2, 1, 0)
    if len(series.files) == 1:  # in the order of the file, whose frames need not be sorted
        frames = frames[np.argsort([one.frame for one in series.slices])]
    headers = [_read(file, series) for file in series.files]
    try:
        content = _segmentation(headers, np.ascontiguousarray(frames), series)
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        reason = f"lacks what a DICOM SEG of it needs ({' '.join(str(error).split())}); export the series again"
        raise bad_file(series.path, reason) from error
    buffer = import_pydicom().filebase.DicomBytesIO()
    content.save_as(buffer)
    atomic.write(path, buffer.getvalue(), sync=False)


def import_highdicom() -> ModuleType:
    """Return highdicom, which is imported at its first use because that takes time."""
    try:
        import highdicom
    except ImportError as error:
        raise DataError("writing DICOM SEG needs highdicom: pip install -e '.[volumes]'") from error
    return highdicom


def _read(path: Path, series: Series) -> Any:
    """Return the header of an image with all that its segmentation repeats."""
    header = parse(path, lambda dataset: dataset)
    if header is None:
        raise bad_file(path, "is no DICOM file any more; it was one when the folder was searched")
    for keyword in _NEEDED.split():
        if keyword not in header:
            setattr(header, keyword, "")
    if "FrameOfReferenceUID" not in header:
        header.FrameOfReferenceUID = _uid("frame of reference", series.uid)
    return header


def _segmentation(headers: list[Any], frames: np.ndarray, series: Series) -> Any:
    highdicom = import_highdicom()
    labels = [int(label) for label in np.unique(frames) if label] or [1]
    names = ["Tumour"] if frames.dtype == bool else [f"Label {label}" for label in labels]
    numbered = np.searchsorted(labels, frames, side="right").astype(np.uint8) * (frames > 0)
    described = [_describe(number, name) for number, name in enumerate(names, 1)]
    made_from = (series.uid, frames.tobytes().hex() if frames.any() else "empty")
    return highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=frames if frames.dtype == bool else numbered,
        segmentation_type="BINARY",
        segment_descriptions=described,
        series_instance_uid=_uid("series", *made_from),
        series_number=series.number + 1000,
        sop_instance_uid=_uid("instance", *made_from),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=bool(frames.any()),
        series_description=f"{NAME}: prediction",
    )


def _describe(number: int, name: str) -> Any:
    highdicom = import_highdicom()
    code = highdicom.sr.CodedConcept
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=code("49755003", "SCT", "Morphologically Altered Structure"),
        segmented_property_type=code("108369006", "SCT", "Neoplasm"),
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=NAME, family=code("123109", "DCM", "Artificial Intelligence"), version="1"
        ),
    )


def _uid(*words: str) -> str:
    """Return a UID that is the same for the same words, so that a prediction can be repeated."""
    return import_pydicom().uid.generate_uid(entropy_srcs=list(words))
