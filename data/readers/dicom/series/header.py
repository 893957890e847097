"""The header of a DICOM file: whose it is, which series it belongs to, and where its frames lie."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data.errors import bad_file
from data.readers.dicom.series.dataset import parse

Kind = Literal["image", "segments", "contours", "other"]

TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber"),
    *("PatientID", "StudyDate", "InstitutionName", "SeriesDescription", "ProtocolName", "ContrastBolusAgent"),
    *("Rows", "Columns", "NumberOfFrames", "PhotometricInterpretation"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("SegmentSequence", "ContentLabel", "ReferencedSeriesSequence"),
    *("StructureSetLabel", "StructureSetROISequence", "ReferencedFrameOfReferenceSequence"),
)
"""What is read of a header in a scan. ROI contours and pixels are not."""

_KINDS: Mapping[str, Kind] = {
    "1.2.840.10008.5.1.4.1.1.66.4": "segments",  # Segmentation Storage
    "1.2.840.10008.5.1.4.1.1.66.7": "segments",  # Label Map Segmentation Storage
    "1.2.840.10008.5.1.4.1.1.481.3": "contours",  # RT Structure Set Storage
}
_IMAGES = {
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in (
        *("4", "4.1", "4.4"),  # MR, Enhanced MR, Legacy Converted Enhanced MR
        *("2", "2.1", "2.2", "128", "128.1", "130"),  # the same of CT and PET
        *("7", "7.1", "7.2", "7.3"),  # Secondary Capture, as which some tools save processed volumes
    )
}
MAX_FRAMES = 2**16
_NO_CONTRAST = ("", "no", "none", "0", "n", "without", "no contrast")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A plane of pixels: a file's only one, or one of many."""

    position: tuple[float, float, float] | None
    """Of the first pixel's centre, in mm to the left, posterior, superior; None if the file does not say."""

    orientation: tuple[float, ...]
    """The direction of a row, along which columns count, and that of a column; empty if the file does not say."""

    spacing: tuple[float, float] | None
    """Distance between rows and between columns in mm."""

    scaling: tuple[float, float] | None = None
    """Slope and intercept of this frame among others; None in files of one frame."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a scan keeps of a file."""

    path: Path
    kind: Kind
    patient_id: str
    study_uid: str
    study_date: str
    series_uid: str
    instance_uid: str
    series_number: int
    description: str
    institution: str
    has_contrast: bool
    """Whether a contrast agent is named."""

    colour: str
    """How the values are to be seen, such as MONOCHROME2."""

    rows: int
    columns: int
    thickness: float | None
    frames: tuple[Frame, ...]
    labels: Mapping[int, str]
    """The names of segments by their numbers, or of ROIs by their place in the file, from 1."""

    references: frozenset[str]
    """UIDs of the series and the instances that a segmentation says it was drawn on."""


def read_header(path: Path) -> Header | None:
    """Return the header of a file; None for a file that is no DICOM and whose name promises none.

    Raises:
        BadFiles: The file is damaged, or no DICOM though its name promises it.
        DataError: pydicom is not installed.
    """
    return parse(path, lambda dataset: _header(path, dataset), tags=TAGS)


def _header(path: Path, dataset: Any) -> Header:
    kind = _kind(str(dataset.SOPClassUID))
    if kind != "other" and not _text(dataset, "SeriesInstanceUID"):
        raise bad_file(path, "does not say which series it belongs to (0020,000E); it is truncated: copy it again")
    if kind in ("image", "segments") and not (dataset.get("Rows") and dataset.get("Columns")):
        raise bad_file(path, "does not say how large it is (0028,0010); it is truncated: copy it again")
    labels = {"segments": _segments, "contours": _rois}.get(kind, lambda _: {})(dataset)
    return Header(
        path=path,
        kind=kind,
        patient_id=_text(dataset, "PatientID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        study_date=_text(dataset, "StudyDate"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        instance_uid=_text(dataset, "SOPInstanceUID"),
        series_number=int(dataset.get("SeriesNumber") or 0),
        description=next(filter(None, (_text(dataset, name) for name in _DESCRIPTIONS)), ""),
        institution=_text(dataset, "InstitutionName"),
        has_contrast=_text(dataset, "ContrastBolusAgent").lower() not in _NO_CONTRAST,
        colour=_text(dataset, "PhotometricInterpretation"),
        rows=int(dataset.get("Rows") or 0),
        columns=int(dataset.get("Columns") or 0),
        thickness=_number(dataset.get("SliceThickness")),
        frames=frames_of(dataset) if kind in ("image", "segments") else (),
        labels=labels,
        references=_references(dataset) if kind in ("segments", "contours") else frozenset(),
    )


_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "StructureSetLabel", "ContentLabel")


def _kind(sop_class: str) -> Kind:
    return _KINDS.get(sop_class, "image" if sop_class in _IMAGES else "other")


def _text(dataset: Any, keyword: str) -> str:
    # All files of a series say the same; one copy of each text keeps 100,000 headers small.
    return sys.intern(str(dataset.get(keyword) or "").strip())


def _number(value: Any) -> float | None:
    return None if value in (None, "") else float(value)


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(map(float, value)) if value else ()


def frames_of(dataset: Any) -> tuple[Frame, ...]:
    """Return a file's frames, each with what is said for it, or else for all."""
    each = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    if not each:
        count = int(dataset.get("NumberOfFrames") or 1)
        if not 1 <= count <= MAX_FRAMES:
            raise ValueError(f"NumberOfFrames is {count}, but must be 1 to {MAX_FRAMES}")
        return (_frame([dataset]),) * count  # several frames without groups all lie at one place, and are refused
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or ())[:1]
    return tuple(_frame(_groups([own, *shared])) for own in each)


def _groups(items: list[Any]) -> list[Any]:
    """Return the functional groups that say where a frame lies, its own before the shared ones."""
    names = (
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "PixelMeasuresSequence",
        "PixelValueTransformationSequence",
    )
    return [group[0] for item in items for name in names if (group := item.get(name))]


def _frame(groups: list[Any]) -> Frame:
    def find(keyword: str) -> tuple[float, ...]:
        return next((numbers for group in groups if (numbers := _numbers(group.get(keyword)))), ())

    position, spacing = find("ImagePositionPatient"), find("PixelSpacing")
    slopes = [group for group in groups if group.get("RescaleSlope") is not None]
    return Frame(
        position=(position[0], position[1], position[2]) if len(position) == 3 else None,
        orientation=find("ImageOrientationPatient"),
        spacing=(spacing[0], spacing[1]) if len(spacing) == 2 else None,
        scaling=(float(slopes[0].RescaleSlope), float(slopes[0].RescaleIntercept)) if slopes else None,
    )


def _segments(dataset: Any) -> dict[int, str]:
    segments = dataset.get("SegmentSequence") or ()
    # Number 0 is the background of a label map.
    return {int(one.SegmentNumber): _text(one, "SegmentLabel") for one in segments if int(one.SegmentNumber) > 0}


def _rois(dataset: Any) -> dict[int, str]:
    rois = dataset.get("StructureSetROISequence") or ()
    return {number: _text(one, "ROIName") for number, one in enumerate(rois, start=1)}


def _references(dataset: Any) -> frozenset[str]:
    """Return the UIDs of series and instances that a segmentation names, wherever it does."""
    found = {_text(series, "SeriesInstanceUID") for series in dataset.get("ReferencedSeriesSequence") or ()}
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                found.add(_text(series, "SeriesInstanceUID"))
                found |= {
                    _text(image, "ReferencedSOPInstanceUID") for image in series.get("ContourImageSequence") or ()
                }
    return frozenset(found - {""})
