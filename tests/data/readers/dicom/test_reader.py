"""Trees of DICOM: which series and segmentations become patients, and what is said of the others."""

import shutil
import sys
import warnings

import numpy as np
import pytest

from data.errors import DataError
from data.readers.dicom.reader import recognise, scan
from data.readers.reader import LayoutOptions
from data.readers.recognise import recognise as recognise_any
from data.readers.tree import read_tree
from tests.support.dicom import box, write_rtstruct, write_seg, write_series
from tests.support.nifti import LABELS, ORIENTATIONS, SLICES, as_nifti

FLAIR = SLICES + np.int16(1000)


def write_study(root, patient="P1", study="1", *, seg=True, folders="{}", **options):
    """Write a T1, a FLAIR and a DICOM SEG, as an archive does: patient, study, series."""
    home = root / patient / f"study_{study}"
    t1 = write_series(home / folders.format("1-T1"), "AX T1", patient=patient, study=study, **options)
    write_series(home / folders.format("2"), "AX FLAIR FS", FLAIR, number=2, patient=patient, study=study, **options)
    if seg:
        write_seg(home / folders.format("900-Seg") / "1-1.dcm", t1)
    return home


def scanned(root, **options):
    return scan(read_tree(root), LayoutOptions(**options))


def reasons(found):
    return [problem.reason for problem in found.problems]


def check(volume):
    np.testing.assert_array_equal(volume.images, np.stack([FLAIR, SLICES], axis=-1))
    np.testing.assert_array_equal(volume.masks, LABELS > 0)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_series_in_any_orientation_become_axial_slices(tmp_path, codes):
    t1 = write_series(tmp_path / "1", "AX T1", codes=codes)
    write_series(tmp_path / "2", "FLAIR", FLAIR, codes=codes, number=2)
    write_seg(tmp_path / "seg" / "1.dcm", t1, codes=codes)
    found = scanned(tmp_path)
    assert (found.problems, found.channel_names) == ((), ("flair", "t1"))
    volume = found.patients[0].read()
    check(volume)
    assert volume.spacing_mm == pytest.approx((3, 2, 1))
    assert volume.images.dtype == np.int16


@pytest.mark.parametrize("codes", ["LPI", "ARS", "RPS", "IRP"])
def test_a_segmentation_may_run_along_other_axes_than_its_series(tmp_path, codes):
    t1 = write_series(tmp_path / "1")
    write_seg(tmp_path / "seg" / "1.dcm", t1, codes=codes)
    np.testing.assert_array_equal(scanned(tmp_path).patients[0].read().masks, LABELS > 0)


@pytest.mark.parametrize("name", ["1-{:03}.dcm", "IM{:04}", "{:08}", "MR.1.2.840.113.{}", "I{}.IMA", "{}.DCM"])
def test_files_are_known_by_their_content_whatever_they_are_called(tmp_path, name):
    write_study(tmp_path, name=name)
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "LICENSE").write_text("words")
    (tmp_path / "metadata.csv").write_text("words")
    assert recognise_any(read_tree(tmp_path))[0] == "dicom"
    found = scanned(tmp_path)
    check(found.patients[0].read())
    assert "1 file(s) are no DICOM by their first bytes, and are left out: LICENSE" in found.warnings


def test_all_series_of_a_person_may_lie_in_one_folder(tmp_path):
    t1 = write_series(tmp_path / "P1", "AX T1", name="a{}.dcm")
    write_series(tmp_path / "P1", "FLAIR", FLAIR, number=2, name="b{}.dcm")
    write_seg(tmp_path / "P1" / "c.dcm", t1)
    check(scanned(tmp_path).patients[0].read())


def test_a_case_is_a_study_and_visits_are_of_one_person(tmp_path):
    write_study(tmp_path, "A")
    for study in "21":
        write_study(tmp_path, "B/x", study)
    write_study(tmp_path, "B/x", "3", seg=False)
    found = scanned(tmp_path)
    assert [(patient.id, patient.person) for patient in found.patients] == [
        ("A", "A"),
        ("B_x_20200101", "B_x"),
        ("B_x_20200102", "B_x"),
    ]
    assert found.problems == ()
    assert (
        "1 visit(s) have no segmentation, though others of the person have one, and are left out: B_x_20200103"
        in found.warnings
    )


