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
from model.predict.volume_files import InputOptions
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
    volumes = find_volumes(
        source, settings, InputOptions(patient_pattern=None if pattern is None else re.compile(pattern))
    )
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


def test_channels_that_lie_elsewhere_are_read_voxel_by_voxel_if_asked(tmp_path):
    folder = write_case(tmp_path, "A", "t1ce", "flair")
    moved = np.array([[1.0, 0, 0, 9], [0, 2, 0, 9], [0, 0, 3, 9], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(np.full((4, 5, 6), 2, np.int16), moved), folder / "A_flair.nii.gz")
    with pytest.raises(BadFiles, match=r"A_flair.nii.gz: has as many voxels as A_t1ce.nii.gz, but .* --trust-voxels"):
        read_volume(find_volumes(tmp_path, NIFTI)[0], NIFTI)
    (trusted,) = find_volumes(tmp_path, NIFTI, InputOptions(trust_voxels=True))
    assert read_volume(trusted, NIFTI)[0][0, 0, 0].tolist() == [1, 2]


def test_model_of_one_channel_takes_one_nifti_file(tmp_path):
    folder = write_case(tmp_path, "A", "flair", "seg")
    one = Settings(preprocessing=Preprocessing(size=16), channel_names=("flair",), data_format="nifti")
    assert found(folder / "A_flair.nii.gz", one) == {"A_flair": ["A_flair.nii.gz"]}
    with pytest.raises(ModelError, match=r"A_flair.nii.gz is one channel, but the model takes 2 \(t1ce, flair\): name"):
        found(folder / "A_flair.nii.gz", NIFTI)


def test_cases_that_are_unclear_do_not_stop_the_others(tmp_path):
    write_case(tmp_path, "A", "t1ce", "seg")
    write_case(tmp_path, "B", "t1ce", "flair", "FLAIR")
    write_case(tmp_path, "C", "t1ce", "flair")
    (tmp_path / "C" / "other.nii").touch()
    problems = {volume.patient: volume.problem for volume in find_volumes(tmp_path, NIFTI)}
    assert problems == {
        "A": f"{tmp_path}/A: case A has no flair, but t1ce; add the files, or say what they are called, such as "
        "--modality flair=NAME",
        "B": f"{tmp_path}/B/B_flair.nii.gz: is the same modality as B_FLAIR.nii.gz; remove one of the two",
        "C": "",
        "C/other.nii": f"{tmp_path}/C/other.nii: belongs to no case; call it <CASE>_<MODALITY>, or move it away",
    }


def test_cases_of_which_all_are_unclear_are_refused(tmp_path):
    write_case(tmp_path, "A", "t1ce", "seg")
    write_case(tmp_path, "B", "flair")
    with pytest.raises(DataError) as refused:
        find_volumes(tmp_path, NIFTI)
    assert "has 2 problem(s)" in str(refused.value)
    assert "case A has no flair, but t1ce" in str(refused.value)
    assert "case B has no t1ce, but flair" in str(refused.value)


@pytest.mark.parametrize(
    ("paths", "renames", "expected"),
    [
        (("A_t1gd.nii", "A_FLAIR.nii", "B_t1c.nii", "B_fla.nii"), {}, {"A": "A_t1gd A_FLAIR", "B": "B_t1c B_fla"}),
        (("A/t1c.nii", "A/flair.nii", "A/t1.nii"), {}, {"A": "t1c flair"}),
        (("t1c/A.nii", "flair/A.nii"), {}, {"A": "A A"}),
        (("A_0000.nii", "A_0001.nii"), {"t1ce": "0001", "flair": "0000"}, {"A": "A_0001 A_0000"}),
        (("A_pink.nii", "A_flair.nii"), {"t1ce": "pink"}, {"A": "A_pink A_flair"}),
        (("images/A_t1ce.nii", "images/A_flair.nii", "labels/A.nii"), {}, {"A": "A_t1ce A_flair"}),
    ],
    ids=["flat", "folders of cases", "folders of modalities", "nnU-Net", "words of one's own", "segmentations"],
)
def test_cases_are_found_by_the_names_of_training(tmp_path, paths, renames, expected):
    for path in paths:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    volumes = find_volumes(tmp_path, NIFTI, InputOptions(renames=renames))
    assert [volume.problem for volume in volumes if volume.problem] == []
    assert {volume.patient: " ".join(path.stem for path in volume.files) for volume in volumes} == expected


def write_four_channels(path: Path) -> np.ndarray:
    values = np.arange(4 * 5 * 6 * 4, dtype=np.int16).reshape(4, 5, 6, 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 2, 3, 1])), path)
    return values


