"""The reader of images beside masks: pairs, patients, and a message for each problem."""

import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from data.errors import BadFiles, DataError
from data.patient import SliceFiles
from data.readers.folder import recognise
from data.readers.images import ReadPair
from data.readers.tree import read_tree
from data.regions import parse_regions
from tests.support import scans
from tests.support.sources import touch

TUMOUR = np.zeros((6, 8), np.uint8)
TUMOUR[1:3, 2:5] = 255
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def touch_pairs(top, *names, images="images", masks="masks", ending="_mask"):
    for name in names:
        touch(top, f"{images}/{name}.png", f"{masks}/{name}{ending}.png")


def scan_folder(source, *, pattern=None, **options):
    return scans.scan_folder(source, patient_pattern=pattern, **options)


def numbers(found):
    """Return the slice numbers of every patient by id."""
    return {patient.id: [one.number for one in patient.slices] for patient in found.patients}


def problems(found, source):
    """Return the problems as text, with paths relative to source."""
    return [str(problem).replace(f"{source}/", "") for problem in found.problems]


def write_slice(folder: Path, *, image: np.ndarray = IMAGE, mask: np.ndarray = TUMOUR) -> SliceFiles:
    files = SliceFiles(number=1, image=folder / "image.tif", mask=folder / "mask.png")
    photometric = "rgb" if image.shape[2:] == (3,) else "minisblack"
    tifffile.imwrite(files.image, image, photometric=photometric, planarconfig="contig")
    cv2.imwrite(str(files.mask), mask)
    return files


def test_scan_reads_what_was_written(tmp_path):
    for folder in ("images/Ö 1", "masks/Ö 1"):
        (tmp_path / folder).mkdir(parents=True)
    for number in (2, 10, 1):
        tifffile.imwrite(tmp_path / f"images/Ö 1/s {number}.tif", IMAGE + np.uint8(number), photometric="rgb")
        tifffile.imwrite(tmp_path / f"masks/Ö 1/s {number}_mask.tif", TUMOUR)
    found = scan_folder(tmp_path)
    assert found.problems == found.warnings == ()
    (patient,) = pickle.loads(pickle.dumps(found.patients))
    assert (patient.id, patient.group) == ("Ö 1", "")
    volume = patient.read()
    assert volume.numbers == (1, 2, 10)
    np.testing.assert_array_equal(volume.images, np.stack([IMAGE + np.uint8(number) for number in (1, 2, 10)]))
    np.testing.assert_array_equal(volume.masks, np.stack([TUMOUR > 0] * 3))


@pytest.mark.parametrize("images", ["images", "Image", "IMGS"])
@pytest.mark.parametrize("masks", ["masks", "MASK"])
@pytest.mark.parametrize("ending", ["", "_mask", "-mask", "_seg", "_MASK"])
@pytest.mark.parametrize("above", [".", "a/b/c/d"])
def test_scan_takes_any_spelling_at_any_depth(tmp_path, images, masks, ending, above):
    touch_pairs(tmp_path / above, "P/1", images=images, masks=masks, ending=ending)
    found = scan_folder(tmp_path)
    assert found.problems == ()
    (patient,) = found.patients
    assert (patient.id, patient.group) == ("P", "" if above == "." else above)
    assert patient.files == (tmp_path / above / images / "P/1.png", tmp_path / above / masks / f"P/1{ending}.png")


def test_scan_takes_masks_of_another_suffix(tmp_path):
    touch(tmp_path, "images/P/1.JPG", "masks/P/1.tiff")
    assert numbers(scan_folder(tmp_path)) == {"P": [1]}


def test_scan_prefers_the_mask_of_the_same_name(tmp_path):
    touch_pairs(tmp_path, "P/a1", "P/a2_mask", ending="")
    assert numbers(scan_folder(tmp_path)) == {"P": [1, 2]}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (None, {"A_x": [1], "A_y": [2, 10], "B": [3]}),
        (r"images/([^/]+)", {"A": [1, 2, 10], "B": [3]}),
        (r"(?P<slice>[0-9]+)\.", {"1": [1], "2": [2], "3": [3], "10": [10]}),
        (r"/(A|B)/(?P<patient>[xy3])", {"3": [3], "x": [1], "y": [2, 10]}),
        (r"^.*/", {"images_A_x_": [1], "images_A_y_": [2, 10], "images_B_": [3]}),
    ],
)
def test_scan_names_patients_by_folder_or_pattern(tmp_path, pattern, expected):
    touch_pairs(tmp_path, "A/x/1", "A/y/2", "A/y/10", "B/3")
    found = scan_folder(tmp_path, pattern=pattern)
    assert list(numbers(found)) == sorted(expected)
    assert numbers(found) == expected


