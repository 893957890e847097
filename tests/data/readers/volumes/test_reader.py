"""Cases of volumes: which become patients, with which channels and segmentation, and what is said of the others."""

import json
import shutil
import sys

import nibabel
import numpy as np
import pytest

from data.errors import BadFiles, DataError
from data.readers.reader import LayoutOptions
from data.readers.tree import read_tree
from data.readers.volumes.formats.nifti import write_nifti
from data.readers.volumes.patient import NAN_NOTE
from data.readers.volumes.reader import recognise, scan
from data.regions import Region
from tests.support.nifti import LABELS, SLICES, as_nifti, patient_of, problems_of, write_case


def scanned(source, **options):
    return scan(read_tree(source), LayoutOptions(**options))


def reasons(found):
    return [problem.reason for problem in found.problems]


def test_scan_returns_cases_by_id_with_groups_and_channels_in_order(tmp_path):
    write_case(tmp_path / "HGG", "B", modalities=("t2", "t1", "flair"))
    write_case(tmp_path / "x" / "LGG", "A", modalities=("t1", "t2"), suffix=".nii")
    write_case(tmp_path, "BraTS-GLI-00000-000", modalities=("t1n", "t2w", "t1c"), separator="-")
    found = scanned(tmp_path, labels=(1, 4))
    assert [(patient.id, patient.group, patient.person) for patient in found.patients] == [
        ("A", "x/LGG", "A"),
        ("B", "HGG", "B"),
        ("BraTS-GLI-00000-000", "", "BraTS-GLI-00000"),
    ]
    assert [path.name for path in found.patients[1].files] == ["B_t1.nii.gz", "B_t2.nii.gz", "B_seg.nii.gz"]
    assert found.patients[2].images[0].name == "BraTS-GLI-00000-000-t1n.nii.gz"
    assert found.patients[0].regions == (Region(name="tumour", labels=(1, 4)),)
    assert found.problems == ()
    assert found.channel_names == ("t1", "t2")
    assert found.warnings == (
        "--modalities is not given; the channels are those that every case has: t1, t2; "
        "left out: flair (1 of 3 cases), t1c (1 of 3 cases)",
    )


def test_scan_takes_named_modalities_in_their_order_and_any_spelling(tmp_path):
    write_case(tmp_path, "A", modalities=("T1", "flair", "t2"))
    write_case(tmp_path, "B", modalities=("t1n", "t2f", "t2w"))
    found = scanned(tmp_path, modalities=("t2", "T1"))
    assert [path.name for path in found.patients[0].images] == ["A_t2.nii.gz", "A_T1.nii.gz"]
    assert [path.name for path in found.patients[1].images] == ["B_t2w.nii.gz", "B_t1n.nii.gz"]
    assert found.channel_names == ("t2", "t1")
    assert found.warnings == ()


def test_scan_prefers_the_exact_spelling(tmp_path):
    write_case(tmp_path, "A", modalities=("t1", "t1n"))
    assert scanned(tmp_path, modalities=("t1n",)).patients[0].images[0].name == "A_t1n.nii.gz"
    assert reasons(scanned(tmp_path, modalities=("t1w",))) == [
        "1 case(s) have no t1w: A; A has t1, t1n. Add the files, take others by --modalities, or say what they are "
        "called, such as --modality t1w=NAME"
    ]


def test_scan_takes_the_names_that_a_person_gives(tmp_path):
    write_case(tmp_path, "A", modalities=("t1", "FLAIR_bias", "flair"))
    found = scanned(tmp_path, modalities=("t1c", "flair"), modality=("t1c=t1", "flair=flair_bias"))
    assert [path.name for path in found.patients[0].images] == ["A_t1.nii.gz", "A_FLAIR_bias.nii.gz"]
    assert found.channel_names == ("t1c", "flair")


