"""The data source: a word or a path, and the messages for illegal ones."""

from dataclasses import replace

import numpy as np
import pytest

from data.errors import BadFiles, DataError, UserError
from data.patient import SlicePatient
from data.readers.images import ReadPair, write_image
from data.readers.phantom import DEFAULT_NUM_PHANTOMS
from data.readers.table import data_formats
from data.regions import parse_regions
from data.source import ReadingOptions, Source, find_source
from tests.support.fakes import write_lgg_patient
from tests.support.sources import touch


def test_source_writes_the_given_number_of_phantoms(tmp_path):
    found = find_source("phantom:3", phantom_root=tmp_path / "runs")
    assert found.format == "phantom"
    assert [patient.id for patient in found.patients] == ["PHANTOM_0001", "PHANTOM_0002", "PHANTOM_0003"]


def test_source_has_a_default_number_of_phantoms(tmp_path, monkeypatch):
    assert DEFAULT_NUM_PHANTOMS == 24
    monkeypatch.setattr("data.readers.phantom.DEFAULT_NUM_PHANTOMS", 3)  # 24 take two seconds to write
    assert len(find_source("phantom", phantom_root=tmp_path).patients) == 3


def test_source_reads_a_folder(tmp_path):
    write_lgg_patient(tmp_path / "phantom", "A")  # a path, although it ends in the word
    found = find_source(str(tmp_path / "phantom"), phantom_root=tmp_path)
    assert (found.format, [patient.id for patient in found.patients]) == ("lgg", ["A"])


@pytest.mark.parametrize("number", ["x", "", "2", "-5", "10001", "3.5", "²", "9" * 400])
def test_source_refuses_an_illegal_number_of_phantoms(tmp_path, number):
    with pytest.raises(DataError, match=r"must be a whole number from 3 to 10000, for example"):
        find_source(f"phantom:{number}", phantom_root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "is empty"),
        ("no/such/folder", "does not exist"),
        ("~no-such-user/data", r"cannot be opened .*; name a folder"),
        ("a" * 300, r"cannot be opened .*; name a folder"),
        ("a\0b", r"cannot be opened .*; name a folder"),
    ],
)
def test_source_refuses_a_path_that_does_not_exist(tmp_path, source, message):
    with pytest.raises(DataError, match=message):
        find_source(source, phantom_root=tmp_path)


# --- formats ---


LGG = ("P/P_1.tif", "P/P_1_mask.tif")
FOLDER = ("images/P/1.png", "masks/P/1.png")
NIFTI = ("C/C_t1.nii.gz", "C/C_seg.nii.gz")


def found_in(source, **reading):
    return find_source(str(source), reading=ReadingOptions(**reading), phantom_root=source / "runs")


def slice_patients(source: Source) -> list[SlicePatient]:
    return [patient for patient in source.patients if isinstance(patient, SlicePatient)]


@pytest.mark.parametrize(
    ("name", "paths", "patient"),
    [
        ("lgg", LGG, "P"),
        ("lgg", ("masks/masks_1.tif", "masks/masks_1_mask.tif"), "masks"),
        ("lgg", ("a/b/c/d/e/P/P_1.TIFF", "a/b/c/d/e/P/P_1_mask.TIFF"), "P"),
        ("folder", FOLDER, "P"),
        ("folder", ("set/Images/P/1.tif", "set/Masks/P/1_mask.tif"), "P"),
        ("nifti", NIFTI, "C"),
        ("nifti", ("HGG/C/C-t1.nii", "HGG/C/C-seg.nii"), "C"),
    ],
)
def test_source_recognises_the_format(tmp_path, name, paths, patient):
    touch(tmp_path, *paths)
    found = found_in(tmp_path)
    assert (found.format, [one.id for one in found.patients]) == (name, [patient])
    assert found.skipped == ()
    assert found.rule != (named := found_in(tmp_path, data_format=name)).rule == "--data-format says so"
    assert replace(found, rule=named.rule) == named


