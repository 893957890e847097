"""The LGG reader: order, pairing, and one message for each thing that can be wrong with a folder or a file."""

import re
import shutil

import numpy as np
import pytest
import tifffile

from data.errors import BadFiles, DataError
from tests.support.fakes import write_lgg_patient
from tests.support.scans import scan_lgg as scan


def patients_in(source):
    found = scan(source)
    assert found.problems == ()
    return found.patients


def test_scan_orders_slices_by_number_and_patients_by_id(tmp_path):
    write_lgg_patient(tmp_path, "B", numbers=(10, 2, 1))
    write_lgg_patient(tmp_path, "A", numbers=(3,))
    patients = patients_in(tmp_path)
    assert [patient.id for patient in patients] == ["A", "B"]
    assert [files.number for files in patients[1].slices] == [1, 2, 10]
    assert patients[1].slices[2].image.name == "B_10.tif"
    assert patients[1].slices[2].mask == tmp_path / "B" / "B_10_mask.tif"


@pytest.mark.parametrize("above", [".", "lgg", "lgg/kaggle_3m", "lgg/kaggle_3m/A"])
def test_scan_takes_any_folder_above_the_slices(tmp_path, above):
    write_lgg_patient(tmp_path / "lgg" / "kaggle_3m", "A")
    (tmp_path / "lgg" / "kaggle_3m" / "data.csv").write_text("Patient\n")
    assert [patient.id for patient in patients_in(tmp_path / above)] == ["A"]


def test_scan_takes_both_suffixes_and_leaves_out_hidden_files(tmp_path):
    folder = write_lgg_patient(tmp_path, "A", numbers=(1,))
    (folder / "A_1.tif").rename(folder / "A_1.TIFF")
    (folder / "._A_1.tif").write_bytes(b"left by macOS")
    assert patients_in(tmp_path)[0].slices[0].image.name == "A_1.TIFF"


def test_scan_ends_in_a_cycle_of_links(tmp_path):
    folder = write_lgg_patient(tmp_path, "A")
    (folder / "loop").symlink_to(tmp_path)
    assert len(patients_in(tmp_path)) == 1


def test_scan_says_what_layout_it_expects_of_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match=r"holds no patient.*<PATIENT>_<NUMBER>_mask\.tif"):
        scan(tmp_path)


def another_of_the_same_name(folder):
    shutil.copytree(folder, folder.parent / "copy" / "A")
    tifffile.imwrite(folder.parent / "copy" / "A" / "A_1.tif", np.ones((16, 16, 3), np.uint8), photometric="rgb")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "A_2_mask.tif").unlink(), r"A_2\.tif: has no mask"),
        (lambda folder: (folder / "A_2.tif").unlink(), r"A_2_mask\.tif: has no image"),
        (lambda folder: shutil.copy(folder / "A_2.tif", folder / "A_02.tif"), "slice number 2 is already that of"),
        (another_of_the_same_name, "patient id A is already that of"),
        (lambda folder: (folder / "overview.tif").touch(), r"overview\.tif: the name is not"),
        (lambda folder: (folder / "A_2.tif").rename(folder / "B_2.tif"), r"slices of 2 patients \(A, B\)"),
    ],
)
def test_scan_names_the_problem(tmp_path, damage, message):
    damage(write_lgg_patient(tmp_path, "A"))
    [problem] = scan(tmp_path).problems
    assert re.search(message, str(problem))


def test_patient_reads_what_was_written(tmp_path):
    write_lgg_patient(tmp_path, "TCGA_DU_5851", numbers=(1, 3), tumour_numbers=(3,), height=12, width=10)
    [patient] = patients_in(tmp_path)
    volume = patient.read()
    images = [tifffile.imread(tmp_path / "TCGA_DU_5851" / f"TCGA_DU_5851_{number}.tif") for number in (1, 3)]
    np.testing.assert_array_equal(volume.images, images)
    assert (volume.masks.sum((1, 2)).tolist(), volume.numbers) == ([0, 16], (1, 3))
    assert patient.group == "TCGA_DU"


@pytest.mark.parametrize(("channels", "indices"), [(("flair",), [1]), (("post", "pre"), [2, 0]), ((), [0, 1, 2])])
def test_scan_takes_channels_by_name_in_their_order(tmp_path, channels, indices):
    write_lgg_patient(tmp_path, "A")
    [patient], [chosen] = scan(tmp_path).patients, scan(tmp_path, channels=channels).patients
    np.testing.assert_array_equal(chosen.read().images, patient.read().images[..., indices])


def test_scan_averages_colours(tmp_path):
    write_lgg_patient(tmp_path, "A")
    [patient], [grey] = scan(tmp_path).patients, scan(tmp_path, grayscale=True).patients
    images = patient.read().images @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey.read().images[..., 0], images, atol=0.51)


def test_scan_refuses_an_unknown_channel(tmp_path):
    write_lgg_patient(tmp_path, "A")
    with pytest.raises(DataError, match="channels is flair, t2, but the channels of this layout are pre, flair, post"):
        scan(tmp_path, channels=("flair", "t2"))


def test_patient_lists_ten_bad_files_and_counts_the_rest(tmp_path):
    for mask in write_lgg_patient(tmp_path, "A", numbers=tuple(range(1, 14))).glob("*_mask.tif"):
        mask.write_bytes(b"")
    [patient] = patients_in(tmp_path)
    with pytest.raises(BadFiles, match=r"13 file\(s\) of patient A") as caught:
        patient.read()
    assert str(caught.value).count("is empty") == 10
    assert str(caught.value).endswith("and 3 more")


def test_patient_lists_all_its_bad_files_and_can_leave_them_out(tmp_path):
    folder = write_lgg_patient(tmp_path, "A", numbers=(1, 2, 3, 4))
    (folder / "A_1.tif").write_bytes(b"")
    tifffile.imwrite(folder / "A_3.tif", np.zeros((16, 16, 3), np.uint16), photometric="rgb")
    tifffile.imwrite(folder / "A_4_mask.tif", np.full((16, 16), 9, np.uint8))
    [patient] = patients_in(tmp_path)
    with pytest.raises(BadFiles) as caught:
        patient.read()
    assert [problem.path.name for problem in caught.value.problems] == ["A_1.tif", "A_4_mask.tif", "A_3.tif"]
    assert "A_3.tif: is 16 x 16 x 3 of uint16, but most slices of patient A are 16 x 16 x 3 of uint8" in str(
        caught.value
    )
    rest = patient.without({problem.path for problem in caught.value.problems})
    assert rest is not None
    assert rest.read().numbers == (2,)
    assert patient.without(set(patient.files)) is None