def test_scan_leaves_out_words_of_somebodys_own_beside_known_modalities(tmp_path):
    for case in "AB":
        write_case(tmp_path, case, modalities=("t1", "t1_bias"))
    found = scanned(tmp_path)
    assert found.channel_names == ("t1",)
    assert found.warnings[0].endswith("every case has: t1; left out: t1_bias (2 of 2 cases)")
    for case in "AB":
        (tmp_path / case / f"{case}_t1.nii.gz").rename(tmp_path / case / f"{case}_mine.nii.gz")
    assert scanned(tmp_path).channel_names == ("mine", "t1_bias")


def test_scan_without_a_common_modality_is_a_problem(tmp_path):
    write_case(tmp_path, "A", modalities=("t1",))
    write_case(tmp_path, "B", modalities=("t2",))
    found = scanned(tmp_path)
    assert found.patients == ()
    assert reasons(found) == [
        "--modalities is not given; the channels are those that every case has: none; "
        "left out: t1 (1 of 2 cases), t2 (1 of 2 cases)"
    ]


def test_scan_says_in_one_line_which_cases_lack_a_modality(tmp_path):
    for case in "ABCDE":
        write_case(tmp_path, case)
    write_case(tmp_path, "Z", modalities=("t1", "t2"))
    found = scanned(tmp_path, modalities=("t1", "t2"))
    assert [patient.id for patient in found.patients] == ["Z"]
    assert reasons(found) == [
        "5 case(s) have no t2: A, B, C and 2 more; A has flair, t1. Add the files, take others by --modalities, or say "
        "what they are called, such as --modality t2=NAME"
    ]


def test_scan_says_which_cases_lack_a_segmentation_that_others_of_the_folder_have(tmp_path):
    for case in "ABC":
        write_case(tmp_path / "train", case)
    (tmp_path / "train" / "B" / "B_seg.nii.gz").unlink()
    for case in "XY":
        (write_case(tmp_path / "validation", case) / f"{case}_seg.nii.gz").unlink()
    found = scanned(tmp_path)
    assert [patient.id for patient in found.patients] == ["A", "C"]
    assert reasons(found) == [
        "1 case(s) have no segmentation, though others of the same folder have one: B; add it, or say what it is "
        "called by --segmentation"
    ]
    assert found.warnings[0] == "2 case(s) in folders without any segmentation are left out: X, Y"


def test_scan_takes_the_segmentation_of_the_tumour_and_a_manual_one_first(tmp_path):
    folder = write_case(tmp_path)
    for name in ("brain_mask", "automated_seg"):
        shutil.copy(folder / "A_seg.nii.gz", folder / f"A_{name}.nii.gz")
    assert scanned(tmp_path).patients[0].segmentation.name == "A_seg.nii.gz"
    (folder / "A_seg.nii.gz").rename(folder / "A_manual_seg.nii.gz")
    assert scanned(tmp_path).patients[0].segmentation.name == "A_manual_seg.nii.gz"


def test_scan_asks_which_of_several_segmentations_and_takes_the_answer(tmp_path):
    for case in "AB":
        folder = write_case(tmp_path, case)
        shutil.copy(folder / f"{case}_seg.nii.gz", folder / f"{case}_mask.nii.gz")
    assert reasons(scanned(tmp_path)) == [
        "2 case(s) have several segmentations, such as A with A/A_mask.nii.gz, A/A_seg.nii.gz: say which by "
        "--segmentation, such as --segmentation '*_tumor_segmentation.nii.gz'"
    ]
    for pattern in ("*_mask.nii.gz", "*/?_mask.*"):
        found = scanned(tmp_path, segmentation=pattern)
        assert [patient.segmentation.name for patient in found.patients] == ["A_mask.nii.gz", "B_mask.nii.gz"]


def test_scan_takes_a_segmentation_by_a_name_that_is_no_common_one(tmp_path):
    folder = write_case(tmp_path)
    (folder / "A_seg.nii.gz").rename(folder / "A_final7.nii.gz")
    assert recognise(read_tree(tmp_path)) == ""
    found = scanned(tmp_path, segmentation="*_final7.nii.gz")
    assert found.patients[0].segmentation.name == "A_final7.nii.gz"
    assert found.channel_names == ("flair", "t1")


