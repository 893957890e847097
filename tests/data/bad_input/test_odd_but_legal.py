"""What looks odd but is legal is read whole."""

import gzip
import os
import shutil

import numpy as np
import pytest
import tifffile

from search.cohort import read_cohort
from tests.data.bad_input.nifti_cases import LABELS, VOLUME
from tests.support.damage import (
    IMAGE,
    MASK,
    PNG_IMAGE,
    PNG_MASK,
    SEG,
    T1,
    jpeg,
    png,
    removed,
    renamed,
)
from tests.support.sources import (
    ALL,
    ONE,
    PATIENTS,
    SIDE,
    WHOLE,
    assert_slices,
    config_of,
    image_of,
    mask_of,
    slices_of,
    write_nifti,
    write_png,
    write_tiff,
)


def gap(source):
    removed(IMAGE, MASK)(source)
    return ALL - ONE


def single_slice(source):
    removed(*(f"P1/P1_{number}{end}.tif" for number in (1, 3) for end in ("", "_mask")))(source)
    return ALL - (WHOLE - ONE)


def hidden(source):
    for name in (".DS_Store", "P1/._P1_2.tif", "P1/.~lock.P1_2.tif#", ".git/P9_1.tif"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"junk")
    return ALL


def other_files(source):
    for name in ("README.md", "data.csv", "P1/Thumbs.db", "P1/P1_2.jpg"):
        (source / name).write_bytes(b"junk")
    return ALL


def no_permissions(source):
    for path in source.rglob("*.tif"):
        path.chmod(0)
    return ALL


def upper_case(source):
    renamed(IMAGE, "P1/P1_2.TIF")(source)
    renamed(MASK, "P1/P1_2_MASK.TIFF")(source)
    return ALL


def masks_of_one(source):
    for patient, number in ALL:
        write_tiff(source / patient / f"{patient}_{number}_mask.tif", mask_of(patient, number) // 255)
    return ALL


def other_coding(source):
    write_tiff(source / IMAGE, image_of("P1", 2), compression="zlib", byteorder=">")
    write_tiff(source / "P1/P1_1.tif", image_of("P1", 1), planarconfig="contig", bigtiff=True)
    write_png(source / "P2/P2_1.tif", image_of("P2", 1), ".tif")
    return ALL


def opaque_alpha(source):
    opaque = np.dstack([image_of("P1", 2), np.full((SIDE, SIDE), 255, np.uint8)])
    tifffile.imwrite(source / IMAGE, opaque, photometric="rgb", extrasamples=("unassalpha",))
    return ALL


def linked(source):
    real = source.parent / "elsewhere"
    (source / "P1").rename(real)
    (source / "P1").symlink_to(real)
    (source / "P2" / "cycle").symlink_to(source)
    return ALL


def empty_folders(source):
    (source / "P9").mkdir()
    (source / "P1" / "notes").mkdir()
    return ALL


def deep(source):
    (source / "a" / "b c").mkdir(parents=True)
    (source / "P1").rename(source / "a" / "b c" / "P1")
    return ALL


def other_kinds_of_png(source):
    opaque = np.dstack([image_of("P1", 2), np.full((SIDE, SIDE), 255, np.uint8)])
    (source / PNG_IMAGE).write_bytes(png(opaque, colour=6))
    palette = bytes([0, 0, 0, 255, 255, 255])
    (source / PNG_MASK).write_bytes(png(mask_of("P1", 2) // 255, colour=3, palette=palette))
    return ALL


def other_names(source):
    for kind, end in (("images", ".png"), ("masks", "_SEG.PNG")):
        (source / kind / "P1" / "2.png").rename(source / kind / "P1" / f"Über T1, 002{end}")
        (source / kind / "P1" / ".hidden.png").write_bytes(b"junk")
    return ALL


def lossy_mask(source):
    (source / PNG_MASK).unlink()
    (source / PNG_MASK).with_suffix(".jpg").write_bytes(jpeg(mask_of("P1", 2)))
    return ALL


def coloured_masks(source):
    (source / PNG_MASK).write_bytes(png(mask_of("P1", 2) // 255, colour=3, palette=bytes([0, 0, 0, 250, 10, 20])))
    write_png(source / "masks/P2/1.png", np.dstack([mask_of("P2", 1), mask_of("P2", 1) // 2, mask_of("P2", 1)]))
    return ALL


def the_same_patient_twice(source):
    shutil.copytree(source / "P1", source / "sub" / "P1")
    return ALL


def wide_integers(source):
    write_tiff(source / MASK, mask_of("P1", 2).astype(np.int32))
    return ALL


def plain_nifti(source):
    (source / "P1/P1_t1.nii").write_bytes(gzip.decompress((source / T1).read_bytes()))
    (source / T1).unlink()
    (source / SEG).rename(source / "P1" / "P1-SEG.nii.gz")
    (source / "P1" / "._P1_t1.nii.gz").write_bytes(b"junk")
    return ALL


def fourth_side_of_one(source):
    write_nifti(source / T1, VOLUME[..., None])
    return ALL


def scaled_labels(source):
    write_nifti(source / SEG, LABELS.astype(np.float64) * (1 + 1e-7))
    return ALL


LEGAL = [
    *(("lgg", change) for change in (gap, single_slice, hidden, other_files, no_permissions, upper_case)),
    *(("lgg", change) for change in (masks_of_one, other_coding, opaque_alpha, linked, empty_folders, deep)),
    *(("lgg", change) for change in (the_same_patient_twice, wide_integers)),
    *(("folder", change) for change in (other_kinds_of_png, other_names, lossy_mask, coloured_masks)),
    *(("nifti", change) for change in (plain_nifti, fourth_side_of_one, scaled_labels)),
]


@pytest.mark.parametrize(("layout", "change"), [pytest.param(*one, id=f"{one[0]}: {one[1].__name__}") for one in LEGAL])
def test_odd_but_legal_sources_are_read_whole(copy, layout, change):
    if change is no_permissions and os.geteuid() != 0:
        pytest.skip("only root reads files that nobody may read")
    source = copy(layout)
    expected = change(source)
    cohort = read_cohort(config_of(source, data_format=layout))
    assert cohort.skipped == ()
    assert_slices(cohort, expected)


@pytest.mark.parametrize("name", ["Ärzte Süd 7", "日本", "x" * 240, "a.b", "-rf", "$(id)", "P'1\"", "new\nline"])
def test_a_patients_folder_may_have_any_name(copy, name):
    source = copy("lgg")
    for path in (source / "P1").iterdir():
        path.rename(path.with_name(path.name.replace("P1", "scan 1")))
    (source / "P1").rename(source / name)
    cohort = read_cohort(config_of(source))
    found = slices_of(cohort)
    assert {patient for patient, _ in found} == {*PATIENTS, name} - {"P1"}
    np.testing.assert_array_equal(found[name, 2][0], image_of("P1", 2))
