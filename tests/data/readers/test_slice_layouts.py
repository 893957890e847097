"""Layouts of slices that public data sets have: pairs and patients by names alone, in training as in prediction."""

import re
import shutil
from unicodedata import normalize

import numpy as np
import pytest
import tifffile

from data.errors import BadFiles, DataError
from data.patient import SlicePatient
from data.readers.images import IMAGES
from data.readers.slices import names
from data.source import ReadingOptions, find_source
from model.predict.slice_files import find_slices
from tests.support.sources import touch

TCGA = ("TCGA_CS_4941_19960909", "TCGA_DU_5849_19950405")


def found_in(source, **reading):
    return find_source(str(source), reading=ReadingOptions(**reading), phantom_root=source / "runs")


def pairs_of(found, source):
    """Return the image and the mask of each slice, relative to the source, by patient."""
    return {
        patient.id: [(str(one.image.relative_to(source)), str(one.mask.relative_to(source))) for one in patient.slices]
        for patient in found.patients
    }


def numbers_of(found):
    return {patient.id: [one.number for one in patient.slices] for patient in found.patients}


def two_patients(images, masks, ending=""):
    """Return the paths of two slices each of P0 and P1, in two folders without folders of patients."""
    stems = [f"P{patient}_{number}" for patient in (0, 1) for number in (1, 2)]
    return [f"{folder}/{stem}{end}.png" for folder, end in ((images, ""), (masks, ending)) for stem in stems]


@pytest.mark.parametrize(
    ("images", "masks", "ending", "name"),
    [
        ("images", "labels", "", "folder"),
        ("images", "annotations", "", "folder"),
        ("image", "label", "", "folder"),
        ("imgs", "gt", "", "folder"),
        ("images", "masks", "_segmentation", "folder"),
        ("images", "masks", "-label", "folder"),
        ("images", "ground_truth", "_GT", "folder"),
        ("train_images", "train_masks", "", "folder"),
        ("train", "train_masks", "_mask", "folder"),
        ("imagesTr", "labelsTr", "", "folder"),
        ("Training_Input", "Training_GroundTruth", "_segmentation", "folder"),
        ("set/train/images", "set/train/masks", "", "folder"),
        ("images/train", "masks/train", "", "folder"),
        ("slices", "slices/masks", "", "folder"),
        ("all", "all", "_mask", "lgg"),
        ("all", "all", "_seg", "lgg"),
        (".", ".", "-label", "lgg"),
    ],
)
def test_masks_are_found_by_folder_or_ending_and_patients_by_name(tmp_path, images, masks, ending, name):
    paths = two_patients(images, masks, ending)
    touch(tmp_path, *paths)
    found = found_in(tmp_path)
    assert (found.format, found.warnings, found.skipped) == (name, (), ())
    stems = {"P0": ("P0_1", "P0_2"), "P1": ("P1_1", "P1_2")}
    assert pairs_of(found, tmp_path) == {
        patient: [
            (f"{images}/{stem}.png".removeprefix("./"), f"{masks}/{stem}{ending}.png".removeprefix("./"))
            for stem in own
        ]
        for patient, own in stems.items()
    }
    predicted = {one.patient: [path.stem for path in one.files] for one in find_slices(tmp_path, IMAGES)}
    assert predicted == {patient: list(own) for patient, own in stems.items()}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (  # words before the number
            [f"P{p}/{kind}_{n}.png" for p in (0, 1) for n in (1, 2) for kind in ("image", "mask")],
            {"P0": [1, 2], "P1": [1, 2]},
        ),
        (  # nothing but words
            [f"P{p}/{kind}.tif" for p in (0, 1) for kind in ("image", "mask")],
            {"P0": [1], "P1": [1]},
        ),
        (  # folders of images in folders of patients
            [f"P{p}/{kind}/{n}.png" for p in (0, 1) for n in (1, 2) for kind in ("img", "label")],
            {"P0": [1, 2], "P1": [1, 2]},
        ),
        (  # one patient's slices on both sides of somebody's split
            [
                f"{side}/{kind}/P{p}_{n}.png"
                for kind in ("images", "masks")
                for p in (0, 1)
                for side, n in (("a", 1), ("b", 3))
            ],
            {"P0": [1, 3], "P1": [1, 3]},
        ),
        (  # a dash, a word, zeros
            [f"{kind}/patient0{p}-slice00{n}.png" for kind in ("images", "masks") for p in (1, 2) for n in (1, 2)],
            {"patient01": [1, 2], "patient02": [1, 2]},
        ),
        (  # the only channel, as nnU-Net names it
            [f"{folder}/c_00{n}{end}.png" for folder, end in (("imagesTr", "_0000"), ("labelsTr", "")) for n in (1, 2)],
            {"c_001_0000": [0], "c_002_0000": [0]},
        ),
    ],
)
def test_patients_are_those_that_folders_or_names_say(tmp_path, paths, expected):
    touch(tmp_path, *paths)
    found = found_in(tmp_path)
    assert found.skipped == ()
    assert numbers_of(found) == expected
    predicted = {one.patient: len(one.files) for one in find_slices(tmp_path, IMAGES)}
    assert predicted == {patient: len(numbers) for patient, numbers in expected.items()}