def test_channels_of_one_file_are_found_by_the_names_in_dataset_json(tmp_path):
    values = write_four_channels(tmp_path / "imagesTs" / "A.nii.gz")
    (tmp_path / "dataset.json").write_text('{"modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}}')
    (volume,) = find_volumes(tmp_path, NIFTI)
    assert (volume.patient, volume.indices, len(volume.files)) == ("A", (2, 0), 1)
    images, _ = read_volume(volume, NIFTI)
    for channel, index in enumerate(volume.indices):
        assert sorted(images[..., channel].ravel()) == sorted(values[..., index].ravel())
    (tmp_path / "dataset.json").write_text('{"modality": {"0": "a", "1": "b", "2": "c", "3": "t1ce", "4": "flair"}}')
    (volume,) = find_volumes(tmp_path, NIFTI)
    with pytest.raises(BadFiles, match=r"A.nii.gz: has 4 channel\(s\), but number 5 is asked for; see dataset.json"):
        read_volume(volume, NIFTI)


def test_order_of_channels_in_a_file_is_never_guessed(tmp_path):
    write_four_channels(tmp_path / "A.nii.gz")
    with pytest.raises(DataError, match=r"A.nii.gz: does not say which of t1ce, flair it holds; call it"):
        find_volumes(tmp_path, NIFTI)
    numbered = Settings(preprocessing=Preprocessing(size=16), channel_names=tuple("0123"), data_format="nifti")
    assert read_volume(find_volumes(tmp_path, numbered)[0], numbered)[0].shape == (6, 5, 4, 4)
    two = Settings(preprocessing=Preprocessing(size=16), channel_names=("0", "1"), data_format="nifti")
    with pytest.raises(ModelError, match=r"A.nii.gz has 4 channels, but the model takes 2 \(0, 1\)"):
        read_volume(find_volumes(tmp_path, two)[0], two)


def test_channels_on_different_grids_are_named(tmp_path):
    folder = write_case(tmp_path, "A", "t1ce")
    write_case(tmp_path, "A", "flair", shape=(4, 5, 7))
    (folder / "A_t1.nii.gz").write_bytes(b"damaged")
    with pytest.raises(BadFiles, match=r"A_flair.nii.gz: is 7 x 5 x 4 .* but 6 x 5 x 4 A_t1ce.nii.gz is|A_t1ce"):
        read_volume(find_volumes(folder, NIFTI)[0], NIFTI)


def test_files_of_another_kind_than_the_model_takes_are_refused(tmp_path):
    case, patient = write_case(tmp_path / "nifti", "A", "flair", "t1ce"), write_lgg_patient(tmp_path / "lgg", "A")
    for source in (tmp_path / "nifti", case / "A_flair.nii.gz"):
        with pytest.raises(ModelError, match=r"has volume files, but the model was trained on image files \(pre, fla"):
            find_volumes(source, SETTINGS)
    for source in (tmp_path / "lgg", patient / "A_1.tif"):
        with pytest.raises(ModelError, match=r"has image files, but the model was trained on volume files \(t1ce, "):
            find_volumes(source, NIFTI)


def test_patient_in_two_sources_is_named(tmp_path):
    one, other = write_lgg_patient(tmp_path / "one", "A"), write_lgg_patient(tmp_path / "two", "A")
    with pytest.raises(
        DataError, match=r"two/A: a patient of this name is already in .*one/A; predict them separately"
    ):
        find_all([one, other], SETTINGS)
    with pytest.raises(DataError, match=r"^patient A in .*one/A is given twice: name its file or folder once$"):
        find_all([one, one], SETTINGS)


def test_case_that_is_unclear_does_not_stop_other_sources(tmp_path):
    sources = [write_case(tmp_path, "A", "t1ce"), write_case(tmp_path, "B", "t1ce", "flair")]
    found = find_all(sources, NIFTI)
    assert [(volume.patient, bool(volume.problem)) for volume in found] == [("A", True), ("B", False)]
    with pytest.raises(DataError, match="case A has no flair"):
        find_all(sources[:1], NIFTI)


def test_file_of_another_modality_is_refused(tmp_path):
    folder = write_case(tmp_path, "A", "t1", "t2f", "pink")
    one = Settings(preprocessing=Preprocessing(size=16), channel_names=("flair",), data_format="nifti")
    for name, renames in (("t2f", {}), ("pink", {}), ("t1", {"flair": "t1"})):
        assert find_volumes(folder / f"A_{name}.nii.gz", one, InputOptions(renames=renames))[0].patient == f"A_{name}"
    with pytest.raises(ModelError, match=r"A_t1.nii.gz is t1 by its name, but the model takes flair; .* --mod"):
        find_volumes(folder / "A_t1.nii.gz", one)