def test_scan_takes_the_pattern_of_its_own_example(tmp_path):
    touch_pairs(tmp_path, "TCGA_CS_4941_12", "TCGA_CS_4941_9", "TCGA_DU_1_9")
    assert numbers(scan_folder(tmp_path, pattern=r"([^/]+)_[0-9]+\.")) == {"TCGA_CS_4941": [9, 12], "TCGA_DU_1": [9]}


def test_scan_without_a_pattern_warns_that_every_image_is_a_patient(tmp_path):
    touch_pairs(tmp_path, "P/1", "a_7")
    touch_pairs(tmp_path / "site", "a_7", "b")
    found = scan_folder(tmp_path)
    assert numbers(found) == {"P": [1], "a_7": [7], "site_a_7": [7], "site_b": [1]}
    assert {patient.id: patient.group for patient in found.patients}["site_b"] == "site"
    (warning,) = found.warnings
    assert re.match(r"3 image\(s\) count as a patient each, because neither", warning)
    assert "both sides of the split, which inflates the scores" in warning
    assert r"--patient-pattern '([^/]+)_[0-9]+\.'" in warning


def test_scan_with_a_pattern_does_not_warn(tmp_path):
    touch_pairs(tmp_path, "a_7", "a_8")
    assert scan_folder(tmp_path, pattern="images/(.)").warnings == ()


def test_scan_takes_a_patient_of_two_folders_as_one_and_warns(tmp_path):
    touch_pairs(tmp_path / "train", "P/1")
    touch_pairs(tmp_path / "test", "P/2")
    found = scan_folder(tmp_path)
    assert numbers(found) == {"P": [1, 2]}
    assert found.patients[0].group == "test"
    (warning,) = found.warnings
    assert re.fullmatch("patient P has images below test, train; if these are several patients, include .*", warning)
    assert numbers(scan_folder(tmp_path, pattern="(.*)/")) == {"test_images_P": [2], "train_images_P": [1]}


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["s_2", "s_10", "s_1"], {1: "s_1", 2: "s_2", 10: "s_10"}),
        (["1_t7", "2_t9"], {7: "1_t7", 9: "2_t9"}),
        (["b", "a"], {1: "a", 2: "b"}),
        (["x9999999999", "x10000000000", "x888888888888"], {1: "x9999999999", 2: "x10000000000", 3: "x888888888888"}),
        (["20240131123456_5", "123456789"], {5: "20240131123456_5", 123456789: "123456789"}),
    ],
)
def test_scan_numbers_slices_by_their_last_digits_or_in_natural_order(tmp_path, stems, expected):
    touch_pairs(tmp_path, *(f"P/{stem}" for stem in stems))
    (patient,) = scan_folder(tmp_path).patients
    assert {one.number: one.image.stem for one in patient.slices} == expected
    assert [one.number for one in patient.slices] == sorted(expected)


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        (["images/P/2.png"], r"images/P/2\.png: has no mask \(masks/P/2\.png, also with _mask\)"),
        (["masks/P/2.png"], r"masks/P/2\.png: has no image in .*images; add it"),
        (["masks/P/1_mask.png"], r"images/P/1\.png: has 2 masks \(masks/P/1\.png, masks/P/1_mask\.png\), but must"),
        (["masks/P/1.tif"], r"images/P/1\.png: has 2 masks \(masks/P/1\.png, masks/P/1\.tif\), but must have one"),
        (
            ["images/P/1.tif"],
            r"images/P/1\.png: has the same name as 1\.tif, so it is unclear which of them the mask is for; remove",
        ),
        (
            ["images/P/01.tif", "masks/P/01.tif"],
            r"images/P/1\.png: slice number 1 is already that of images/P/01\.tif;",
        ),
        (["images/P/x.tif", "masks/P/x.tif"], r"images/P/x\.tif: has no slice number in its name, but others of"),
        (["more/masks/1.png"], r"more/masks: no images folder is beside it; add or rename it"),
        (["more/images/1.png"], r"more/images: no masks folder is beside it; add or rename it"),
        (["imgs/1.png"], r".*: holds 2 folders of images \(images, imgs\) for masks; keep one of them there"),
    ],
)
def test_scan_names_the_problem(tmp_path, added, expected):
    touch_pairs(tmp_path, "P/1", ending="")
    touch(tmp_path, *added)
    (problem,) = problems(scan_folder(tmp_path), tmp_path)
    assert re.match(expected, problem)