@pytest.mark.parametrize("stems", [("1", "2", "3"), ("a", "b"), ("benign_1", "malignant_1"), ("slice_1", "slice_2")])
def test_names_that_say_no_patient_make_each_image_one_with_a_warning(tmp_path, stems):
    touch(tmp_path, *(f"{folder}/{stem}.png" for folder in ("images", "masks") for stem in stems))
    found = found_in(tmp_path)
    assert sorted(patient.id for patient in found.patients) == sorted(stems)
    assert re.match(rf"{len(stems)} image\(s\) count as a patient each", found.warnings[0])


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
@pytest.mark.parametrize("in_folders", [False, True])
def test_the_lgg_set_may_be_flat_or_of_another_format(tmp_path, suffix, in_folders):
    for patient in TCGA:
        folder = f"kaggle_3m/{patient}" if in_folders else "kaggle_3m"
        touch(tmp_path, *(f"{folder}/{patient}_{n}{end}{suffix}" for n in (1, 2, 10) for end in ("", "_mask")))
    found = found_in(tmp_path)
    assert (found.format, found.channel_names) == ("lgg", ("pre", "flair", "post"))
    assert numbers_of(found) == {key: [1, 2, 10] for key in TCGA}
    assert [(patient.person, patient.group) for patient in found.patients] == [
        ("TCGA_CS_4941", "TCGA_CS"),
        ("TCGA_DU_5849", "TCGA_DU"),
    ]


def test_channels_have_names_only_in_the_lgg_layout(tmp_path):
    touch(tmp_path, *two_patients("all", "all", "_mask"))
    assert found_in(tmp_path).channel_names == ()
    assert found_in(tmp_path, channels=("2",)).channel_names == ("2",)


def test_a_pattern_joins_folders_unless_a_number_is_there_twice(tmp_path):
    for folder, numbers in (("A_1", (1, 2)), ("A_2", (3, 4)), ("B_1", (1, 2)), ("B_2", (1, 2))):
        touch(tmp_path, *(f"{folder}/{folder}_{n}{end}.tif" for n in numbers for end in ("", "_mask")))
    found = found_in(tmp_path, patient_pattern="[AB]")
    assert numbers_of(found) == {"A": [1, 2, 3, 4], "B_1": [1, 2], "B_2": [1, 2]}
    assert {patient.id: patient.person for patient in found.patients} == {"A": "A", "B_1": "B", "B_2": "B"}


PARTS = {
    "series": ("P1/T1", "P1/T2", "P2/T1", "P2/T2"),
    "visits": ("P1/2019-04-30", "P1/2020-01-02", "P2/week_1"),
    "parts": ("P1/a", "P1/b", "P2/a", "P3/b"),
}
SETS = {
    "grades": ("HGG/1", "HGG/2", "LGG/1"),
    "sites": ("site1/P1", "site1/P2", "site1/P3", "site2/P1"),
    "one folder": ("set2020/P1", "set2020/P2", "set2020/P3"),
}


@pytest.mark.parametrize("folders", [*PARTS.values(), *SETS.values()], ids=[*PARTS, *SETS])
def test_folders_of_visits_and_series_are_one_person(tmp_path, folders):
    touch(tmp_path, *(f"{kind}/{folder}/{n}.png" for folder in folders for n in (1, 2) for kind in ("images", "masks")))
    persons = {patient.id: patient.person for patient in found_in(tmp_path).patients}
    are_parts = folders in PARTS.values()
    expected = {folder: folder.split("/")[0] if are_parts else folder for folder in folders}
    assert persons == {id.replace("/", "_"): person.replace("/", "_") for id, person in expected.items()}