def test_source_of_several_formats_is_read_in_the_first_of_the_table(tmp_path):
    touch(tmp_path, *LGG)
    touch(tmp_path, *FOLDER)
    assert found_in(tmp_path).format == "folder"
    touch(tmp_path, *NIFTI)
    assert found_in(tmp_path).format == "nifti"


@pytest.mark.parametrize(("name", "patient"), [("lgg", "P"), ("folder", "Q"), ("nifti", "C")])
def test_source_is_read_in_the_given_format(tmp_path, name, patient):
    touch(tmp_path, *LGG, "images/Q/1.png", "masks/Q/1.png", *NIFTI)
    found = found_in(tmp_path, data_format=name)
    assert (found.format, [one.id for one in found.patients]) == (name, [patient])


def test_source_with_the_wrong_format_says_what_is_expected(tmp_path):
    touch(tmp_path, *LGG)
    with pytest.raises(
        DataError, match=r"holds no patient: no images lie in an images folder; expected <source>/images"
    ):
        found_in(tmp_path, data_format="folder")
    with pytest.raises(DataError, match=r"holds no case: .*; expected volumes called <CASE>_<MODALITY>.nii.gz"):
        found_in(tmp_path, data_format="nifti")


LEGAL = {
    "channels": (("pre",), {"lgg": ("post", "pre"), "folder": ("2", "0")}),
    "grayscale": (True, {"lgg": True, "folder": True}),
    "modalities": (("t1",), {"nifti": ("t1",)}),
    "labels": ((1,), {"nifti": (1, 4), "folder": (2,), "lgg": (2,)}),
    "missing_masks": ("empty", {"folder": "empty", "lgg": "empty"}),
    "patient_pattern": (".", {"folder": "images/([^/]+)", "lgg": "[^/]+", "nifti": "[^/]+"}),
}


@pytest.mark.parametrize(("name", "paths"), [("lgg", LGG), ("folder", FOLDER), ("nifti", NIFTI)])
@pytest.mark.parametrize("option", LEGAL)
def test_source_takes_or_refuses_an_option_by_format(tmp_path, name, paths, option):
    touch(tmp_path, *paths)
    other, legal = LEGAL[option]
    if name in legal:
        assert len(found_in(tmp_path, **{option: legal[name]}).patients) == 1
    else:
        message = (
            rf"^--{option.replace('_', '-')} is for .*{'|'.join(legal)}.*, but the data is {name}; leave it out\.$"
        )
        with pytest.raises(DataError, match=message):
            found_in(tmp_path, **{option: other})


def test_source_of_phantoms_takes_channels_and_refuses_labels(tmp_path):
    reading = ReadingOptions(channels=("flair",))
    found = find_source("phantom:3", reading=reading, phantom_root=tmp_path)
    assert found.patients[0].read().images.shape[3] == 1
    with pytest.raises(
        DataError, match=r"^--labels is for nifti, dicom, folder and lgg, but the data is phantom; leave it out\.$"
    ):
        find_source("phantom:3", reading=ReadingOptions(labels=(1,)), phantom_root=tmp_path)


def test_source_gives_its_options_to_the_reader(tmp_path):
    touch(tmp_path, *FOLDER, "images/Q_7.png", "masks/Q_7.png")
    reading = {"patient_pattern": r"images/(.)", "labels": (2,), "channels": ("2", "0")}
    first, second = slice_patients(found_in(tmp_path, **reading))
    assert (first.id, second.id) == ("P", "Q")
    assert first.read_slice == ReadPair(regions=parse_regions((), (2,)), channels=(2, 0))
    grey, _ = slice_patients(found_in(tmp_path, grayscale=True, patient_pattern=r"images/(.)"))
    assert grey.read_slice == ReadPair(grayscale=True)


