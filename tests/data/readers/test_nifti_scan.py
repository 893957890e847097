"""How cases of the BraTS layout are found, and the messages for files that do not fit."""

import shutil
import sys

import pytest

from data.errors import DataError
from data.readers.nifti import looks_like, scan
from data.readers.nifti_file import write_mask
from tests.support.nifti import LABELS, patient_of, write_case


def test_scan_returns_cases_by_id_with_groups_and_channels_in_order(tmp_path):
    write_case(tmp_path / "HGG", "B", modalities=("t2", "t1", "flair"))
    write_case(tmp_path / "x" / "LGG", "A", modalities=("t1", "t2"), suffix=".nii")
    write_case(tmp_path, "BraTS-GLI-00000-000", modalities=("t1", "t2", "t1c"), separator="-")
    found = scan(tmp_path, labels=(1, 4))
    assert [(patient.id, patient.group) for patient in found.patients] == [
        ("A", "x/LGG"),
        ("B", "HGG"),
        ("BraTS-GLI-00000-000", ""),
    ]
    assert [path.name for path in found.patients[1].files] == ["B_t1.nii.gz", "B_t2.nii.gz", "B_seg.nii.gz"]
    assert found.patients[2].images[0].name == "BraTS-GLI-00000-000-t1.nii.gz"
    assert found.patients[0].labels == (1, 4)
    assert found.problems == ()
    assert found.warnings == (
        "--modalities is not given; the channels are those that every case has: t1, t2; "
        "left out: flair (1 of 3 cases), t1c (1 of 3 cases)",
    )


def test_scan_takes_named_modalities_in_their_order(tmp_path):
    write_case(tmp_path, "A", modalities=("T1", "flair", "t2"))
    found = scan(tmp_path, modalities=("t2", "t1"))
    assert [path.name for path in found.patients[0].images] == ["A_t2.nii.gz", "A_T1.nii.gz"]
    assert found.warnings == ()


@pytest.mark.parametrize("above", [".", "brats", "brats/HGG", "brats/HGG/A"])
def test_scan_and_looks_like_take_any_folder_above_the_case(tmp_path, above):
    write_case(tmp_path / "brats" / "HGG")
    (tmp_path / "brats" / "survival.csv").touch()
    assert [patient.id for patient in scan(tmp_path / above).patients] == ["A"]
    assert looks_like(tmp_path / above)


def test_scan_leaves_out_hidden_files_and_folders(tmp_path):
    folder = write_case(tmp_path)
    (folder / "._A_t1.nii.gz").write_bytes(b"left by macOS")
    shutil.copytree(folder, tmp_path / ".cache" / "A")
    assert len(scan(tmp_path).patients) == 1


def test_scan_ends_in_a_cycle_of_links(tmp_path):
    folder = write_case(tmp_path / "data")
    (folder / "loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(folder)
    assert len(scan(tmp_path / "data").patients) == 1


def test_scan_decodes_nothing(tmp_path):
    for path in write_case(tmp_path).iterdir():
        path.write_bytes(b"")
    assert len(scan(tmp_path).patients) == 1


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        (
            "nowhere",
            {},
            r"nowhere does not exist, but must be a folder; expected <source>/<CASE>/<CASE>_<MODALITY>\.nii\.gz",
        ),
        ("file", {}, "file is a file, but must be a folder"),
        (".", {}, r"holds no case: no \.nii or \.nii\.gz file is in it.*<CASE>_seg\.nii\.gz"),
        (".", {"modalities": ("t1", "T1")}, 'modalities are t1, t1, but must differ, and must not be "seg"'),
        (".", {"modalities": ("seg",)}, "modalities are seg, but"),
        (".", {"labels": (0, 1)}, "labels are 0, 1, but must be above 0"),
    ],
)
def test_scan_says_what_it_expects(tmp_path, source, arguments, message):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=message):
        scan(tmp_path / source, **arguments)


def touching(name):
    return lambda folder: (folder / name).touch()