@pytest.mark.parametrize("folders", PARTS.values(), ids=PARTS)
def test_folders_of_visits_and_series_are_one_person_where_masks_lie_beside(tmp_path, folders):
    touch(tmp_path, *(f"all/{folder}/{n}{end}.png" for folder in folders for n in (1, 2) for end in ("", "_mask")))
    persons = {patient.id: patient.person for patient in found_in(tmp_path).patients}
    assert persons == {folder.replace("/", "_"): folder.split("/")[0] for folder in folders}


@pytest.mark.parametrize("folders", [*PARTS.values(), *SETS.values()], ids=[*PARTS, *SETS])
@pytest.mark.parametrize("are_beside", [False, True])
def test_stacks_in_folders_of_visits_and_series_are_one_person(tmp_path, folders, are_beside):
    paths = (
        {"": "all/{}/v.tif", "mask": "all/{}/v_mask.tif"}
        if are_beside
        else {"": "images/{}/v.tif", "mask": "masks/{}/v.tif"}
    )
    for number, folder in enumerate(folders):
        for kind, path in paths.items():
            file = tmp_path / path.format(folder)
            file.parent.mkdir(parents=True) if not file.parent.exists() else None
            pixels = np.full((3, 8, 8), 255 if kind else number, np.uint8)
            tifffile.imwrite(file, pixels, photometric="minisblack")
    patients = found_in(tmp_path).patients
    groups = {folder.split("/")[0] for folder in folders} if folders in PARTS.values() else folders
    assert len(patients) == len(folders)
    assert len({patient.person for patient in patients}) == len(groups)


# --- what must not happen in silence ---


@pytest.mark.parametrize(
    ("masks", "taken"),
    [
        (("masks", "pred_masks", "brain_masks", "rater_1_masks"), "masks"),
        (("masks", "manual_masks"), "manual_masks"),
        (("brain_masks", "tumor_masks"), "tumor_masks"),
    ],
)
def test_of_several_folders_of_masks_the_most_trusted_is_taken(tmp_path, masks, taken):
    touch(tmp_path, *(f"{folder}/P{k}_{n}.png" for folder in ("images", *masks) for k in (0, 1) for n in (1, 2)))
    found = found_in(tmp_path)
    assert {mask.split("/")[0] for pairs in pairs_of(found, tmp_path).values() for _, mask in pairs} == {taken}
    left = [folder for folder in masks if folder != taken and "brain" not in folder]
    assert sum("holds other masks of images, and is left out" in warning for warning in found.warnings) == len(left)


def test_several_folders_of_masks_that_are_trusted_alike_are_refused(tmp_path):
    folders = ("images", "rater1_masks", "rater2_masks")
    touch(tmp_path, *(f"{folder}/P{k}_{n}.png" for folder in folders for k in (0, 1) for n in (1, 2)))
    with pytest.raises(
        BadFiles, match=r"holds 2 folders of masks for the images in images \(rater1_masks, rater2_masks\); keep one"
    ):
        found_in(tmp_path, data_format="folder")


def test_masks_of_the_brain_are_no_masks_of_a_tumour(tmp_path):
    touch(tmp_path, *(f"{folder}/P{k}_{n}.png" for folder in ("images", "brain_masks") for k in (0, 1) for n in (1, 2)))
    with pytest.raises(DataError, match="has no layout that is known"):
        found_in(tmp_path)


def test_patients_of_another_format_are_read_too(tmp_path):
    formats = ("tif", "tif", "png")
    touch(tmp_path, *(f"B{k}/B{k}_{n}{end}.{formats[k]}" for k in range(3) for n in (1, 2) for end in ("", "_mask")))
    assert numbers_of(found_in(tmp_path)) == {f"B{k}": [1, 2] for k in range(3)}


@pytest.mark.parametrize(
    ("layout", "unread"), [("folder", "b/P9/P9_1.png"), ("folder", "images2020/1.png"), ("lgg", "b/P9/P9_1.jpg")]
)
def test_images_that_are_not_read_are_said(tmp_path, layout, unread):
    paths = two_patients("a/images", "a/masks") if layout == "folder" else two_patients("all", "all", "_mask")
    touch(tmp_path, *paths, unread)
    found = found_in(tmp_path, data_format=layout)
    assert len(found.patients) == 2
    assert any(f"left out, such as {unread}" in warning for warning in found.warnings)


