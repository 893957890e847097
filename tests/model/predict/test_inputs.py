"""Which volumes a file or a folder holds, and how unclear ones are refused."""

import re
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest

from data.errors import BadFiles, DataError
from data.preprocess import Preprocessing
from model.predict.inputs import find_all, find_volumes, is_mask, read_volume
from model.settings import ModelError, Settings
from tests.support.fakes import write_lgg_patient
from tests.support.hand_model import SETTINGS

NIFTI = Settings(preprocessing=Preprocessing(size=16), channel_names=("t1ce", "flair"), data_format="nifti")


def write_images(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((8, 8, 3), np.uint8))


def write_case(source: Path, case: str, *modalities: str, shape=(4, 5, 6), ending: str = ".nii.gz") -> Path:
    folder = source / case
    folder.mkdir(parents=True, exist_ok=True)
    for number, modality in enumerate(modalities):
        values = np.full(shape, number + 1, np.int16)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 2, 3, 1])), folder / f"{case}_{modality}{ending}")
    return folder


def found(source: Path, settings: Settings = SETTINGS, pattern: str | None = None) -> dict[str, list[str]]:
    volumes = find_volumes(source, settings, patient_pattern=None if pattern is None else re.compile(pattern))
    return {volume.patient: [path.name for path in volume.files] for volume in volumes}


def test_folders_below_images_are_patients_and_masks_are_skipped(tmp_path):
    for kind in ("images", "masks"):
        write_images(tmp_path / kind / "P" / "first", "s_10.png", "s_9.png")
        write_images(tmp_path / kind / "Q", "b.png", "a.png")
        write_images(tmp_path / kind, "alone_3.png", "alone_4.png")
    expected = {
        "P_first": ["s_9.png", "s_10.png"],
        "Q": ["a.png", "b.png"],
        "alone_3": ["alone_3.png"],
        "alone_4": ["alone_4.png"],
    }
    assert found(tmp_path) == expected
    assert found(tmp_path / "images") == expected


def test_images_without_masks_are_found_in_subfolders(tmp_path):
    write_images(tmp_path / "site" / "images", "x.png")
    assert found(tmp_path) == {"site_x": ["x.png"]}


def test_pattern_names_the_patients_below_images(tmp_path):
    write_images(tmp_path / "images", "P1_2.png", "P1_1.png", "P2_1.png")
    assert found(tmp_path, pattern=r"([^/]+)_[0-9]+\.") == {"P1": ["P1_1.png", "P1_2.png"], "P2": ["P2_1.png"]}
    with pytest.raises(DataError, match=r'patient_pattern "zzz" finds no patient in images/P1_1.png'):
        found(tmp_path, pattern="zzz")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("s_1.png", "t.png"), "t.png: has no slice number in its name, but others of its patient have; rename it"),
        (("s_1.png", "t_01.png"), "t_01.png: has the number of s_1.png"),
    ],
)
def test_slices_below_images_without_a_clear_order_are_named(tmp_path, names, message):
    write_images(tmp_path / "images" / "P", *names)
    with pytest.raises(DataError, match=message):
        found(tmp_path)


@pytest.mark.parametrize(
    ("folders", "names", "pattern"),
    [((".",), ("a.png", "a.jpg"), None), (("x", "y"), ("P.png",), r"([^/]+)\."), (("P",), ("s.png", "s.jpg"), None)],
)
def test_slices_whose_masks_would_share_a_name_are_named(tmp_path, folders, names, pattern):
    for folder in folders:
        write_images(tmp_path / "images" / folder, *names)
    stem = names[0].partition(".")[0]
    with pytest.raises(
        DataError, match=rf"{stem}\.\w+: its mask would have the name of the mask of .*{stem}\.\w+; rename one"
    ):
        found(tmp_path, pattern=pattern)


def test_hidden_folders_are_skipped(tmp_path):
    write_lgg_patient(tmp_path, "A")
    write_images(tmp_path / ".A.partial", "A_1.png")
    assert list(found(tmp_path)) == ["A"]