def test_ids_of_one_date_are_numbered_and_a_missing_id_is_the_folder(tmp_path):
    for study in "12":
        write_study(tmp_path, "A", study, StudyDate="20200101", folders="{}")
    assert [patient.id for patient in scanned(tmp_path).patients] == ["A_20200101_1", "A_20200101_2"]
    shutil.rmtree(tmp_path / "A")
    write_study(tmp_path, "B", PatientID="", seg=False)
    assert "1 case(s) have no segmentation" in reasons(scanned(tmp_path))[0]
    assert reasons(scanned(tmp_path))[0].endswith("B; add it, or move them away")


def test_the_institution_or_the_folder_above_the_person_is_the_group(tmp_path):
    write_study(tmp_path / "site_1", "A")
    write_study(tmp_path / "site_1", "B", InstitutionName="Clinic")
    assert [patient.group for patient in scanned(tmp_path).patients] == ["site_1", "Clinic"]


def test_copies_of_the_same_image_are_taken_once(tmp_path):
    home = write_study(tmp_path)
    shutil.copytree(home / "1-T1", tmp_path / "again")
    shutil.copytree(home / "2", home / "2 (copy)")
    found = scanned(tmp_path)
    assert found.problems == ()
    assert found.warnings[0].startswith("8 file(s) are copies of the same image or segmentation, and are left out: ")
    check(found.patients[0].read())


@pytest.mark.parametrize(
    "place", ["P1_seg.nii.gz", "masks/P1.nii.gz", "P1/study_1/tumor.nii.gz", "P1/study_1/1-T1/seg.nii"]
)
def test_a_volume_beside_the_series_may_be_the_segmentation(tmp_path, place):
    write_study(tmp_path, seg=False)
    write_study(tmp_path, "P2")
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    as_nifti(LABELS, "RAS").to_filename(path)
    found = scanned(tmp_path)
    assert found.patients[0].segmentation == path
    assert found.problems == ()
    check(found.patients[0].read())


def test_a_volume_of_no_study_is_a_problem(tmp_path):
    write_study(tmp_path)
    write_study(tmp_path, "P2")
    as_nifti(LABELS).to_filename(tmp_path / "Q7_seg.nii.gz")
    assert reasons(scanned(tmp_path))[0].startswith("is a segmentation of no study that is here")


def test_outlines_of_the_tumour_become_its_mask(tmp_path):
    home = write_study(tmp_path, seg=False)
    t1 = sorted((home / "1-T1").iterdir(), reverse=True)
    rois = {"GTV": [box(t1[1], (1, 3), (1, 2))], "Brain": [box(t1[1], (0, 5), (0, 4))]}
    for references in (True, False):
        write_rtstruct(home / "rt.dcm", t1, rois, references=references)
        found = scanned(tmp_path)
        expected = np.zeros_like(LABELS, bool)
        expected[1, 1:3, 1:4] = True
        np.testing.assert_array_equal(found.patients[0].read().masks, expected)
        assert "the segmentations are 1 = GTV; left out as no tumour: Brain" in found.warnings


def test_labels_choose_segments_by_number_even_where_they_overlap(tmp_path):
    write_study(tmp_path)
    for labels in ((1,), (2, 4)):
        volume = scanned(tmp_path, labels=labels).patients[0].read()
        np.testing.assert_array_equal(volume.masks, np.isin(LABELS, labels))


def test_regions_of_outlines_that_lie_in_each_other_are_whole(tmp_path):
    home = write_study(tmp_path, seg=False)
    t1 = sorted((home / "1-T1").iterdir(), reverse=True)
    rois = {"Enhancing": [box(t1[1], (1, 2), (1, 2))], "GTV": [box(t1[1], (1, 3), (1, 2))]}
    write_rtstruct(home / "rt.dcm", t1, rois)
    (patient,) = scanned(tmp_path, regions=("WT=1,2", "ET=1")).patients
    masks = patient.read().masks
    whole, enhancing = masks & 1 > 0, masks & 2 > 0
    assert enhancing.sum() == 4
    assert whole.sum() == 6
    assert whole[enhancing].all()