@pytest.mark.parametrize(
    ("name", "paths", "stray", "problem"),
    [
        ("lgg", LGG, "P/P_2.tif", "P/P_2.tif: has no mask (P_2_mask.tif)"),
        ("folder", FOLDER, "masks/P/2.png", "masks/P/2.png: has no image in"),
        (
            "nifti",
            NIFTI,
            "D/D_t1.nii.gz",
            "D: 1 case(s) have no segmentation, though others of the same folder have one: D",
        ),
    ],
)
def test_source_with_a_stray_file_is_refused_or_read_without_it(tmp_path, name, paths, stray, problem):
    touch(tmp_path, *paths)
    whole = found_in(tmp_path)
    touch(tmp_path, stray)
    with pytest.raises(BadFiles) as caught:
        found_in(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"data source {tmp_path}, read as {name}, has 1 problem(s); repair them, choose another")
    assert f"--skip-bad-files:\n  - {tmp_path}/{problem}" in message
    found = found_in(tmp_path, skip_bad_files=True)
    assert found.patients == whole.patients
    assert found.skipped == caught.value.problems
    assert [str(one)[: len(f"{tmp_path}/{problem}")] for one in found.skipped] == [f"{tmp_path}/{problem}"]


def test_source_says_that_files_of_another_kind_are_left_out(tmp_path):
    touch(tmp_path, *LGG, "nifti/P9/P9_flair.nii.gz", "nifti/P9/P9_t1.nii.gz")
    found = found_in(tmp_path, data_format="lgg")
    assert "2 file(s) of another kind are left out, such as nifti/P9/P9_flair.nii.gz" in found.warnings


def test_source_says_each_cause_once_with_three_examples(tmp_path):
    touch(tmp_path, *LGG, *(f"P/P_{number}.tif" for number in range(2, 42)), "P/P_50_mask.tif")
    with pytest.raises(BadFiles, match=r"has 41 problem\(s\)") as caught:
        found_in(tmp_path)
    _, *lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        f"  - 40 files, such as {tmp_path}/P/P_2.tif, {tmp_path}/P/P_21.tif, {tmp_path}/P/P_41.tif: each has no mask; "
    )
    assert "--missing-masks empty" in lines[0]
    assert lines[1].startswith(f"  - {tmp_path}/P/P_50_mask.tif: has no image; add it, or move the mask away")


def test_source_passes_on_the_warnings_of_the_reader(tmp_path):
    touch(tmp_path, *NIFTI)
    assert found_in(tmp_path).warnings == ("--modalities is not given; the channels are those that every case has: t1",)
    assert found_in(tmp_path, modalities=("t1",)).warnings == ()


def test_reading_refuses_channels_twice():
    with pytest.raises(UserError, match=r"^channels are flair, pre, flair, but each may be taken once$"):
        ReadingOptions(channels=("flair", "pre", "flair"))


def test_reading_refuses_another_format():
    with pytest.raises(UserError, match=f"data_format is 'minc', but must be one of {', '.join(data_formats())}$"):
        ReadingOptions(data_format="minc")


RGB, GREY = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)


@pytest.mark.parametrize(
    ("data", "options", "pixels", "expected"),
    [
        (LGG, {}, RGB, ("pre", "flair", "post")),
        (LGG, {}, GREY, ("0",)),
        (LGG, {"channels": ("flair", "pre")}, RGB, ("flair", "pre")),
        (LGG, {"grayscale": True}, RGB, ("grey",)),
        (FOLDER, {}, RGB, ("0", "1", "2")),
        (FOLDER, {"channels": ("2", "0")}, RGB, ("2", "0")),
        (FOLDER, {"grayscale": True}, RGB, ("grey",)),
    ],
)
def test_channel_names_are_those_of_the_layout(tmp_path, data, options, pixels, expected):
    image, mask = (tmp_path / name for name in data)
    image.parent.mkdir(parents=True)
    mask.parent.mkdir(parents=True, exist_ok=True)
    write_image(image, pixels)
    write_image(mask, GREY)
    found = found_in(tmp_path, **options)
    assert found.name_channels(found.patients[0].read().images.shape[3]) == expected


def test_phantoms_have_the_channel_names_of_the_lgg_layout(tmp_path):
    assert find_source("phantom:3", phantom_root=tmp_path).name_channels(3) == ("pre", "flair", "post")