def test_scan_finds_all_problems_and_keeps_what_is_right(tmp_path):
    touch_pairs(tmp_path, "P/1", "Q/1")
    touch(tmp_path, "images/P/2.png", "images/P/3.png", "masks/Q/4.png", "x/masks/1.png")
    found = scan_folder(tmp_path)
    assert numbers(found) == {"P": [1], "Q": [1]}
    assert [problem.path.relative_to(tmp_path).as_posix() for problem in found.problems] == [
        "images/P/2.png",
        "images/P/3.png",
        "masks/Q/4.png",
        "x/masks",
    ]


def test_scan_says_which_image_the_pattern_does_not_match(tmp_path):
    touch_pairs(tmp_path, "A_1", "b_1")
    found = scan_folder(tmp_path, pattern="([A-Z])_")
    assert numbers(found) == {"A": [1]}
    assert problems(found, tmp_path) == [
        'images/b_1.png: patient_pattern "([A-Z])_" finds no patient in images/b_1.png; change the pattern'
    ]
    optional = scan_folder(tmp_path, pattern="([A-Z])?_")
    assert len(optional.problems) == 1


def test_scan_counts_files_that_are_not_images_except_hidden_ones(tmp_path):
    touch_pairs(tmp_path, "P/1")
    touch(tmp_path, "images/Thumbs.db", "images/P/a.NPY", "masks/b.npy", "masks/README", "elsewhere/c.npy")
    touch(tmp_path, "images/.DS_Store", "images/P/._1.png", "masks/.hidden/x.png", ".cache/images/y.png")
    found = scan_folder(tmp_path)
    assert found.problems == ()
    (warning,) = found.warnings
    assert re.match(r"4 file\(s\) in images and masks folders are not images and are left out \(2 \.npy, ", warning)


def test_scan_follows_links_and_ends_in_a_cycle_of_them(tmp_path):
    touch_pairs(tmp_path / "real", "P/1")
    (tmp_path / "real/images/P/loop").symlink_to(tmp_path / "real/images")
    (tmp_path / "real/loop").symlink_to(tmp_path)
    (tmp_path / "linked").mkdir()
    for name in ("images", "masks"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "real" / name)
    found = scan_folder(tmp_path / "linked")
    assert numbers(found) == {"P": [1]}
    assert found.problems == ()
    assert numbers(scan_folder(tmp_path / "real")) == {"P": [1]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"holds no patient: no images lie in an images folder; expected <source>/images.* beside <source>/m"),
        ({"channels": ("0", "-1")}, r"--channels is 0, -1, but the channels of this layout are numbers from 0"),
    ],
)
def test_scan_says_what_it_expects(tmp_path, options, message):
    touch(tmp_path, "images/.hidden", "masks/.hidden")
    with pytest.raises(DataError, match=message):
        scan_folder(tmp_path, **options)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_read_pair_gives_a_grey_image_one_channel(tmp_path, dtype):
    image, mask = ReadPair()(write_slice(tmp_path, image=IMAGE[..., 0].astype(dtype)))
    assert image.dtype == dtype
    np.testing.assert_array_equal(image, IMAGE[..., :1])
    np.testing.assert_array_equal(mask, TUMOUR > 0)


def test_read_pair_selects_channels_in_order(tmp_path):
    files = write_slice(tmp_path)
    np.testing.assert_array_equal(ReadPair(channels=(2, 0))(files)[0], IMAGE[..., [2, 0]])


