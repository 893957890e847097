"""The LGG reader: order, pairing, and one message for each thing that can be wrong with a folder or a file."""

import re
import shutil

import numpy as np
import pytest
import tifffile
from fakes import write_lgg_patient

from data.lgg import MAX_SIDE, find_patients, read_slice
from data.patient import DataError, SliceFiles


def write_slice(folder, *, image=None, mask=None, **options):
    """Returns the files of one slice with the given pixels; 8 x 8, black, without tumour unless told."""
    files = SliceFiles(number=1, image=folder / "P_1.tif", mask=folder / "P_1_mask.tif")
    image = np.zeros((8, 8, 3), np.uint8) if image is None else image
    tifffile.imwrite(files.image, image, photometric="rgb" if image.shape[-1:] == (3,) else "minisblack", **options)
    tifffile.imwrite(files.mask, np.zeros((8, 8), np.uint8) if mask is None else mask, photometric="minisblack")
    return files


def test_find_patients_orders_slices_by_number_and_patients_by_id(tmp_path):
    write_lgg_patient(tmp_path, "B", numbers=(10, 2, 1))
    write_lgg_patient(tmp_path, "A", numbers=(3,))
    patients = find_patients(tmp_path)
    assert [patient.id for patient in patients] == ["A", "B"]
    assert [files.number for files in patients[1].slices] == [1, 2, 10]
    assert patients[1].slices[2].image.name == "B_10.tif"
    assert patients[1].slices[2].mask.name == "B_10_mask.tif"


@pytest.mark.parametrize("above", [".", "lgg", "lgg/kaggle_3m", "lgg/kaggle_3m/A"])
def test_find_patients_takes_any_folder_above_the_slices(tmp_path, above):
    write_lgg_patient(tmp_path / "lgg" / "kaggle_3m", "A")
    (tmp_path / "lgg" / "kaggle_3m" / "data.csv").write_text("Patient\n")
    assert [patient.id for patient in find_patients(tmp_path / above)] == ["A"]


def test_find_patients_takes_both_suffixes_and_passes_over_hidden_files(tmp_path):
    folder = write_lgg_patient(tmp_path, "A", numbers=(1,))
    (folder / "A_1.tif").rename(folder / "A_1.TIFF")
    (folder / "._A_1.tif").write_bytes(b"left by macOS")
    assert find_patients(tmp_path)[0].slices[0].image.name == "A_1.TIFF"


def test_find_patients_ends_in_a_cycle_of_links(tmp_path):
    folder = write_lgg_patient(tmp_path, "A")
    (folder / "loop").symlink_to(tmp_path)
    assert len(find_patients(tmp_path)) == 1


def test_find_patients_says_that_the_path_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist.*_mask\.tif"):
        find_patients(tmp_path / "nowhere")


def test_find_patients_says_what_layout_it_expects_of_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match=r"holds no patient.*<PATIENT>_<NUMBER>_mask\.tif"):
        find_patients(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "A_2_mask.tif").unlink(), r"A_2\.tif: image without mask"),
        (lambda folder: (folder / "A_2.tif").unlink(), r"A_2_mask\.tif: mask without image"),
        (lambda folder: shutil.copy(folder / "A_2.tif", folder / "A_02.tif"), "slice number 2 is already that of"),
        (lambda folder: shutil.copytree(folder, folder.parent / "copy" / "A"), "patient id A is already that of"),
        (lambda folder: (folder / "overview.tif").touch(), r"overview\.tif: the name is not"),
        (lambda folder: (folder / "A_2.tif").rename(folder / "B_2.tif"), r"slices of 2 patients \(A, B\)"),
    ],
)
def test_find_patients_names_the_problem(tmp_path, damage, message):
    damage(write_lgg_patient(tmp_path, "A"))
    with pytest.raises(DataError, match=message):
        find_patients(tmp_path)


def test_find_patients_lists_ten_problems_and_counts_the_rest(tmp_path):
    folder = write_lgg_patient(tmp_path, "A", numbers=tuple(range(1, 14)))
    for mask in folder.glob("*_mask.tif"):
        mask.unlink()
    with pytest.raises(DataError, match="13 problem") as caught:
        find_patients(tmp_path)
    assert str(caught.value).count("image without mask") == 10
    assert str(caught.value).endswith("and 3 more")


def test_read_slice_returns_the_pixels_that_were_written(tmp_path):
    image = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    mask = np.zeros((8, 6), np.uint8)
    mask[1, 2] = 255
    read_image, read_mask = read_slice(write_slice(tmp_path, image=image, mask=mask))
    np.testing.assert_array_equal(read_image, image)
    assert np.argwhere(read_mask).tolist() == [[1, 2]]


@pytest.mark.parametrize("value", [0, 1, 255])
def test_read_slice_takes_masks_of_one_and_of_255(tmp_path, value):
    _, mask = read_slice(write_slice(tmp_path, mask=np.full((8, 8), value, np.uint8)))
    assert mask.all() == (value > 0)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ({"image": np.zeros((8, 8, 3), np.uint16)}, r"P_1\.tif: the image is 8 x 8 x 3 of 16-bit uint16"),
        ({"image": np.zeros((8, 8), np.uint8)}, r"P_1\.tif: the image is 8 x 8 of 8-bit uint8"),
        ({"image": np.zeros((8, 9, 3), np.uint8)}, r"P_1_mask\.tif: the mask is 8 x 8 pixels.* 8 x 9"),
        ({"mask": np.zeros((2, 8, 8), np.uint8)}, r"P_1_mask\.tif: holds 2 pages"),
        ({"mask": np.arange(64, dtype=np.uint8).reshape(8, 8)}, r"mask values are 0, 1, 2, 3, 4, 5, \.\.\., but"),
        ({"mask": np.full((8, 8), 128, np.uint8)}, "mask values are 128, but must be 0 and 255"),
    ],
)
def test_read_slice_says_what_came_and_what_is_legal(tmp_path, pixels, message):
    with pytest.raises(DataError, match=message):
        read_slice(write_slice(tmp_path, **pixels))


def test_read_slice_refuses_a_coloured_mask(tmp_path):
    files = write_slice(tmp_path)
    tifffile.imwrite(files.mask, np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    with pytest.raises(DataError, match="the mask is 8 x 8 x 3, but must be height x width"):
        read_slice(files)


@pytest.mark.parametrize("options", [{}, {"rowsperstrip": 2}, {"compression": "zlib", "rowsperstrip": 2}])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.6, 0.95])
def test_read_slice_refuses_a_truncated_file(tmp_path, options, kept):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    files = write_slice(tmp_path, image=image, mask=np.zeros((16, 16), np.uint8), **options)
    content = files.image.read_bytes()
    files.image.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=re.escape(str(files.image))):
        read_slice(files)


@pytest.mark.parametrize("content", [None, b"", b"not a TIFF at all", b"II*\0\xff\xff\xff\x7f"])
def test_read_slice_names_a_file_it_cannot_read(tmp_path, content):
    files = write_slice(tmp_path)
    files.image.unlink()
    if content is not None:
        files.image.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(files.image))):
        read_slice(files)


def test_read_slice_refuses_a_huge_image_before_decoding_it(tmp_path):
    files = write_slice(tmp_path)
    with tifffile.TiffFile(files.image, mode="r+b") as tiff:  # the header promises 4 GB, the file holds 192 bytes
        tiff.pages.first.tags["ImageWidth"].overwrite(60000)
        tiff.pages.first.tags["ImageLength"].overwrite(60000)
    with pytest.raises(DataError, match=rf"at most {MAX_SIDE} pixels a side"):
        read_slice(files)
