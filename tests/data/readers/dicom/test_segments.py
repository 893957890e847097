"""DICOM SEG becomes labels on the voxels of a series, whoever wrote it: highdicom, or a tool of its own habits."""

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.sr.coding import CodedConcept

from data.errors import BadFiles
from data.readers.dicom.segmentations.segments import read_segments
from data.readers.dicom.series.series import find_series
from tests.support.dicom import header_of, uid, write_seg, write_series
from tests.support.nifti import LABELS, ORIENTATIONS, SLICES, as_nifti

ALL = (1, 2, 4)


def series_of(paths):
    (series,) = find_series(header_of(path) for path in paths)
    return series


def stored(series, paths, codes):
    """Return LABELS in the order of the series, whose slices may be sorted the other way round."""
    labels = np.asarray(as_nifti(LABELS, codes).dataobj)
    return labels if series.path == paths[0] else labels[:, :, ::-1]


def write_highdicom(path, images, masks, kind):
    """Write segments 1, 2 and 3 by highdicom, and return their number in each voxel "frames rows columns"."""
    code = CodedConcept("86049000", "SCT", "Neoplasm, Primary")
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"Tumor {number}",
            segmented_property_category=CodedConcept("49755003", "SCT", "Morphologically Altered Structure"),
            segmented_property_type=code,
            algorithm_type="MANUAL",
        )
        for number in (1, 2, 3)
    ]
    segmentation = highdicom.seg.Segmentation(
        source_images=[pydicom.dcmread(image) for image in images],
        pixel_array=masks,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=uid(path),
        series_number=900,
        sop_instance_uid=uid(path, 1),
        instance_number=1,
        manufacturer="nobody",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
    )
    segmentation.save_as(path)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
@pytest.mark.parametrize("codes", ["LPS", "PIR", "RAS"])
def test_what_highdicom_writes_is_read(tmp_path, kind, codes):
    paths = write_series(tmp_path / "x", codes=codes)
    series = series_of(paths)
    labels = np.asarray(as_nifti(np.where(LABELS == 4, 3, LABELS).astype(np.uint8), codes).dataobj)
    masks = labels.transpose(2, 1, 0)
    by_segment = np.stack([masks == number for number in (1, 2, 3)], axis=-1)
    pixels = {"BINARY": by_segment, "FRACTIONAL": by_segment.astype(np.float64), "LABELMAP": masks}[kind]
    write_highdicom(tmp_path / "seg.dcm", paths, pixels, kind)
    expected = labels if series.path == paths[0] else labels[:, :, ::-1]
    np.testing.assert_array_equal(read_segments(tmp_path / "seg.dcm", series, (1, 2, 3)), expected)
    assert header_of(tmp_path / "seg.dcm").labels == {1: "Tumor 1", 2: "Tumor 2", 3: "Tumor 3"}


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_frames_lie_where_they_say(tmp_path, codes, kind):
    paths = write_series(tmp_path / "x", codes=codes)
    series = series_of(paths)
    file = write_seg(tmp_path / "seg.dcm", paths, codes=codes, kind=kind)
    np.testing.assert_array_equal(read_segments(file, series, ALL), stored(series, paths, codes))
    only = stored(series, paths, codes) * (stored(series, paths, codes) == 2)
    np.testing.assert_array_equal(read_segments(file, series, (2,)), only)


def test_segments_on_another_grid_are_refused(tmp_path):
    paths = write_series(tmp_path / "x")
    others = write_series(tmp_path / "y", slices=SLICES[:, :, :5], number=2)
    file = write_seg(tmp_path / "seg.dcm", paths)
    with pytest.raises(BadFiles, match=r"does not lie on the voxels of ax-t1 \(series 2"):
        read_segments(file, series_of(others), ALL)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Rows": 65535, "Columns": 65535}, "pixels in its frames, but may have at most"),
        ({"PixelData": b"\0\0"}, "its pixels cannot be decoded"),
        ({"PerFrameFunctionalGroupsSequence": []}, "does not lie on the voxels"),
    ],
)
def test_damaged_segmentations_are_refused(tmp_path, values, reason):
    paths = write_series(tmp_path / "x")
    content = pydicom.dcmread(write_seg(tmp_path / "seg.dcm", paths))
    for name, value in values.items():
        setattr(content, name, value)
    content.save_as(tmp_path / "seg.dcm")
    with pytest.raises(BadFiles, match=reason):
        read_segments(tmp_path / "seg.dcm", series_of(paths), ALL)