@pytest.mark.parametrize(("dtype", "grey"), [("uint8", [76, 150, 29]), ("float32", [76.245, 149.685, 29.07])])
def test_read_pair_weights_colours_as_itu_r_601(tmp_path, dtype, grey):
    image = np.tile(np.diag([255, 255, 255]).astype(dtype), (2, 1, 1))
    read, _ = ReadPair(grayscale=True)(write_slice(tmp_path, image=image, mask=np.zeros((2, 3), np.uint8)))
    assert read.dtype == dtype
    np.testing.assert_allclose(read[0, :, 0], grey, rtol=1e-6)


@pytest.mark.parametrize("value", [0, 1, 200, 255, 40001, 65535])
def test_read_pair_keeps_the_level_of_grey_colours(tmp_path, value):
    image = np.full((6, 8, 3), value, np.uint16)
    read, _ = ReadPair(grayscale=True)(write_slice(tmp_path, image=image))
    np.testing.assert_array_equal(read, image[..., :1])
    one, _ = ReadPair(grayscale=True, channels=(1,))(write_slice(tmp_path, image=image))
    np.testing.assert_array_equal(one, image[..., :1])


def test_read_pair_takes_labels(tmp_path):
    mask = np.where(np.arange(48) < 16, np.arange(48), 0).astype(np.uint8).reshape(6, 8)
    _, read = ReadPair(regions=parse_regions((), (1, 4)))(write_slice(tmp_path, mask=mask))
    assert np.flatnonzero(read).tolist() == [1, 4]


@pytest.mark.parametrize(
    ("options", "changes", "reasons"),
    [
        (
            {},
            {"mask": TUMOUR[:, 1:]},
            [r"mask\.png: the mask is 6 x 7, but its image is 6 x 8; both must have one size"],
        ),
        ({}, {"mask": IMAGE[..., 0] % 3}, [r"mask\.png: mask values are 0, 1, 2, but must be 0 and one other value"]),
        (
            {"channels": (3,)},
            {},
            [r"image\.tif: has 3 channel\(s\), but --channels asks for number 3, counted from 0; choose another"],
        ),
        ({"grayscale": True, "channels": (0, 1)}, {}, [r"image\.tif: has 2 channels, but --grayscale needs 1 or 3;"]),
        (
            {},
            {"image": IMAGE.astype(np.complex64), "mask": IMAGE},
            [r"image\.tif: its pixels are RGB of complex64", r"mask\.png: the mask is coloured"],
        ),
    ],
)
def test_read_pair_says_what_is_wrong(tmp_path, options, changes, reasons):
    with pytest.raises(BadFiles) as caught:
        ReadPair(**options)(write_slice(tmp_path, **changes))
    assert len(caught.value.problems) == len(reasons)
    for problem, reason in zip(caught.value.problems, reasons, strict=True):
        assert re.match(reason, f"{problem.path.name}: {problem.reason}")


def test_patient_refuses_slices_of_several_numbers_of_channels(tmp_path):
    touch_pairs(tmp_path, "P/1", "P/2")
    for number, image in ((1, IMAGE), (2, IMAGE[..., 0])):
        cv2.imwrite(str(tmp_path / f"images/P/{number}.png"), image)
        cv2.imwrite(str(tmp_path / f"masks/P/{number}_mask.png"), TUMOUR)
    with pytest.raises(BadFiles, match=r"2\.png: is 6 x 8 x 1.*, but most slices of patient P are 6 x 8 x 3"):
        scan_folder(tmp_path).patients[0].read()


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["images/a.png", "masks/a.png"], True),
        (["w/x/y/z/Imgs/a.png", "w/x/y/z/mask/a.png"], True),
        (["images/a.png"], False),
        (["a/images/a.png", "b/masks/a.png"], False),
        (["P/P_1.tif", "P/P_1_mask.tif"], False),
        (["images", "masks"], False),
    ],
)
def test_recognise_finds_both_folders_beside_each_other(tmp_path, paths, expected):
    touch(tmp_path, *paths)
    assert bool(recognise(read_tree(tmp_path))) == expected