@pytest.mark.parametrize(
    ("damage", "path", "reason"),
    [
        (lambda folder: (folder / "A_seg.nii.gz").unlink(), "A", "has no seg (A_seg.nii.gz); it has flair, t1"),
        (
            lambda folder: [(folder / f"A_{name}.nii.gz").unlink() for name in ("t1", "flair")],
            "A",
            "has no flair and no t1 (A_flair.nii.gz); it has seg",
        ),
        (touching("A_t1.nii"), "A/A_t1.nii.gz", "is the same modality as A_t1.nii; remove one of the two"),
        (
            touching("A-seg.nii.gz"),
            "A/A_seg.nii.gz",
            "is the same modality as A-seg.nii.gz; remove one of the two",
        ),
        (
            lambda folder: shutil.copytree(folder, folder.parent / "copy" / "A"),
            "copy/A",
            "case id A is already that of {source}/A; remove or rename one of the two",
        ),
        (
            touching("B_seg.nii.gz"),
            "A",
            "holds the segmentation of B; give each case its own folder, with the same name",
        ),
        (
            touching("A_2_seg.nii"),
            "A",
            "holds the segmentation of A_2; give each case its own folder, with the same name",
        ),
        (
            touching("B_t1.nii.gz"),
            "A/B_t1.nii.gz",
            "the name is not A_<MODALITY>.nii.gz; rename it, or move it out of the source",
        ),
        (
            touching("A_.nii"),
            "A/A_.nii",
            "the name is not A_<MODALITY>.nii.gz; rename it, or move it out of the source",
        ),
    ],
)
def test_scan_names_the_problem_and_keeps_other_cases(tmp_path, damage, path, reason):
    write_case(tmp_path, "Z")
    damage(write_case(tmp_path))
    found = scan(tmp_path)
    assert "Z" in [patient.id for patient in found.patients]
    assert [(problem.path, problem.reason) for problem in found.problems] == [
        (tmp_path / path, reason.format(source=tmp_path))
    ]


def test_scan_names_the_modalities_that_a_case_lacks(tmp_path):
    write_case(tmp_path, "A")
    write_case(tmp_path, "B", modalities=("t1", "t2"))
    found = scan(tmp_path, modalities=("t1", "t2"))
    assert [patient.id for patient in found.patients] == ["B"]
    assert [problem.reason for problem in found.problems] == ["has no t2 (A_t2.nii.gz); it has flair, seg, t1"]


def test_scan_without_a_common_modality_is_a_problem(tmp_path):
    write_case(tmp_path, "A", modalities=("t1",))
    write_case(tmp_path, "B", modalities=("t2",))
    found = scan(tmp_path)
    assert found.patients == ()
    assert found.warnings == ()
    assert [problem.reason for problem in found.problems] == [
        "--modalities is not given; the channels are those that every case has: none; "
        "left out: t1 (1 of 2 cases), t2 (1 of 2 cases)"
    ]


def test_scan_without_nibabel_says_what_to_install(tmp_path, monkeypatch):
    patient = patient_of(write_case(tmp_path))
    monkeypatch.setitem(sys.modules, "nibabel", None)
    for use in (
        lambda: scan(tmp_path),
        patient.read,
        lambda: write_mask(tmp_path / "m.nii", LABELS > 0, patient.segmentation),
    ):
        with pytest.raises(DataError, match=r"^reading NIfTI needs nibabel: pip install nibabel$"):
            use()


@pytest.mark.parametrize("name", ["a/b/c/A-seg.nii", "A_SEG.NII.GZ"])
def test_looks_like_finds_a_segmentation(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert looks_like(tmp_path)


@pytest.mark.parametrize("name", ["a/b/c/d/A_seg.nii", ".a/A_seg.nii", "A_t1.nii.gz", "A_seg.tif", "seg.nii"])
def test_looks_like_is_false_for_other_files(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert not looks_like(tmp_path)
    assert not looks_like(tmp_path / name)
