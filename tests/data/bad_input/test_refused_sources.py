"""Sources and options that make no sense, though no file is to blame."""

import re
import shutil

import numpy as np
import pytest

from data.errors import DataError
from search.cohort import read_cohort
from search.tune import main
from tests.support.sources import ALL, NUMBERS, PATIENTS, SIDE, config_of, write_tiff


def empty_masks(source):
    for patient, number in ALL:
        write_tiff(source / patient / f"{patient}_{number}_mask.tif", np.zeros((SIDE, SIDE), np.uint8))


def two_patients(source):
    for patient in PATIENTS[2:]:
        shutil.rmtree(source / patient)


def nothing_but_text(source):
    shutil.rmtree(source)
    source.mkdir()
    (source / "notes.txt").write_text("no image")


def a_file(source):
    shutil.rmtree(source)
    source.write_text("no folder")


REFUSED = [
    (
        "lgg",
        shutil.rmtree,
        {},
        "^data source .*/source does not exist; name a folder of patients",
    ),
    ("lgg", a_file, {}, "^data source .*/source is a file, but must be a folder"),
    (
        "lgg",
        nothing_but_text,
        {},
        r"^data source .*/source has no layout that is known: it holds 1 \.txt file\(s\) such as notes\.txt",
    ),
    (
        "folder",
        shutil.rmtree,
        {"data_format": "folder"},
        "does not exist; name a folder of patients",
    ),
    ("folder", a_file, {"data_format": "folder"}, "is a file, but must be a folder"),
    ("folder", nothing_but_text, {"data_format": "folder"}, "holds no patient: no images lie in an images folder"),
    (
        "nifti",
        shutil.rmtree,
        {"data_format": "nifti"},
        "does not exist; name a folder of patients",
    ),
    ("nifti", a_file, {"data_format": "nifti"}, "is a file, but must be a folder"),
    (
        "nifti",
        nothing_but_text,
        {"data_format": "nifti"},
        "holds no case: no image is a volume",
    ),
    ("lgg", two_patients, {}, "^there are 2 persons, but there must be at least 3"),
    ("lgg", empty_masks, {}, "^none of the . patients of side '.*' has a tumour, but without one Dice is undefined"),
    ("lgg", None, {"channels": ("t1",)}, "^--channels is t1, but the channels of this layout are pre, flair, post"),
    ("lgg", None, {"channels": ("pre",), "grayscale": True}, "^--channels and --grayscale exclude each other"),
    ("lgg", None, {"labels": (1,)}, "^none of the . patients of side '.*' has a tumour"),
    ("nifti", None, {"missing_masks": "empty"}, "^--missing-masks is for folder and lgg, but the data is nifti"),
    ("lgg", None, {"modalities": ("t1",)}, "^--modalities is for nifti and dicom, but the data is lgg"),
    (
        "lgg",
        None,
        {"patient_pattern": "x"},
        r'(?s)has 15 problem\(s\).*15 files, .*"x" finds no patient in them; change',
    ),
    ("folder", None, {"modalities": ("t1",)}, "^--modalities is for nifti and dicom, but the data is folder"),
    (
        "folder",
        None,
        {"channels": ("flair",)},
        "^--channels is flair, but the channels of this layout are numbers from 0",
    ),
    ("folder", None, {"channels": ("-1",)}, "^--channels is -1, but the channels of this layout are numbers from 0"),
    ("folder", None, {"patient_pattern": "("}, r'^patient_pattern "\(" is not a regular .*unterminated subpattern'),
    (
        "folder",
        None,
        {"channels": ("3",)},
        r"(?s)^15 file\(s\) cannot be used.*P0/1.png: has 3 channel\(s\), but --channels asks for number 3",
    ),
    (
        "folder",
        None,
        {"patient_pattern": "nobody"},
        r'(?s)has 15 problem\(s\).*15 files, such as .*images/P0/1.*"nobody" finds no patient in them',
    ),
    ("nifti", None, {"channels": ("0",)}, "^--channels is for folder, lgg and phantom, but the data is nifti"),
    ("nifti", None, {"grayscale": True}, "^--grayscale is for folder, lgg and phantom, but the data is nifti"),
    (
        "nifti",
        None,
        {"patient_pattern": "x"},
        r'^patient_pattern "x" finds no person in 5 path\(s\), such as P0/P0_flair',
    ),
    (
        "nifti",
        None,
        {"modalities": ("t1", "T1")},
        "^modalities are 't1', 'T1', but each must be a name, and may be taken once",
    ),
    ("nifti", None, {"modality": ("t1",)}, "^modality is t1, but must be like t1c=t1gd"),
    ("nifti", None, {"regions": ("WT",)}, "^region is 'WT', but must be a name and its labels, such as WT=1,2,4"),
    ("nifti", None, {"regions": ("WT=1",), "labels": (1,)}, "^--regions and --labels exclude each other"),
    (
        "nifti",
        None,
        {"modalities": ("dwi",)},
        r"(?s)has 1 problem\(s\).*5 case\(s\) have no dwi: P0, P1, P2 and 2 more; P0 has flair, t1, t2",
    ),
    ("nifti", None, {"labels": (0, 1)}, "^labels are 0, 1, but must be 1 to 65535; 0 is no tumour"),
]


@pytest.mark.parametrize(("layout", "damage", "reading", "message"), REFUSED)
def test_a_source_or_an_option_that_makes_no_sense_is_refused(copy, layout, damage, reading, message):
    source = copy(layout)
    if damage:
        damage(source)
    with pytest.raises(DataError, match=message):
        read_cohort(config_of(source, **reading))


def test_the_command_refuses_a_missing_source_in_one_line(tmp_path, capsys):
    arguments = ["--data", str(tmp_path / "none"), "--out", str(tmp_path / "runs"), "--no-cache", "--dry-run"]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(r"error: data source .*/none does not exist; name a folder of patients, .*\n", captured.err)
    assert captured.out == ""


@pytest.mark.parametrize("side", ["train", "val"])
def test_a_side_without_tumour_is_refused(copy, side):
    source = copy("lgg")
    split = read_cohort(config_of(source)).split
    ids = getattr(split, side)
    for patient in ids:
        for number in NUMBERS:
            write_tiff(source / patient / f"{patient}_{number}_mask.tif", np.zeros((SIDE, SIDE), np.uint8))
    with pytest.raises(DataError, match=rf"^none of the {len(ids)} patients of side '{side}' has a tumour"):
        read_cohort(config_of(source), recorded=split)


def test_test_patients_without_tumour_are_legal(copy):
    source = copy("lgg")
    split = read_cohort(config_of(source)).split
    for patient in split.test:
        for number in NUMBERS:
            write_tiff(source / patient / f"{patient}_{number}_mask.tif", np.zeros((SIDE, SIDE), np.uint8))
    assert read_cohort(config_of(source), recorded=split).num_tumour_slices == {"train": 9, "val": 3, "test": 0}