def test_a_second_mask_is_never_an_image(tmp_path):
    names_ = ("benign (1)", "benign (1)_mask", "benign (1)_mask_1", "benign (2)", "benign (2)_mask")
    touch(tmp_path, *(f"benign/{name}.png" for name in names_))
    with pytest.raises(
        BadFiles, match=r"benign \(1\)_mask_1.png: is a second mask beside benign \(1\)_mask.png; unite"
    ):
        found_in(tmp_path, missing_masks="empty")


def test_slices_without_a_mask_may_be_called_by_their_number(tmp_path):
    touch(tmp_path, *(f"P{k}/{n}.png" for k in (0, 1) for n in range(3)), *(f"P{k}/1_mask.png" for k in (0, 1)))
    assert numbers_of(found_in(tmp_path, missing_masks="empty")) == {"P0": [0, 1, 2], "P1": [0, 1, 2]}


@pytest.mark.parametrize("beside", [False, True])
def test_the_2_of_t2_is_no_number_of_a_slice(tmp_path, beside):
    stems = [f"P{k}/P{k}_{n:03d}_T2" for k in (0, 1) for n in (1, 2)]
    folders = ("", "") if beside else ("images/", "masks/")
    touch(tmp_path, *(f"{folders[is_mask]}{stem}{'_mask' * is_mask}.png" for stem in stems for is_mask in (0, 1)))
    assert numbers_of(found_in(tmp_path)) == {"P0": [1, 2], "P1": [1, 2]}


def test_names_are_compared_whichever_way_they_write_an_umlaut(tmp_path):
    for kind, name in (("images", normalize("NFD", "Größe")), ("masks", normalize("NFC", "Größe"))):
        touch(tmp_path, *(f"{kind}/P{k}/{name}_{n}.png" for k in (0, 1) for n in (1, 2)))
    assert numbers_of(found_in(tmp_path)) == {"P0": [1, 2], "P1": [1, 2]}


# --- copies ---


def write_lgg(folder, *patients, seed=0):
    for k, patient in enumerate(patients):
        (folder / patient).mkdir(parents=True)
        for n in (1, 2):
            rng = np.random.default_rng([seed, k, n])
            pixels = rng.integers(0, 9, (8, 8, 3), dtype=np.uint8)
            tifffile.imwrite(folder / patient / f"{patient}_{n}.tif", pixels, photometric="rgb")
            tifffile.imwrite(folder / patient / f"{patient}_{n}_mask.tif", np.zeros((8, 8), np.uint8))


def test_an_archive_that_holds_itself_once_more_is_read_once(tmp_path):
    write_lgg(tmp_path / "kaggle_3m", *TCGA)
    shutil.copytree(tmp_path / "kaggle_3m", tmp_path / "lgg-mri-segmentation" / "kaggle_3m")
    for junk in ("kaggle_3m/data.csv", "kaggle_3m/README.md", "__MACOSX/kaggle_3m/P/._P_1.tif", "kaggle_3m/.DS_Store"):
        touch(tmp_path, junk)
    found = found_in(tmp_path)
    assert numbers_of(found) == {key: [1, 2] for key in TCGA}
    assert all(patient.files[0].is_relative_to(tmp_path / "kaggle_3m") for patient in found.patients)
    assert found.warnings == (
        f"2 folder(s) of slices occur twice with the same files, such as kaggle_3m/{TCGA[0]} and "
        f"lgg-mri-segmentation/kaggle_3m/{TCGA[0]}; each is taken once",
    )
    assert sorted(one.patient for one in find_slices(tmp_path, IMAGES)) == sorted(TCGA)


def test_a_patient_twice_with_other_bytes_is_a_problem(tmp_path):
    write_lgg(tmp_path, "P1", "P2")
    write_lgg(tmp_path / "more", "P1", seed=1)
    with pytest.raises(BadFiles, match=rf"has 1 problem.*\n.*more/P1: patient id P1 is already that of {tmp_path}/P1;"):
        found_in(tmp_path)


