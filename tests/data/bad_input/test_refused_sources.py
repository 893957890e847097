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
        "^data source .*/source does not exist, but must be a folder; expected <source>/<PATIENT>",
    ),
    ("lgg", a_file, {}, "^data source .*/source is a file, but must be a folder"),
    (
        "lgg",
        nothing_but_text,
        {},
        "^data source .*/source holds no patient: no .tif or .tiff file is in it or below it",
    ),
    (
        "folder",
        shutil.rmtree,
        {"data_format": "folder"},
        "does not exist, but must be a folder; expected <source>/images",
    ),
    ("folder", a_file, {"data_format": "folder"}, "is a file, but must be a folder"),
    ("folder", nothing_but_text, {"data_format": "folder"}, "holds no patient: no images lie in an images folder"),
    (
        "nifti",
        shutil.rmtree,
        {"data_format": "nifti"},
        "does not exist, but must be a folder; expected <source>/<CASE>",
    ),
    ("nifti", a_file, {"data_format": "nifti"}, "is a file, but must be a folder"),
    (
        "nifti",
        nothing_but_text,
        {"data_format": "nifti"},
        "holds no case: no .nii or .nii.gz file is in it or below it",
    ),
    ("lgg", two_patients, {}, "^there are 2 patients, but there must be at least 3"),
    ("lgg", empty_masks, {}, "^none of the 3 patients of side 'train' has a tumour, but without one Dice is undefined"),
    ("lgg", None, {"channels": ("t1",)}, "^--channels is t1, but the channels of this layout are pre, flair, post"),
    ("lgg", None, {"channels": ("pre",), "grayscale": True}, "^--channels and --grayscale exclude each other"),
    ("lgg", None, {"labels": (1,)}, "^--labels is for nifti and folder, but the data is lgg"),
    ("lgg", None, {"modalities": ("t1",)}, "^--modalities is for nifti, but the data is lgg"),
    ("lgg", None, {"patient_pattern": "x"}, "^--patient-pattern is for folder, but the data is lgg"),
    ("folder", None, {"modalities": ("t1",)}, "^--modalities is for nifti, but the data is folder"),
    (
        "folder",
        None,
        {"channels": ("flair",)},
        "^--channels is flair, but the channels of this layout are numbers from 0",
    ),
    ("folder", None, {"channels": ("-1",)}, "^--channels is -1, but the channels of this layout are numbers from 0"),
    ("folder", None, {"patient_pattern": "("}, r'^patient_pattern "\(" is illegal .*unterminated subpattern'),
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
        r'(?s)has 15 problem\(s\).*"nobody" finds no patient in images/P0/1',
    ),
    ("nifti", None, {"channels": ("0",)}, "^--channels is for folder and lgg and phantom, but the data is nifti"),
    ("nifti", None, {"grayscale": True}, "^--grayscale is for folder and lgg and phantom, but the data is nifti"),
    ("nifti", None, {"patient_pattern": "x"}, "^--patient-pattern is for folder, but the data is nifti"),
    ("nifti", None, {"modalities": ("t1", "T1")}, '^modalities are t1, t1, but must differ, and must not be "seg"'),
    ("nifti", None, {"modalities": ("seg",)}, '^modalities are seg, but must differ, and must not be "seg"'),
    (
        "nifti",
        None,
        {"modalities": ("dwi",)},
        r"(?s)has 5 problem\(s\).*P0: has no dwi \(P0_dwi.nii.gz\); it has flair",
    ),
    ("nifti", None, {"labels": (0, 1)}, "^labels are 0, 1, but must be above 0; 0 is no tumour"),
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
    assert re.fullmatch(r"error: data source .*/none does not exist, but must be a folder; expected .*\n", captured.err)
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
        read_cohort(config_of(source))


def test_test_patients_without_tumour_are_legal(copy):
    source = copy("lgg")
    for patient in read_cohort(config_of(source)).split.test:
        for number in NUMBERS:
            write_tiff(source / patient / f"{patient}_{number}_mask.tif", np.zeros((SIDE, SIDE), np.uint8))
    assert read_cohort(config_of(source)).num_tumour_slices == {"train": 9, "val": 3, "test": 0}