def test_scan_takes_identical_copies_once(tmp_path):
    write_case(tmp_path / "x")
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    found = scanned(tmp_path)
    assert [patient.segmentation for patient in found.patients] == [tmp_path / "x" / "A" / "A_seg.nii.gz"]
    assert "1 case(s) occur twice with the same files and are taken once, such as y/A and x/A" in found.warnings


def test_scan_keeps_other_cases_of_one_name_as_one_person(tmp_path):
    write_case(tmp_path / "x")
    as_nifti(SLICES + np.int16(7)).to_filename(write_case(tmp_path / "y") / "A_t1.nii.gz")
    found = scanned(tmp_path)
    assert [(patient.id, patient.person) for patient in found.patients] == [("x_A", "A"), ("y_A", "A")]


def test_scan_refuses_two_files_of_one_modality(tmp_path):
    folder = write_case(tmp_path)
    (folder / "A_t1.nii").touch()
    found = scanned(tmp_path)
    assert [(problem.path, problem.reason) for problem in found.problems] == [
        (folder / "A_t1.nii.gz", "is the same modality as A/A_t1.nii; remove one of the two")
    ]


@pytest.mark.parametrize("above", [".", "brats", "brats/HGG", "brats/HGG/A"])
def test_scan_and_recognise_take_any_folder_above_the_case(tmp_path, above):
    write_case(tmp_path / "brats" / "HGG")
    (tmp_path / "brats" / "survival.csv").touch()
    assert [patient.id for patient in scanned(tmp_path / above).patients] == ["A"]
    assert recognise(read_tree(tmp_path / above)) == (
        "1 of 1 cases of volumes have a segmentation, such as A: A_flair.nii.gz, A_t1.nii.gz, with A_seg.nii.gz"
    )


def test_scan_leaves_out_what_operating_systems_leave(tmp_path):
    folder = write_case(tmp_path)
    (folder / "._A_t1.nii.gz").write_bytes(b"left by macOS")
    shutil.copytree(folder, tmp_path / ".cache" / "A")
    shutil.copytree(folder, tmp_path / "__MACOSX" / "A")
    found = scanned(tmp_path)
    assert len(found.patients) == 1
    assert len(found.warnings) == 1


def test_scan_ends_in_a_cycle_of_links(tmp_path):
    folder = write_case(tmp_path / "data")
    (folder / "loop").symlink_to(tmp_path)
    assert len(scanned(tmp_path / "data").patients) == 1


def test_scan_decodes_nothing(tmp_path):
    for path in write_case(tmp_path).iterdir():
        path.write_bytes(b"")
    assert len(scanned(tmp_path).patients) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"holds no case: no image is a volume .*; expected volumes called <CASE>_<MODALITY>"),
        ({"modalities": ("t1", "T1")}, "modalities are 't1', 'T1', but each must be a name, and may be taken once"),
        ({"labels": (0, 1)}, "labels are 0, 1, but must be 1 to 65535"),
        ({"modality": ("t1c",)}, "modality is t1c, but must be like t1c=t1gd"),
        ({"modality": ("=t1",)}, "modality is =t1, but must be like t1c=t1gd"),
    ],
)
def test_scan_says_what_it_expects(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        scanned(tmp_path, **options)


def write_whole(tmp_path, channels=2):
    """Write a case whose channels are in one file, as the Medical Segmentation Decathlon does."""
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    first = as_nifti(SLICES)
    values = np.stack([np.asarray(first.dataobj) + 1000 * k for k in range(channels)], axis=-1)
    nibabel.Nifti1Image(values, first.affine).to_filename(tmp_path / "imagesTr" / "BRATS_001.nii.gz")
    as_nifti(LABELS).to_filename(tmp_path / "labelsTr" / "BRATS_001.nii.gz")


@pytest.mark.parametrize("key", ["modality", "channel_names"])
def test_channels_of_one_file_are_named_by_dataset_json(tmp_path, key):
    write_whole(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({key: {"0": "T1gd", "1": "FLAIR"}}))
    found = scanned(tmp_path)
    assert found.channel_names == ("flair", "t1gd")
    np.testing.assert_array_equal(found.patients[0].read().images, np.stack([SLICES + 1000, SLICES], axis=-1))
    only = scanned(tmp_path, modalities=("t1c",)).patients[0].read()
    np.testing.assert_array_equal(only.images, SLICES[..., None])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"0": "T1", "1": "T1ce", "3": "FLAIR"}, {"t1": 0, "t1ce": 1, "flair": 3}),
        ({"1": "T1", "2": "T1ce", "3": "T2", "4": "FLAIR"}, {"t1": 0, "t1ce": 1, "t2": 2, "flair": 3}),
    ],
)
def test_numbered_channels_have_the_names_of_their_own_numbers(tmp_path, names, expected):
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    for k in range(4):
        as_nifti(SLICES + np.int16(1000 * k)).to_filename(tmp_path / "imagesTr" / f"P0_{k:04d}.nii.gz")
    as_nifti(LABELS).to_filename(tmp_path / "labelsTr" / "P0.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": names}))
    images = scanned(tmp_path, modalities=tuple(expected)).patients[0].read().images
    np.testing.assert_array_equal(images, np.stack([SLICES + 1000 * k for k in expected.values()], axis=-1))
    assert set(scanned(tmp_path).channel_names) == set(expected)