def test_an_id_from_a_header_is_no_path(tmp_path):
    for study, date in (("1", "2006/01/15"), ("2", "../../x")):
        with warnings.catch_warnings(action="ignore"):
            write_study(tmp_path, "P", study, PatientID="..", StudyDate=date)
    found = scanned(tmp_path).patients
    assert len(found) == 2
    assert all("/" not in patient.id and patient.id.strip(".") for patient in found)


def test_labels_that_mean_something_else_in_other_cases_are_said(tmp_path):
    write_study(tmp_path)
    t1 = write_series(tmp_path / "P2" / "1", patient="P2")
    write_seg(tmp_path / "P2" / "seg.dcm", t1, names={1: "Edema", 2: "Necrosis", 4: "Enhancing tumor"})
    warnings = scanned(tmp_path, labels=(1,)).warnings
    assert (
        "label 1 is not the same in all cases: it is Necrosis (1 case(s)) and Edema (1 case(s)); choose by "
        "--segmentation NAME" in warnings
    )
    volumes = [patient.read() for patient in scanned(tmp_path, segmentation="edema").patients]
    np.testing.assert_array_equal([volume.masks for volume in volumes], [LABELS == 2, LABELS == 1])


def test_names_that_say_nothing_are_asked_for(tmp_path):
    home = write_study(tmp_path, seg=False)
    names = {1: "Segment_1", 2: "Segment_2", 4: "Brain"}
    write_seg(home / "seg.dcm", sorted((home / "1-T1").iterdir()), names=names)
    (reason,) = reasons(scanned(tmp_path))
    assert reason == (
        "1 case(s) have segmentations whose names do not say that they are of a tumour: P1; P1 has seg.dcm "
        '"Segmentation" '
        "with Segment_1, Segment_2, Brain. Say which by --segmentation PATTERN, which may match the names of "
        "segments or "
        "ROIs, a file's name or path, or the description of its series"
    )
    volume = scanned(tmp_path, segmentation="segment_*").patients[0].read()
    np.testing.assert_array_equal(volume.masks, np.isin(LABELS, (1, 2)))


def test_several_segmentations_are_asked_for_and_a_manual_one_is_first(tmp_path):
    home = write_study(tmp_path)
    t1 = sorted((home / "1-T1").iterdir())
    other = write_seg(home / "other.dcm", t1, description="reader 2")
    assert "1 case(s) have several segmentations of a tumour: P1" in reasons(scanned(tmp_path))[0]
    for pattern in ("reader*", "*other.dcm"):
        assert scanned(tmp_path, segmentation=pattern).patients[0].segmentation == other
    other.unlink()
    other = write_seg(home / "other.dcm", t1, description="Manual correction")
    assert scanned(tmp_path).patients[0].segmentation == other


def test_of_several_series_the_one_on_the_voxels_of_the_segmentation_is_taken(tmp_path):
    home = write_study(tmp_path)
    write_series(home / "3", "SAG T1", SLICES[:, :, :5], number=3)
    write_series(home / "4", "3 PLANE LOC", SLICES[:2], number=4)
    found = scanned(tmp_path)
    assert found.problems == ()
    check(found.patients[0].read())


def test_several_series_on_those_voxels_are_asked_for(tmp_path):
    for patient in ("P1", "P2"):
        home = write_study(tmp_path, patient)
        write_series(home / "3", "AX T1 again", SLICES + np.int16(7), number=3, patient=patient)
    found = scanned(tmp_path)
    assert found.patients == ()
    assert reasons(found) == [
        '2 case(s) have several series of t1: P1, P2; P1 has ax-t1 (series 1, "AX T1", 6 x 5 x 4), ax-t1-again '
        "(series 3, "
        '"AX T1 again", 6 x 5 x 4). Say which by --modality, such as --modality t1=ax-t1'
    ]
    found = scanned(tmp_path, modalities=("t1",), modality=("t1=ax-t1-again",))
    np.testing.assert_array_equal(found.patients[0].read().images[..., 0], SLICES + 7)
    assert scanned(tmp_path, modalities=("flair",)).problems == ()