def test_copies_of_folders_of_images_and_masks_are_taken_once(tmp_path):
    touch(tmp_path, "images/P/1.png", "masks/P/1.png")
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"pixels")
    shutil.copytree(tmp_path / "images", tmp_path / "backup" / "images")
    shutil.copytree(tmp_path / "masks", tmp_path / "backup" / "masks")
    found = found_in(tmp_path)
    assert numbers_of(found) == {"P": [1]}
    assert "such as images/P and backup/images/P; each is taken once" in found.warnings[0]


# --- strays, and masks that are not there ---


def test_strays_are_listed_and_cost_no_patient(tmp_path):
    write_lgg(tmp_path, *(f"P{k}" for k in range(5)))
    for stray in ("P0/P0_2_pred.tif", "P1/P1_2 (1).tif", "P3/Copy of P3_1.tif", "P4/Copy of slice.tif"):
        shutil.copy(tmp_path / stray[:2] / f"{stray[:2]}_1.tif", tmp_path / stray)
    for left in ("P2/P2_1.tif~", "P2/P2_1_overlay.png"):
        touch(tmp_path, left)
    (tmp_path / "P3/P3_2_mask.tif").unlink()
    (tmp_path / "P9_empty").mkdir()
    found = found_in(tmp_path, skip_bad_files=True)
    assert sorted(str(problem.path.relative_to(tmp_path)) for problem in found.skipped) == [
        *("P0/P0_2_pred.tif", "P1/P1_2 (1).tif", "P3/Copy of P3_1.tif", "P3/P3_2.tif", "P4/Copy of slice.tif"),
    ]
    assert numbers_of(found) == {"P0": [1, 2], "P1": [1, 2], "P2": [1, 2], "P3": [1], "P4": [1, 2]}
    assert "1 file(s) beside slices are no slices and are left out (P2/P2_1_overlay.png)." in found.warnings


@pytest.mark.parametrize("layout", ["lgg", "folder"])
def test_slices_without_a_mask_are_refused_in_one_line_or_have_no_tumour(tmp_path, layout):
    for k in range(2):
        write_lgg(tmp_path / "P", f"P{k}")
    if layout == "folder":
        for path in (tmp_path / "P").rglob("*.tif"):
            kind, stem = ("masks", path.stem[:-5]) if path.stem.endswith("_mask") else ("images", path.stem)
            target = tmp_path / kind / path.parent.name / f"{stem}.tif"
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    for mask in [*tmp_path.rglob("*_2_mask.tif"), *tmp_path.glob("masks/*/*_2.tif")]:
        mask.unlink()
    touch(tmp_path / ("images" if layout == "folder" else "P") / "P0", "P0_3.tif", "P0_4.tif")
    with pytest.raises(BadFiles) as refused:
        found_in(tmp_path)
    _, *lines = str(refused.value).splitlines()
    assert len(lines) == 1
    assert re.search(r"4 files, such as .*P0_2\.tif, .*: each has no mask; .*--missing-masks empty$", lines[0])
    skipping = found_in(tmp_path, skip_bad_files=True)
    assert re.match("4 of 6 slices have no mask file.*share of slices with tumour 3 times", skipping.warnings[-1])
    found = found_in(tmp_path, missing_masks="empty")
    assert (numbers_of(found), found.skipped) == ({"P0": [1, 2, 3, 4], "P1": [1, 2]}, ())
    assert found.warnings[-1] == "4 of 6 slices have no mask file and count as slices without tumour"
    patient = found.patients[1]
    assert isinstance(patient, SlicePatient)
    assert [one.mask is None for one in patient.slices] == [False, True]
    assert patient.read().masks.shape == (2, 8, 8)