def test_scan_never_takes_what_may_show_the_truth_as_a_channel(tmp_path):
    write_case(tmp_path, "A", modalities=("km", "nativ", "seg_prob", "ET", "tumor_probability"))
    assert scanned(tmp_path).channel_names == ("km", "nativ")
    assert scanned(tmp_path, modalities=("seg_prob",)).patients


def test_scan_asks_which_of_several_raters(tmp_path):
    folder = write_case(tmp_path, "A")
    for number in (1, 2):
        shutil.copy(folder / "A_seg.nii.gz", folder / f"A_seg_rater{number}.nii.gz")
    (folder / "A_seg.nii.gz").unlink()
    assert (
        "several segmentations, such as A with A/A_seg_rater1.nii.gz, A/A_seg_rater2.nii.gz"
        in reasons(scanned(tmp_path))[0]
    )
    assert len(scanned(tmp_path, segmentation="*_rater2.nii.gz").patients) == 1


def test_scan_asks_which_of_the_masks_of_regions(tmp_path):
    folder = write_case(tmp_path, "A")
    for name in ("edema", "necrosis"):
        (folder / "A_seg.nii.gz").rename(folder / "mask_enhancing.nii.gz") if name == "edema" else None
        shutil.copy(folder / "mask_enhancing.nii.gz", folder / f"mask_{name}.nii.gz")
    found = scanned(tmp_path)
    assert found.patients == ()
    assert "have several segmentations" in reasons(found)[0]


def test_scan_says_that_a_segmentation_fits_several_folders(tmp_path):
    for folder in ("Testing", "Training"):
        write_case(tmp_path / folder, "A")
        (tmp_path / folder / "A" / "A_seg.nii.gz").rename(tmp_path / "A_seg.nii.gz")
    assert (
        "1 segmentation(s) have the name of cases in several folders, such as A_seg.nii.gz"
        in reasons(scanned(tmp_path))[0]
    )


@pytest.mark.parametrize("content", [None, "{", "[]", '{"modality": 7}'])
def test_channels_of_one_file_have_no_names_without_a_readable_dataset_json(tmp_path, content):
    write_whole(tmp_path)
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    found = scanned(tmp_path)
    assert found.channel_names == ()
    np.testing.assert_array_equal(found.patients[0].read().images, np.stack([SLICES, SLICES + 1000], axis=-1))


