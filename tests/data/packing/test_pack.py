"""The pack: every slice once, in order, under its patient; and one message for all files that cannot be used."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from data.errors import BadFiles, DataError
from data.packing.pack import join_packs, pack_patients
from data.preprocess import Preprocessing, fit_image, volume_statistics
from data.readers.images import ReadPair
from tests.support.fakes import small_pack, write_lgg_patient
from tests.support.scans import scan_lgg as scan


def pack_folder(source, size=8, **options):
    return pack_patients(scan(source).patients, Preprocessing(size=size), **options)


def test_pack_holds_every_slice_in_order_under_its_patient(tmp_path):
    write_lgg_patient(tmp_path, "B", numbers=(10, 2, 1), seed=1)
    folder = write_lgg_patient(tmp_path, "A", numbers=(3, 4), height=12, width=16, tumour_numbers=(), seed=2)
    pack = pack_folder(tmp_path, size=16)
    assert pack.patient_ids == ("A", "B")
    assert pack.patient_of_slice.tolist() == [0, 0, 1, 1, 1]
    assert pack.slice_numbers.tolist() == [3, 4, 1, 2, 10]
    assert pack.tumour_slices.tolist() == [False, False, False, True, False]
    assert (pack.size, pack.num_channels, pack.num_slices) == (16, 3, 5)
    np.testing.assert_array_equal(pack.images[1], fit_image(tifffile.imread(folder / "A_4.tif"), 16))


def test_pack_keeps_statistics_of_each_patients_own_volume(tmp_path):
    write_lgg_patient(tmp_path, "A", seed=1)
    write_lgg_patient(tmp_path, "B", seed=2)
    pack = pack_folder(tmp_path)
    mean, std = volume_statistics(pack.images[3:])
    np.testing.assert_array_equal(pack.mean[1], mean)
    np.testing.assert_array_equal(pack.std[1], std)


def test_pack_fingerprint_depends_on_the_data_and_not_on_its_folder(tmp_path):
    for place in ("one", "two", "other"):
        write_lgg_patient(tmp_path / place, "A", seed=place == "other")
    one, two, other = (pack_folder(tmp_path / place) for place in ("one", "two", "other"))
    assert one.fingerprint == two.fingerprint
    assert len({one.fingerprint, other.fingerprint, pack_folder(tmp_path / "one", size=4).fingerprint}) == 3


def test_pack_progress_is_on_stderr(tmp_path, capsys):
    write_lgg_patient(tmp_path, "A")
    pack_folder(tmp_path, progress=True)
    captured = capsys.readouterr()
    assert "reading patients" in captured.err
    assert captured.out == ""


def test_select_returns_copies_of_the_given_patients_only():
    pack = small_pack([True, False] * 3, num_patients=3)
    chosen = pack.select(["P2", "P0"])
    assert chosen.patient_ids == ("P0", "P2")
    assert chosen.patient_of_slice.tolist() == [0, 0, 1, 1]
    assert chosen.slice_numbers.tolist() == [0, 1, 4, 5]
    np.testing.assert_array_equal(chosen.images, pack.images[[0, 1, 4, 5]])
    assert not np.shares_memory(chosen.images, pack.images)
    assert chosen.mean.shape == chosen.std.shape == (2, 3)


def test_select_has_a_fingerprint_of_its_own():
    pack = small_pack([True] * 4)
    fingerprints = {pack.fingerprint, pack.select(["P0"]).fingerprint, pack.select(["P1"]).fingerprint}
    assert len(fingerprints) == 3
    assert pack.select(["P0"]).fingerprint in fingerprints


@pytest.mark.parametrize(("asked", "message"), [(["P0", "P9"], "are P9, but must"), ([], "are none, but must")])
def test_select_refuses_unknown_patients(asked, message):
    with pytest.raises(DataError, match=message):
        small_pack([True] * 4).select(asked)


def test_pack_lists_every_unreadable_file_with_its_reason(tmp_path):
    folder = write_lgg_patient(tmp_path, "A")
    (folder / "A_1.tif").write_bytes(b"broken")
    tifffile.imwrite(folder / "A_10_mask.tif", np.full((16, 16), 7, np.uint8))
    with pytest.raises(DataError, match=r"2 file\(s\) cannot be used") as caught:
        pack_folder(tmp_path)
    assert "A_1.tif: is not a TIFF, PNG or JPEG" in str(caught.value)
    assert "A_10_mask.tif: mask values are 7" in str(caught.value)


def test_pack_lists_every_file_of_every_patient(tmp_path):
    folder = write_lgg_patient(tmp_path, "A", numbers=tuple(range(1, 24)))
    for mask in folder.glob("*_mask.tif"):
        mask.write_bytes(b"broken")
    write_lgg_patient(tmp_path, "B")
    other = write_lgg_patient(tmp_path, "C")
    (other / "C_2.tif").write_bytes(b"broken")
    with pytest.raises(BadFiles, match=r"24 file\(s\) cannot be used") as caught:
        pack_folder(tmp_path)
    assert str(caught.value).count("is not a TIFF") == 24
    assert {problem.path.name for problem in caught.value.problems} >= {"A_1_mask.tif", "A_23_mask.tif", "C_2.tif"}


def test_pack_refuses_slices_of_one_patient_with_different_sizes(tmp_path):
    folder = write_lgg_patient(tmp_path, "A")
    tifffile.imwrite(folder / "A_2.tif", np.zeros((9, 16, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(folder / "A_2_mask.tif", np.zeros((9, 16), np.uint8))
    with pytest.raises(
        DataError, match=r"A_2\.tif: is 9 x 16 x 3 of uint8, but most slices of patient A are 16 x 16 x 3"
    ):
        pack_folder(tmp_path)


def test_pack_refuses_patients_with_different_channels(tmp_path):
    for patient in "AB":
        write_lgg_patient(tmp_path, patient)

    def read_more(files):
        image, mask = ReadPair()(files)
        return np.repeat(image, 2, axis=2), mask

    one, other = scan(tmp_path).patients
    with pytest.raises(BadFiles, match=r"6 files, such as .*B_1\.tif.*: their patients have 6 channels, but"):
        pack_patients([one, replace(other, read_slice=read_more)], Preprocessing(size=8))


def test_pack_raises_a_fault_of_the_reader(tmp_path):
    write_lgg_patient(tmp_path, "A")

    def broken(files):
        raise KeyError(files.number)

    with pytest.raises(KeyError):
        pack_patients(
            [replace(patient, read_slice=broken) for patient in scan(tmp_path).patients], Preprocessing(size=8)
        )


def test_join_packs_is_the_opposite_of_select():
    pack = small_pack([True, False] * 3, num_patients=3)
    joined = join_packs([pack.select(["P0", "P1"]), pack.select(["P2"])])
    assert joined.patient_ids == pack.patient_ids
    for name in (
        "images",
        "masks",
        "patient_of_slice",
        "slice_numbers",
        "mean",
        "std",
        "tumour_share",
    ):
        np.testing.assert_array_equal(getattr(joined, name), getattr(pack, name))
    assert joined.fingerprint != pack.fingerprint


def test_pack_of_grey_and_rgb_patients_names_the_option_that_helps(tmp_path):
    for name, channels in (("A", 3), ("B", 3), ("C", 3), ("D", 1), ("E", 1)):
        folder = write_lgg_patient(tmp_path, name)
        for number in (1, 2, 10) if channels == 1 else ():
            tifffile.imwrite(folder / f"{name}_{number}.tif", np.full((16, 16), number, np.uint8))
    with pytest.raises(BadFiles) as caught:
        pack_patients(scan(tmp_path).patients, Preprocessing(size=8))
    headline, *lines = str(caught.value).splitlines()
    assert headline.startswith("12 file(s) cannot be used")
    assert len(lines) == 1
    assert "12 files, such as " in lines[0]
    assert lines[0].endswith("have 1 channels, but most patients have 3; --grayscale makes one grey channel of all")
    pack = pack_patients(scan(tmp_path, grayscale=True).patients, Preprocessing(size=8))
    assert pack.num_channels == 1