# --- stacks ---


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
@pytest.mark.parametrize("layout", ["{kind}s/P{k}", "P{k}/{kind}", "{kind}s/P{k}/stack"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_may_hold_all_slices_of_a_patient(tmp_path, suffix, layout, channels):
    images = np.random.default_rng(0).integers(0, 4096, (2, 5, 12, 9, channels), dtype=np.uint16)
    images = images[..., 0] if channels == 1 else images
    masks = np.zeros((2, 5, 12, 9), np.uint8)
    masks[0, 2, 3:6, 4:7] = 255
    for kind, stacks in (("image", images), ("mask", masks)):
        for k, stack in enumerate(stacks):
            path = tmp_path / (layout.format(kind=kind, k=k) + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            if suffix == ".npy":
                np.save(path, stack)
            elif stack.ndim == 3:
                tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYX"})
            else:
                tifffile.imwrite(path, stack, photometric="rgb")
    found = found_in(tmp_path)
    assert ([patient.id for patient in found.patients], found.skipped, found.warnings) == (["P0", "P1"], (), ())
    for k, patient in enumerate(found.patients):
        volume = patient.read()
        assert volume.numbers == (1, 2, 3, 4, 5)
        np.testing.assert_array_equal(volume.images, images[k].reshape(5, 12, 9, channels))
        np.testing.assert_array_equal(volume.masks, masks[k] > 0)
    assert sorted(one.patient for one in find_slices(tmp_path, IMAGES)) == ["P0", "P1"]


@pytest.mark.parametrize(
    ("paths", "persons"),
    [
        (
            ("P1/scan1.tif", "P1/scan2.tif", "P2/scan1.tif", "P3/pre.tif"),
            {"P1_scan1": "P1", "P1_scan2": "P1", "P2": "P2", "P3": "P3"},
        ),
        (("x/P1/pre.tif", "x/P1/post.tif", "y/P2/pre.tif"), {"P1_pre": "P1", "P1_post": "P1", "P2": "P2"}),
        (("train/A.tif", "train/B.tif", "test/C.tif", "test/D.tif"), {name: name for name in "ABCD"}),
    ],
)
def test_stacks_in_the_folder_of_a_person_are_visits(tmp_path, paths, persons):
    for path in paths:
        for name in (path, path.replace(".tif", "_mask.tif")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((3, 8, 8), 255 * ("mask" in name), np.uint8)
            pixels[0, 0, 0] = len(path) + sum(map(ord, path)) % 90 if "mask" not in name else 0
            tifffile.imwrite(tmp_path / name, pixels, photometric="minisblack")
    assert {patient.id: patient.person for patient in found_in(tmp_path).patients} == persons


def test_stacks_below_images_in_the_folder_of_a_person_are_visits(tmp_path):
    for folder in ("images", "masks"):
        for k, name in enumerate(("alice1/first", "alice1/second", "bob2/first")):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((3, 8, 8), 255, np.uint8) if folder == "masks" else np.full((3, 8, 8), k, np.uint8)
            tifffile.imwrite(tmp_path / folder / f"{name}.tif", pixels, photometric="minisblack")
    found = {patient.id: patient.person for patient in found_in(tmp_path).patients}
    assert found == {"alice1_first": "alice1", "alice1_second": "alice1", "bob2": "bob2"}


def test_a_stack_and_a_mask_of_fewer_pages_are_refused(tmp_path):
    for folder, pages in (("images", 3), ("masks", 2)):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "P.tif", np.zeros((pages, 8, 8), np.uint8), photometric="minisblack")
    with pytest.raises(BadFiles, match="the mask has 2 pages, but its image has 3"):
        found_in(tmp_path).patients[0].read()


def test_pages_of_an_imagej_hyperstack_are_channels_of_slices(tmp_path):
    for name, axes, shape in (("image", "ZCYX", (4, 2, 8, 8)), ("mask", "ZYX", (4, 8, 8))):
        (tmp_path / "P").mkdir(exist_ok=True)
        pixels = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape) * (name == "image")
        tifffile.imwrite(tmp_path / "P" / f"{name}.tif", pixels, imagej=True, metadata={"axes": axes})
    volume = found_in(tmp_path).patients[0].read()
    np.testing.assert_array_equal(volume.images, np.arange(512).reshape(4, 2, 8, 8).transpose(0, 2, 3, 1))


# --- words ---


@pytest.mark.parametrize(
    ("stem", "base"),
    [("A_1_mask", "A_1"), ("A-1-Seg", "A-1"), ("x.label", "x"), ("mask", ""), ("Maskell_1", None), ("A_1", None)],
)
def test_a_mask_is_known_by_the_last_word_of_its_name(stem, base):
    assert names.mask_base(stem) == base


@pytest.mark.parametrize(
    ("stem", "patient"),
    [
        ("TCGA_CS_4941_19960909_12", "TCGA_CS_4941_19960909"),
        ("P0_1", "P0"),
        ("volume_1_slice_77", "volume_1"),
        ("slice_3", ""),
        ("benign_12", ""),
        ("12", ""),
        ("P01", ""),
    ],
)
def test_a_patient_is_known_by_a_name_with_a_digit_before_the_number(stem, patient):
    assert names.patient_of(stem) == patient