def test_a_file_with_fewer_channels_than_dataset_json_says_is_refused(tmp_path):
    write_whole(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": {"0": "t1", "1": "flair", "2": "t2"}}))
    assert problems_of(scanned(tmp_path).patients[0]) == {
        "BRATS_001.nii.gz": "has 2 channel(s), but number 3 is asked for; see dataset.json beside it"
    }


def test_numbered_channels_of_nnunet_are_named_by_dataset_json(tmp_path):
    (tmp_path / "labelsTr").mkdir()
    for k in range(2):
        (tmp_path / "imagesTr").mkdir(exist_ok=True)
        as_nifti(SLICES + np.int16(1000 * k)).to_filename(tmp_path / "imagesTr" / f"C_1_{k:04d}.nii.gz")
    as_nifti(LABELS).to_filename(tmp_path / "labelsTr" / "C_1.nii.gz")
    assert scanned(tmp_path).channel_names == ("0000", "0001")
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"T2": 0, "Flair": 1}}))  # as version 1 had it
    found = scanned(tmp_path)
    assert found.channel_names == ("flair", "t2")
    np.testing.assert_array_equal(found.patients[0].read().images, np.stack([SLICES + 1000, SLICES], axis=-1))


def moved(image, *, by_mm):
    affine = image.affine.copy()
    affine[0, 3] += by_mm
    return nibabel.Nifti1Image(np.asarray(image.dataobj), affine)


def test_grids_that_differ_by_a_fraction_of_a_voxel_are_one(tmp_path):
    folder = write_case(tmp_path)
    moved(as_nifti(LABELS), by_mm=0.09).to_filename(folder / "A_seg.nii.gz")  # a voxel is 1 mm wide there
    np.testing.assert_array_equal(patient_of(folder).read().masks, LABELS > 0)
    moved(as_nifti(LABELS), by_mm=0.11).to_filename(folder / "A_seg.nii.gz")
    assert "lies elsewhere, up to 0.11 voxels away" in problems_of(patient_of(folder))["A_seg.nii.gz"]


def test_a_segmentation_that_lost_its_affine_is_used_if_its_voxels_are_trusted(tmp_path):
    folder = write_case(tmp_path, codes="LPS")
    values = np.asarray(as_nifti(LABELS, "LPS").dataobj)
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(folder / "A_seg.nii.gz")
    reason = problems_of(patient_of(folder))["A_seg.nii.gz"]
    assert "has as many voxels as A_t1.nii.gz, but lies elsewhere" in reason
    assert "axes run RAS, its origin is (0, 0, 0) mm, its voxels (1, 1, 1) mm; that file's axes run LPS" in reason
    assert "give --trust-voxels" in reason
    np.testing.assert_array_equal(patient_of(folder, trust_voxels=True).read().masks, LABELS > 0)
    nibabel.Nifti1Image(values[1:], np.eye(4)).to_filename(folder / "A_seg.nii.gz")
    assert "resample them to one grid" in problems_of(patient_of(folder, trust_voxels=True))["A_seg.nii.gz"]


def test_trusted_voxels_do_not_turn_a_file_that_agrees(tmp_path):
    folder = write_case(tmp_path, "A")
    as_nifti(LABELS, "LAS").to_filename(folder / "A_seg.nii.gz")
    for trust_voxels in (False, True):
        np.testing.assert_array_equal(patient_of(folder, trust_voxels=trust_voxels).read().masks, LABELS > 0)


def test_nan_is_background_with_a_note_but_not_inside_the_tumour(tmp_path):
    folder = write_case(tmp_path)
    values = np.where(LABELS > 0, 5, np.nan).astype(np.float32)
    as_nifti(values).to_filename(folder / "A_t1.nii.gz")
    volume = patient_of(folder).read()
    np.testing.assert_array_equal(volume.images[..., 0], np.where(LABELS > 0, 5, 0))
    assert volume.notes == (NAN_NOTE,)
    values[1, 2, 3] = np.nan
    as_nifti(values).to_filename(folder / "A_t1.nii.gz")
    assert problems_of(patient_of(folder)) == {
        "A_t1.nii.gz": "holds NaN in 1 of 4 tumour voxels, but NaN may only be background; replace it"
    }