@pytest.mark.parametrize("name", ["a_mask.png", "a_seg.nii.gz", "a_overlay.png", "a_SEG.nii", "b.c_mask.tif"])
def test_masks_are_recognised_by_name(tmp_path, name):
    (tmp_path / name).touch()
    assert is_mask(tmp_path / name)
    assert not is_mask(tmp_path / "mask.png")


def test_cases_have_the_channels_of_the_model_in_order(tmp_path):
    write_case(tmp_path, "B", "flair", "t1", "T1CE", "seg")
    write_case(tmp_path / "deep", "A", "flair", "t1ce", "mask", ending=".nii")
    assert found(tmp_path, NIFTI) == {"A": ["A_t1ce.nii", "A_flair.nii"], "B": ["B_T1CE.nii.gz", "B_flair.nii.gz"]}
    images, spacing = read_volume(find_volumes(tmp_path / "B", NIFTI)[0], NIFTI)
    assert images.shape == (6, 5, 4, 2)
    assert images[0, 0, 0].tolist() == [3, 1]
    assert spacing == (3, 2, 1)


def test_model_of_one_channel_takes_one_nifti_file(tmp_path):
    folder = write_case(tmp_path, "A", "flair", "seg")
    one = Settings(preprocessing=Preprocessing(size=16), channel_names=("flair",), data_format="nifti")
    assert found(folder / "A_flair.nii.gz", one) == {"A_flair": ["A_flair.nii.gz"]}
    with pytest.raises(ModelError, match=r"A_flair.nii.gz is one channel, but the model takes 2 \(t1ce, flair\): name"):
        found(folder / "A_flair.nii.gz", NIFTI)


def test_case_without_a_modality_is_named(tmp_path):
    write_case(tmp_path, "A", "t1ce", "seg")
    write_case(tmp_path, "B", "t1ce", "flair", "FLAIR")
    write_case(tmp_path, "C", "t1ce", "flair")
    (tmp_path / "C" / "other.nii").touch()
    with pytest.raises(DataError) as refused:
        found(tmp_path, NIFTI)
    for message in (
        r"has no flair (A_flair.nii.gz), but seg, t1ce; add it",
        "is the same modality as B_FLAIR.nii.gz; remove one of the two",
        "other.nii: the name is not C_<MODALITY>.nii.gz",
    ):
        assert message in str(refused.value)


def test_channels_on_different_grids_are_named(tmp_path):
    folder = write_case(tmp_path, "A", "t1ce")
    write_case(tmp_path, "A", "flair", shape=(4, 5, 7))
    (folder / "A_t1.nii.gz").write_bytes(b"damaged")
    with pytest.raises(BadFiles, match=r"A_flair.nii.gz: is 7 x 5 x 4 .* but 6 x 5 x 4 A_t1ce.nii.gz is|A_t1ce"):
        read_volume(find_volumes(folder, NIFTI)[0], NIFTI)


def test_files_of_another_kind_than_the_model_takes_are_refused(tmp_path):
    case, patient = write_case(tmp_path / "nifti", "A", "flair", "t1ce"), write_lgg_patient(tmp_path / "lgg", "A")
    for source in (tmp_path / "nifti", case / "A_flair.nii.gz"):
        with pytest.raises(ModelError, match=r"has NIfTI files, but the model was trained on image files \(pre, fla"):
            find_volumes(source, SETTINGS)
    for source in (tmp_path / "lgg", patient / "A_1.tif"):
        with pytest.raises(ModelError, match=r"has image files, but the model was trained on NIfTI files \(t1ce, "):
            find_volumes(source, NIFTI)


def test_patient_in_two_sources_is_named(tmp_path):
    one, other = write_lgg_patient(tmp_path / "one", "A"), write_lgg_patient(tmp_path / "two", "A")
    with pytest.raises(
        DataError, match=r"two/A: a patient of this name is already in .*one/A; predict them separately"
    ):
        find_all([one, other], SETTINGS)