def test_a_modality_on_other_voxels_is_said_with_what_is_on_those_of_the_segmentation(tmp_path):
    home = write_study(tmp_path)
    write_series(home / "3", "AX T2", SLICES[:, :, :5], number=3)
    write_series(home / "4", "T1 POST", SLICES, number=4, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    found = scanned(tmp_path)
    assert found.channel_names == ("flair", "t1")
    assert found.problems == ()
    (reason,) = reasons(scanned(tmp_path, modalities=("t1", "t2")))
    assert reason == (
        '1 case(s) have t2 only on other voxels than those of the segmentation: P1; of P1, ax-t2 (series 3, "AX '
        'T2", 5 x 5 '
        "x 4) is 4 x 5 x 5 (slices, rows, columns), but ax-t1 is 4 x 5 x 6; resample them to one grid. On the "
        "voxels of "
        'the segmentation of P1 are ax-t1 (series 1, "AX T1", 6 x 5 x 4), ax-flair-fs (series 2, "AX FLAIR FS", 6 '
        "x 5 x "
        "4). Take those by --modalities, or resample the others"
    )
    assert "t1-post (series 4" in reasons(scanned(tmp_path, modalities=("t1c",)))[0]


def test_a_missing_modality_is_said_with_what_there_is(tmp_path):
    write_study(tmp_path)
    assert reasons(scanned(tmp_path, modalities=("t1", "t2"))) == [
        "1 case(s) have no t2: P1; P1 has ax-t1, ax-flair-fs. Add the series, take others by --modalities, or say "
        "what it "
        "is called, such as --modality t2=ax-t1"
    ]


def test_spellings_of_a_modality_mean_the_same(tmp_path):
    t1 = write_series(tmp_path / "1", "AX T1 POST GD")
    write_seg(tmp_path / "seg" / "1.dcm", t1)
    assert scanned(tmp_path, modalities=("t1ce",)).channel_names == ("t1ce",)
    assert scanned(tmp_path, modalities=("T1GD",)).problems == ()


def test_a_segmentation_on_no_series_is_said(tmp_path):
    home = write_study(tmp_path, seg=False)
    as_nifti(LABELS[:, :, :5]).to_filename(home / "P1_seg.nii.gz")
    (reason,) = reasons(scanned(tmp_path))
    assert reason.startswith("1 segmentation(s) lie on the voxels of no series: P1; P1 has ax-t1 (series 1")


def test_a_volume_that_lost_its_affine_is_used_if_its_voxels_are_trusted(tmp_path):
    home = write_study(tmp_path, seg=False)
    image = as_nifti(LABELS, "LPS")
    image.set_sform(np.eye(4), 1)
    image.set_qform(np.eye(4), 1)
    image.to_filename(home / "P1_seg.nii.gz")
    assert "lie on the voxels of no series" in reasons(scanned(tmp_path))[0]
    check(scanned(tmp_path, trust_voxels=True).patients[0].read())


def test_a_tree_without_images_or_with_more_pictures_is_not_dicom(tmp_path):
    assert recognise(read_tree(tmp_path)) == ""
    (tmp_path / "notes").write_text("words")
    assert recognise(read_tree(tmp_path)) == ""
    with pytest.raises(DataError, match="holds no series of DICOM images; expected DICOM files in any folders"):
        scanned(tmp_path)
    write_study(tmp_path)
    for k in range(30):
        (tmp_path / f"{k}.png").touch()
    assert recognise(read_tree(tmp_path)) == ""


def test_reading_without_pydicom_says_what_to_install(tmp_path, monkeypatch):
    write_study(tmp_path)
    rule = "9 files may be DICOM by their names, and P1/study_1/1-T1/1-001.dcm is"
    assert recognise(read_tree(tmp_path)) == rule
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=r"needs pydicom: pip install -e '\.\[volumes\]'"):
        scanned(tmp_path)