@pytest.mark.parametrize(
    ("labels", "num_notes"),
    [
        (LABELS.astype(np.float64), 0),
        (LABELS * np.float32(0.9999), 0),
        ((LABELS > 0) * np.float32(10.921457), 1),
        (np.where(LABELS > 0, LABELS, np.nan).astype(np.float32), 1),
    ],
)
def test_labels_that_are_numbers_with_a_fraction_are_read_where_they_are_plain(tmp_path, labels, num_notes):
    folder = write_case(tmp_path)
    as_nifti(labels).to_filename(folder / "A_seg.nii.gz")
    volume = patient_of(folder).read()
    np.testing.assert_array_equal(volume.masks, LABELS > 0)
    assert len(volume.notes) == num_notes


def test_a_segmentation_of_several_channels_is_refused(tmp_path):
    folder = write_case(tmp_path)
    image = as_nifti(LABELS)
    nibabel.Nifti1Image(np.stack([np.asarray(image.dataobj)] * 3, -1), image.affine).to_filename(
        folder / "A_seg.nii.gz"
    )
    assert problems_of(patient_of(folder)) == {
        "A_seg.nii.gz": "has 3 channels, but a segmentation has one; save it as one volume of labels"
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer, not the data: fetch it"),
        (b"<!DOCTYPE html><html>", "is a web page, not the data: its download failed"),
        (b"PK\x03\x04" + bytes(200), "is a zip archive: unpack it"),
        (bytes(128) + b"DICM" + bytes(300), "is a DICOM file"),
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_files_that_are_something_else_are_told_apart(tmp_path, content, reason, suffix):
    folder = write_case(tmp_path, suffix=suffix)
    (folder / f"A_t1{suffix}").write_bytes(content)
    assert problems_of(patient_of(folder, suffix=suffix))[f"A_t1{suffix}"].startswith(reason)


def test_compression_is_seen_from_the_content_and_not_from_the_name(tmp_path):
    plain = write_case(tmp_path / "x", suffix=".nii")
    for path in plain.iterdir():
        path.rename(path.with_name(path.name + ".gz"))
    packed = write_case(tmp_path / "y", suffix=".nii.gz")
    for path in packed.iterdir():
        path.rename(path.with_name(path.name.removesuffix(".gz")))
    for folder, suffix in ((plain, ".nii.gz"), (packed, ".nii")):
        np.testing.assert_array_equal(patient_of(folder, suffix=suffix).read().images[..., 0], SLICES)


def test_scan_without_nibabel_says_what_to_install(tmp_path, monkeypatch):
    patient = patient_of(write_case(tmp_path))
    monkeypatch.setitem(sys.modules, "nibabel", None)
    for use in (patient.read, lambda: write_nifti(tmp_path / "m.nii", LABELS > 0, patient.segmentation)):
        with pytest.raises(DataError, match=r"^reading volumes needs nibabel: pip install nibabel$"):
            use()


def test_one_cause_of_many_cases_is_one_line(tmp_path):
    problems = []
    for case in "ABCDE":
        folder = write_case(tmp_path / case)
        moved(as_nifti(LABELS), by_mm=5).to_filename(folder / "A_seg.nii.gz")
        with pytest.raises(BadFiles) as caught:
            patient_of(folder).read()
        problems += caught.value.problems
    _, line = str(BadFiles("files cannot be used:", problems)).splitlines()
    assert line.startswith(f"  - 5 files, such as {tmp_path}/A/A/A_seg.nii.gz, {tmp_path}/C/A/A_seg.nii.gz, ")
    assert "lies elsewhere. If only the affine is wrong" in line


def test_problems_of_a_patient_are_one_error(tmp_path):
    folder = write_case(tmp_path)
    for name in ("t1", "seg"):
        (folder / f"A_{name}.nii.gz").write_bytes(b"")
    with pytest.raises(BadFiles, match=r"^2 file\(s\) of patient A cannot be used:"):
        patient_of(folder).read()
