"""Small DICOM files whose voxels are known: series in any orientation, DICOM SEG and RTSTRUCT."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from data.readers.dicom.series.header import Header, read_header
from tests.support.nifti import LABELS, SLICES, as_nifti

MR, SEG, RTSTRUCT = (f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("4", "66.4", "481.3"))


def uid(*words: object) -> str:
    """Return the same UID for the same words."""
    return generate_uid(entropy_srcs=list(map(str, words)))


def dataset(sop_class: str, patient: str = "P1", study: str = "1", **values: Any) -> Dataset:
    """Return a dataset of a patient's study with the values, which are set last."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID, found.SOPInstanceUID = sop_class, uid(patient, study, *values.values())
    found.PatientID, found.StudyInstanceUID, found.StudyDate = patient, uid(patient, study), f"2020010{study}"
    found.PatientName, found.StudyID, found.AccessionNumber, found.StudyTime = f"{patient}^", study, "", "120000"
    found.PatientBirthDate, found.PatientSex, found.ReferringPhysicianName = "", "", ""
    for name, value in values.items():
        setattr(found, name, value)
    return found


def save(path: Path, content: Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
    content.save_as(path, enforce_file_format=True)
    return path


def header_of(path: Path) -> Header:
    """Return the header of a file that is DICOM."""
    header = read_header(path)
    assert header is not None
    return header


def geometry(affine: np.ndarray, index: int = 0) -> dict[str, Any]:
    """Return the position, orientation and spacing of a slice of an affine to right, anterior, superior."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    return {
        "ImagePositionPatient": (lps @ [0, 0, index, 1])[:3].tolist(),
        "ImageOrientationPatient": (lps[:3, :2] / spacing[:2]).T.ravel().tolist(),
        "PixelSpacing": [float(spacing[1]), float(spacing[0])],
        "SliceThickness": float(spacing[2]),
    }


def write_series(
    folder: Path,
    description: str = "AX T1",
    slices: np.ndarray = SLICES,
    *,
    codes: str = "LPS",
    number: int = 1,
    patient: str = "P1",
    study: str = "1",
    name: str = "1-{:03}.dcm",
    **values: Any,
) -> list[Path]:
    """Write slices as a file each, the last one first, and return their paths in the order of the positions."""
    image = as_nifti(slices, codes)
    stored = np.asarray(image.dataobj)
    series_uid = uid(patient, study, number, description)
    paths = []
    for k in range(stored.shape[2]):
        plane = np.ascontiguousarray(stored[:, :, k].T)
        content = dataset(
            MR,
            patient,
            study,
            SeriesInstanceUID=series_uid,
            SeriesNumber=number,
            SeriesDescription=description,
            InstanceNumber=stored.shape[2] - k,
        )
        content.Modality, content.FrameOfReferenceUID = "MR", uid(patient, study)
        content.Rows, content.Columns = plane.shape
        content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
        bits = plane.dtype.itemsize * 8
        content.BitsAllocated, content.BitsStored, content.HighBit = bits, bits, bits - 1
        content.PixelRepresentation = int(plane.dtype.kind == "i")
        content.PixelData = plane.tobytes()
        for keyword, value in {**geometry(image.affine, k), **values}.items():
            setattr(content, keyword, value)
        paths.append(save(folder / name.format(stored.shape[2] - k), content))
    return paths


def write_seg(
    path: Path,
    like: Sequence[Path],
    labels: np.ndarray = LABELS,
    names: Mapping[int, str] | None = None,
    *,
    codes: str = "LPS",
    description: str = "Segmentation",
    kind: str = "BINARY",
) -> Path:
    """Write a DICOM SEG by hand, whose frames are the slices that are not empty, as most tools do."""
    names = names or {1: "Necrosis", 2: "Edema", 4: "Enhancing tumor"}
    first = pydicom.dcmread(like[0], stop_before_pixels=True)
    image = as_nifti(labels, codes)
    stored = np.asarray(image.dataobj)
    content = dataset(SEG, first.PatientID, first.StudyID, SeriesDescription=description)
    content.SOPInstanceUID = uid(path)
    content.Modality, content.SeriesInstanceUID, content.SeriesNumber = "SEG", uid(path), 900
    content.SegmentationType, content.MaximumFractionalValue = kind, 100
    content.SegmentSequence = [_item(SegmentNumber=number, SegmentLabel=name) for number, name in names.items()]
    content.ReferencedSeriesSequence = [_item(SeriesInstanceUID=first.SeriesInstanceUID)]
    plane = geometry(image.affine)
    content.SharedFunctionalGroupsSequence = [
        _item(
            PlaneOrientationSequence=[_item(ImageOrientationPatient=plane["ImageOrientationPatient"])],
            PixelMeasuresSequence=[_item(PixelSpacing=plane["PixelSpacing"], SliceThickness=plane["SliceThickness"])],
        )
    ]
    frames, groups = [], []
    for number in names:
        for k in range(stored.shape[2]):
            if (stored[:, :, k] == number).any():
                frames.append((stored[:, :, k] == number).T)
                position = geometry(image.affine, k)["ImagePositionPatient"]
                groups.append(
                    _item(
                        PlanePositionSequence=[_item(ImagePositionPatient=position)],
                        SegmentIdentificationSequence=[_item(ReferencedSegmentNumber=number)],
                    )
                )
    content.PerFrameFunctionalGroupsSequence, content.NumberOfFrames = groups, len(frames)
    _set_pixels(content, np.stack(frames), kind)
    return save(path, content)


def _set_pixels(content: Dataset, frames: np.ndarray, kind: str) -> None:
    content.Rows, content.Columns = frames.shape[1:]
    content.SamplesPerPixel, content.PhotometricInterpretation, content.PixelRepresentation = 1, "MONOCHROME2", 0
    bits = 1 if kind == "BINARY" else 8
    content.BitsAllocated, content.BitsStored, content.HighBit = bits, bits, bits - 1
    packed = np.packbits(frames.ravel(), bitorder="little") if bits == 1 else (frames * np.uint8(60)).ravel()
    content.PixelData = packed.tobytes() + bytes(packed.size % 2)


def write_rtstruct(
    path: Path, like: Sequence[Path], rois: Mapping[str, Sequence[np.ndarray]], *, references: bool = True
) -> Path:
    """Write an RTSTRUCT of closed outlines, each an array of points in mm to the left, posterior, superior."""
    first = pydicom.dcmread(like[0], stop_before_pixels=True)
    content = dataset(RTSTRUCT, first.PatientID, first.StudyID, StructureSetLabel="Contours")
    content.SOPInstanceUID, content.SeriesInstanceUID = uid(path), uid(path)
    content.Modality, content.SeriesNumber = "RTSTRUCT", 901
    content.StructureSetROISequence, content.ROIContourSequence = [], []
    for place, (name, outlines) in enumerate(rois.items()):
        content.StructureSetROISequence.append(_item(ROINumber=10 + place, ROIName=name))
        contours = [
            _item(
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourData=[f"{value:.4f}" for value in np.ravel(points)],
            )
            for points in outlines
        ]
        content.ROIContourSequence.append(_item(ReferencedROINumber=10 + place, ContourSequence=contours))
    series = _item(SeriesInstanceUID=first.SeriesInstanceUID if references else uid("unknown"))
    study = _item(RTReferencedSeriesSequence=[series])
    content.ReferencedFrameOfReferenceSequence = [_item(RTReferencedStudySequence=[study])]
    return save(path, content)


def box(like: Path, columns: tuple[float, float], rows: tuple[float, float]) -> np.ndarray:
    """Return the outline of a box of pixels in a slice, from its first to its last centre, in mm."""
    first = pydicom.dcmread(like, stop_before_pixels=True)
    along, down = np.reshape(np.array(first.ImageOrientationPatient, float), (2, 3))
    height, width = map(float, first.PixelSpacing)
    corners = [(columns[0], rows[0]), (columns[1], rows[0]), (columns[1], rows[1]), (columns[0], rows[1])]
    origin = np.array(first.ImagePositionPatient, float)
    return np.array([origin + along * width * x + down * height * y for x, y in corners])


def _item(**values: Any) -> Dataset:
    found = Dataset()
    for name, value in values.items():
        setattr(found, name, value)
    return found


def write_enhanced(
    path: Path,
    description: str = "AX T1",
    slices: np.ndarray = SLICES,
    *,
    codes: str = "LPS",
    scaling: tuple[float, float] | None = None,
    last_scaling: tuple[float, float] | None = None,
) -> Path:
    """Write slices as the frames of one Enhanced MR file, the last one first."""
    image = as_nifti(slices, codes)
    frames = np.asarray(image.dataobj).T[::-1]
    content = dataset(f"{MR}.1", SeriesInstanceUID=uid(path), SeriesNumber=1, SeriesDescription=description)
    content.Modality, content.NumberOfFrames = "MR", len(frames)
    content.Rows, content.Columns = frames.shape[1:]
    content.SamplesPerPixel, content.PhotometricInterpretation, content.PixelRepresentation = 1, "MONOCHROME2", 1
    content.BitsAllocated, content.BitsStored, content.HighBit = 16, 16, 15
    content.PixelData = np.ascontiguousarray(frames).tobytes()
    plane = geometry(image.affine)
    content.SharedFunctionalGroupsSequence = [
        _item(
            PlaneOrientationSequence=[_item(ImageOrientationPatient=plane["ImageOrientationPatient"])],
            PixelMeasuresSequence=[_item(PixelSpacing=plane["PixelSpacing"], SliceThickness=plane["SliceThickness"])],
        )
    ]
    groups = []
    for k in reversed(range(len(frames))):
        position = geometry(image.affine, k)["ImagePositionPatient"]
        groups.append(_item(PlanePositionSequence=[_item(ImagePositionPatient=position)]))
        if scaling := (last_scaling if last_scaling and k == 0 else scaling):
            transform = _item(RescaleSlope=scaling[0], RescaleIntercept=scaling[1], RescaleType="US")
            groups[-1].PixelValueTransformationSequence = [transform]
    content.PerFrameFunctionalGroupsSequence = groups
    return save(path, content)
