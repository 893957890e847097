"""Studies to predict: which series are the channels of a model, and that masks come back as DICOM SEG."""

import sys
import warnings

import highdicom
import numpy as np
import pytest

from data.errors import DataError
from data.readers.dicom.prediction import find_studies_to_predict, is_dicom_tree
from data.readers.dicom.segmentations.segments import read_segments
from data.readers.dicom.segmentations.write import write_segments
from data.readers.dicom.series.series import find_series
from data.readers.reader import ImageOptions
from data.readers.tree import read_tree
from tests.support.dicom import header_of, write_enhanced, write_seg, write_series
from tests.support.nifti import LABELS, ORIENTATIONS, SLICES, as_nifti

FLAIR = SLICES + np.int16(1000)


def write_study(root, patient="P1"):
    t1 = write_series(root / patient / "1", "AX T1 POST", patient=patient)
    write_series(root / patient / "2", "AX FLAIR", FLAIR, number=2, patient=patient)
    write_seg(root / patient / "seg.dcm", t1)
    return root / patient


def found(root, *names):
    problems = []
    studies = list(find_studies_to_predict(read_tree(root), names, problems, {}, trust_voxels=False))
    return studies, list(map(str, problems))


def test_a_study_is_read_with_the_channels_of_the_model_in_any_spelling(tmp_path):
    write_study(tmp_path)
    write_study(tmp_path, "P2")
    studies, problems = found(tmp_path, "t1ce", "flair")
    assert problems == []
    assert [(study.id, study.home) for study in studies] == [("P1", tmp_path / "P1"), ("P2", tmp_path / "P2")]
    assert len(studies[0].files) == 8
    images, spacing_mm = studies[0].kind.read(studies[0].files, ImageOptions())
    np.testing.assert_array_equal(images, np.stack([SLICES, FLAIR], axis=-1))
    assert spacing_mm == pytest.approx((3, 2, 1))


@pytest.mark.parametrize("empty", [False, True])
def test_a_mask_is_written_as_dicom_seg_that_other_tools_read(tmp_path, empty):
    home = write_study(tmp_path)
    study = found(tmp_path, "t1c")[0][0]
    mask = np.zeros(LABELS.shape, bool) if empty else LABELS > 0
    (path,) = study.kind.write_masks(tmp_path, study.files, mask, patient="P1")
    assert path == tmp_path / "P1_mask.dcm"
    (series,) = find_series(header_of(one) for one in sorted((home / "1").iterdir()))
    written = read_segments(path, series, (1,))
    np.testing.assert_array_equal(written, np.asarray(as_nifti(mask.astype(np.uint16), "LPS").dataobj))
    header = header_of(path)
    assert (header.patient_id, header.labels, header.description) == ("P1", {1: "Tumour"}, "tumour-search: prediction")
    by_highdicom = highdicom.seg.segread(path)
    assert by_highdicom.get_volume(combine_segments=True).array.sum() == mask.sum()


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_write_segments_inverts_read_in_any_orientation(tmp_path, codes):
    for paths in (write_series(tmp_path / "x", codes=codes), [write_enhanced(tmp_path / "e.dcm", codes=codes)]):
        (series,) = find_series(map(header_of, paths))
        write_segments(tmp_path / "mask.dcm", LABELS > 0, series)
        labels = np.asarray(as_nifti(LABELS, codes).dataobj) > 0
        upside_down = not np.allclose(series.matrix[:3, 2], as_nifti(LABELS, codes).affine[:3, 2])
        expected = labels[:, :, ::-1] if upside_down else labels
        np.testing.assert_array_equal(read_segments(tmp_path / "mask.dcm", series, (1,)), expected)


def test_series_that_do_not_share_voxels_or_are_several_are_said(tmp_path):
    home = write_study(tmp_path)
    write_series(home / "3", "AX T2", SLICES[:, :, :5], number=3)
    assert found(tmp_path, "t1c", "t2")[1] == [
        f'{home}: case P1 has no t1c, t2 on the same voxels: it has ax-t1-post (series 1, "AX T1 POST", 6 x 5 x 4), '
        'ax-flair (series 2, "AX FLAIR", 6 x 5 x 4), ax-t2 (series 3, "AX T2", 5 x 5 x 4); resample them to one grid, '
        "or, if they have one shape and only their places are wrong, give --trust-voxels"
    ]
    write_series(home / "4", "AX FLAIR late", number=4)
    assert found(tmp_path, "t1c", "flair")[1] == [
        f'{home}: case P1 has several series of flair: ax-flair (series 2, "AX FLAIR", 6 x 5 x 4), ax-flair-late '
        '(series 4, "AX FLAIR late", 6 x 5 x 4); choose by --modality flair=NAME'
    ]
    assert found(tmp_path, "t1")[1][0].startswith(f"{home}: case P1 has no t1, but ax-t1-post (series 1")


def test_of_several_series_those_that_share_voxels_are_taken(tmp_path):
    home = write_study(tmp_path)
    write_series(home / "3", "AX FLAIR late", SLICES[:, :, :5], number=3)
    (study,), problems = found(tmp_path, "t1c", "flair")
    assert problems == []
    np.testing.assert_array_equal(study.kind.read(study.files, ImageOptions())[0][..., 1], FLAIR)


def test_a_tree_of_volumes_is_not_one_of_dicom(tmp_path):
    write_series(tmp_path / "P1" / "1")
    assert is_dicom_tree(read_tree(tmp_path))
    for k in range(9):
        as_nifti(LABELS).to_filename(tmp_path / f"{k}_t1.nii.gz")
    assert not is_dicom_tree(read_tree(tmp_path))


def test_writing_without_highdicom_says_what_to_install_before_anything_is_predicted(tmp_path, monkeypatch):
    write_study(tmp_path)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(DataError, match=r"needs highdicom: pip install -e '\.\[volumes\]'"):
        found(tmp_path, "t1c")


def test_anonymised_images_without_names_and_dates_can_be_segmented(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = write_series(tmp_path / "x", PatientName=None, StudyDate="", StudyTime=None, StudyID="")
    (series,) = find_series(map(header_of, paths))
    write_segments(tmp_path / "mask.dcm", LABELS > 0, series)
    assert header_of(tmp_path / "mask.dcm").kind == "segments"
