"""Bad input as a user meets it: every kind is named with its file, all at once; what is legal passes; nothing hangs.

The sources hold five patients of three slices, as large as the pack, so that a slice in a pack is the file's, pixel for
pixel. No two slices are alike: image without its own mask, or another patient's, would not go unseen.
"""

import gzip
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import nibabel
import numpy as np
import pytest
import tifffile

from data.errors import BadFiles, DataError
from data.patient import SliceFiles, SlicePatient, Volume
from data.preprocess import Preprocessing
from data.readers.images import ReadPair
from data.readers.nifti import NiftiPatient
from data.source import Reading, find_source
from search.cohort import Cohort, read_cohort
from search.config import SearchConfig
from search.tune import main

PATIENTS, NUMBERS, SIDE = ("P0", "P1", "P2", "P3", "P4"), (1, 2, 3), 64
MODALITIES = ("flair", "t1", "t2")
ALL = {(patient, number) for patient in PATIENTS for number in NUMBERS}
WHOLE = {("P1", number) for number in NUMBERS}
ONE = {("P1", 2)}
MAX_SECONDS = 2.0


def image_of(patient, number):
    return np.random.default_rng([int(patient[1:]), number]).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def mask_of(patient, number):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10 * number : 10 * number + 8, 12 * int(patient[1:]) : 12 * int(patient[1:]) + 9] = 255
    return mask


def write_tiff(path, pixels, **options):
    options |= {"photometric": "rgb"} if pixels.shape[2:] == (3,) else {}
    tifffile.imwrite(path, pixels, **options)


def write_png(path, pixels, suffix=".png"):
    path.write_bytes(cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes())


def write_nifti(path, slices):
    """Write slices from inferior to superior, their rows to the back and their columns to the patient's left."""
    affine = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)
    nibabel.Nifti1Image(slices, affine).to_filename(path)


def write_lgg(source):
    for patient, number in sorted(ALL):
        (source / patient).mkdir(parents=True, exist_ok=True)
        write_tiff(source / patient / f"{patient}_{number}.tif", image_of(patient, number))
        write_tiff(source / patient / f"{patient}_{number}_mask.tif", mask_of(patient, number))


def write_folder(source):
    for patient, number in sorted(ALL):
        for kind, make in (("images", image_of), ("masks", mask_of)):
            (source / kind / patient).mkdir(parents=True, exist_ok=True)
            write_png(source / kind / patient / f"{number}.png", make(patient, number))


def write_brats(source):
    for patient in PATIENTS:
        (source / patient).mkdir(parents=True)
        images = np.stack([image_of(patient, number) for number in NUMBERS])
        for k, name in enumerate(MODALITIES):
            write_nifti(source / patient / f"{patient}_{name}.nii.gz", np.ascontiguousarray(images[..., k]))
        labels = np.stack([mask_of(patient, number) // 64 for number in NUMBERS])
        write_nifti(source / patient / f"{patient}_seg.nii.gz", labels)


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    """A sound source in each layout; tests damage copies."""
    top = tmp_path_factory.mktemp("templates")
    for name, write in (("lgg", write_lgg), ("folder", write_folder), ("nifti", write_brats)):
        write(top / name)
    return top


@pytest.fixture
def copy(templates, tmp_path):
    def copied(layout):
        return Path(shutil.copytree(templates / layout, tmp_path / "source"))

    return copied


def config_of(source, **reading):
    reading = {"modalities": MODALITIES} | reading if reading.get("data_format") == "nifti" else reading
    return SearchConfig(
        data=str(source),
        out=Path(source).parent / "runs",
        cache=False,
        reading=Reading(**reading),
        preprocessing=Preprocessing(size=SIDE),
    )


def slices_of(cohort: Cohort):
    """Return image and mask of every slice of every side by (patient, number)."""
    found = {}
    for pack in (cohort.train_pack, cohort.val_pack):
        for i, number in enumerate(pack.slice_numbers.tolist()):
            found[pack.patient_ids[pack.patient_of_slice[i]], number] = pack.images[i], pack.masks[i]
    for patient in cohort.test_patients:
        volume = patient.read()
        found |= {
            (patient.id, number): pair
            for number, *pair in zip(volume.numbers, volume.images, volume.masks, strict=True)
        }
    return found


def assert_slices(cohort, expected):
    found = slices_of(cohort)
    assert found.keys() == expected
    for key, (image, mask) in found.items():
        np.testing.assert_array_equal(image, image_of(*key))
        np.testing.assert_array_equal(mask, mask_of(*key) > 0)
    assert sum(cohort.num_slices.values()) == len(expected)


# --- one thing wrong, in a file or with what lies around it ---


class Case(NamedTuple):
    name: str
    damage: Callable
    """Of the source, in place."""
    problems: dict[str, str]
    """By path relative to the source, what the reason begins with, as a regular expression."""
    lost: set | None
    """Slices that are missing with skip_bad_files."""


def wrote(write, relative, pixels, **options):
    return lambda source: write(source / relative, pixels, **options)


def content(relative, make):
    """Return a damage that replaces the bytes of a file by make(bytes)."""
    return lambda source: (source / relative).write_bytes(make((source / relative).read_bytes()))


def gz_content(relative, make):
    return content(relative, lambda old: gzip.compress(make(bytearray(gzip.decompress(old))), 1))


def removed(*relative):
    return lambda source: [(source / path).unlink() for path in relative]


def copied(old, new):
    return lambda source: shutil.copy(source / old, source / new)


def renamed(old, new):
    return lambda source: (source / old).rename(source / new)


def replaced(relative, make):
    """Return a damage that makes something else of a file, such as a link or a folder."""

    def damage(source):
        (source / relative).unlink()
        make(source / relative)

    return damage


def put(offset, value, dtype):
    """Return a change of bytes: what lies at offset (nifti1.h says what that is) becomes value."""

    def change(old):
        written = np.array(value, dtype).tobytes()
        old[offset : offset + len(written)] = written
        return bytes(old)

    return change


def tags(relative, **changes):
    def damage(source):
        with tifffile.TiffFile(source / relative, mode="r+b") as tiff:
            for name, value in changes.items():
                tiff.pages.first.tags[name].overwrite(value)

    return damage


def with_value(pixels, value, dtype):
    pixels = pixels.astype(dtype)
    pixels[3, 4] = value
    return pixels


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(pixels, *, colour=0, width=SIDE, palette=b""):
    """Return a PNG of 8-bit samples, "height width" or "height width channels", with a header of its own choosing."""
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, len(pixels), 8, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *([(b"PLTE", palette)] if palette else []), (b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in [*chunks, (b"IEND", b"")])


def jpeg(pixels, *, channels=None):
    encoded = bytearray(cv2.imencode(".jpg", pixels)[1].tobytes())
    if channels is not None:
        encoded[encoded.index(b"\xff\xc0") + 9] = channels
    return bytes(encoded)


def image_and_mask(write, image_path, mask_path, side):
    def damage(source):
        write(source / image_path, image_of("P1", 2)[:side, :side])
        write(source / mask_path, mask_of("P1", 2)[:side, :side])

    return damage


def grey_patient(source):
    for number in NUMBERS:
        write_tiff(source / f"P1/P1_{number}.tif", image_of("P1", number)[..., 0])


def folder_instead(source):
    (source / "P1/P1_2.tif").unlink()
    (source / "P1/P1_2.tif").mkdir()


def patient_twice(source):
    shutil.copytree(source / "P1", source / "sub" / "P1")


IMAGE, MASK = "P1/P1_2.tif", "P1/P1_2_mask.tif"
COLOURS = np.dstack([mask_of("P1", 2), mask_of("P1", 2) // 2, mask_of("P1", 2)])
EMPTY = r"is empty \(0 bytes\); copy it again$"

LGG = [
    Case("a truncated TIFF", content(IMAGE, lambda old: old[:5000]), {IMAGE: "is truncated .* copy it again$"}, ONE),
    Case("a truncated mask", content(MASK, lambda old: old[:-1]), {MASK: "is truncated"}, ONE),
    Case("a TIFF cut in its header", content(IMAGE, lambda old: old[:6]), {IMAGE: "cannot be decoded as TIFF"}, ONE),
    Case("zero bytes", content(IMAGE, lambda old: b""), {IMAGE: EMPTY}, ONE),
    Case("text", content(MASK, lambda old: b"<html>"), {MASK: "is no TIFF, PNG or JPEG .*3c 68 74 6d 6c 3e"}, ONE),
    Case(
        "a PNG named .tif", wrote(write_png, IMAGE, image_of("P1", 2)), {IMAGE: "wrong suffix: the content is PNG"}, ONE
    ),
    Case(
        "16 bits where 8 stood",
        wrote(write_tiff, IMAGE, image_of("P1", 2).astype(np.uint16)),
        {IMAGE: "is 64 x 64 x 3 of uint16, but most slices of patient P1 are 64 x 64 x 3 of uint8"},
        ONE,
    ),
    Case(
        "NaN in a float image",
        wrote(write_tiff, IMAGE, with_value(image_of("P1", 2), np.nan, np.float32)),
        {IMAGE: "3 values are NaN, infinite or above 3.4e38"},
        ONE,
    ),
    Case(
        "infinity in a float mask",
        wrote(write_tiff, MASK, with_value(mask_of("P1", 2), -np.inf, np.float64)),
        {MASK: "1 values are NaN, infinite or above"},
        ONE,
    ),
    Case(
        "a mask of another size",
        wrote(write_tiff, MASK, mask_of("P1", 2)[:32]),
        {MASK: "the mask is 32 x 64, but its image is 64 x 64; both must have one size"},
        ONE,
    ),
    Case(
        "a mask of three values",
        wrote(write_tiff, MASK, with_value(mask_of("P1", 2), 128, np.uint8)),
        {MASK: "mask values are 0, 128, 255, but must be 0 and 1, or 0 and 255"},
        ONE,
    ),
    Case("a coloured mask", wrote(write_tiff, MASK, COLOURS), {MASK: "the mask is coloured"}, ONE),
    Case(
        "a slice of another size",
        image_and_mask(write_tiff, IMAGE, MASK, 32),
        {IMAGE: "is 32 x 32 x 3 of uint8, but most slices of patient P1 are 64 x 64 x 3"},
        ONE,
    ),
    Case(
        "a grey slice among colours",
        wrote(write_tiff, IMAGE, image_of("P1", 2)[..., 0]),
        {IMAGE: "is 64 x 64 x 1 of uint8, but most slices of patient P1 are 64 x 64 x 3"},
        ONE,
    ),
    Case(
        "a patient with other channels",
        grey_patient,
        {
            f"P1/P1_{number}{kind}.tif": "patient P1 has 1 channels, but most patients have 3"
            for number in NUMBERS
            for kind in ("", "_mask")
        },
        WHOLE,
    ),
    Case(
        "both files of a slice",
        lambda source: [(source / path).write_bytes(b"") for path in (IMAGE, MASK)],
        {IMAGE: EMPTY, MASK: EMPTY},
        ONE,
    ),
    Case(
        "several pages",
        wrote(tifffile.imwrite, MASK, np.stack([mask_of("P1", 2)] * 2), photometric="minisblack"),
        {MASK: "holds 2 pages, but must hold one slice"},
        ONE,
    ),
    Case(
        "32-bit integers",
        wrote(write_tiff, MASK, mask_of("P1", 2).astype(np.int32)),
        {MASK: "its pixels are .*int32"},
        ONE,
    ),
    Case(
        "an alpha channel that hides something",
        wrote(tifffile.imwrite, IMAGE, np.dstack([image_of("P1", 2), mask_of("P1", 2)]), extrasamples=("unassalpha",)),
        {IMAGE: "its alpha channel is not opaque"},
        ONE,
    ),
    Case("20,000 pixels", tags(IMAGE, ImageLength=20_000), {IMAGE: "is 20000 x 64, but 1 to 16384 pixels a side"}, ONE),
    Case("no pixels", tags(IMAGE, ImageWidth=0), {IMAGE: "is 64 x 0, but 1 to 16384 pixels a side"}, ONE),
    Case(
        "a dangling link",
        replaced(IMAGE, lambda path: path.symlink_to("nothing")),
        {IMAGE: r"cannot be read \(No such file or directory\)"},
        ONE,
    ),
    Case(
        "a link to itself",
        replaced(MASK, lambda path: path.symlink_to(path)),
        {MASK: r"cannot be read \(Too many levels of symbolic links\)"},
        ONE,
    ),
    Case("a pipe, which would wait for ever", replaced(IMAGE, os.mkfifo), {IMAGE: "is a folder or a device"}, ONE),
    Case("an image without mask", removed(MASK), {IMAGE: r"image without mask \(P1_2_mask.tif\)"}, ONE),
    Case("a mask without image", removed(IMAGE), {MASK: "mask without image"}, ONE),
    Case("a folder named like a TIFF", folder_instead, {MASK: "mask without image"}, ONE),
    Case(
        "a copy of a file manager",
        copied(IMAGE, "P1/P1_2 (copy).tif"),
        {"P1/P1_2 (copy).tif": "the name is not"},
        set(),
    ),
    Case("a newline in a name", copied(IMAGE, "P1/P1\n_9.tif"), {"P1/P1\n_9.tif": "the name is not"}, set()),
    Case(
        "a number of ten digits",
        copied(IMAGE, "P1/P1_1234567890.tif"),
        {"P1/P1_1234567890.tif": "the name is not"},
        set(),
    ),
    Case("a patient twice", patient_twice, {"sub/P1": "patient id P1 is already that of .*/source/P1"}, set()),
    Case(
        "a number twice",
        copied(IMAGE, "P1/P1_002.tif"),
        {"P1/P1_2.tif": "slice number 2 is already that of P1_002.tif"},
        ONE,
    ),
    Case(
        "a number twice by suffix",
        copied(IMAGE, "P1/P1_2.tiff"),
        {"P1/P1_2.tiff": "slice number 2 is already that of P1_2.tif"},
        ONE,
    ),
    Case(
        "slices of two patients in one folder",
        renamed(MASK, "P1/P7_2_mask.tif"),
        {"P1": r"holds slices of 2 patients \(P1, P7\)"},
        WHOLE,
    ),
]

PNG_IMAGE, PNG_MASK = "images/P1/2.png", "masks/P1/2.png"
RGBA = np.dstack([image_of("P1", 2), mask_of("P1", 2)])

FOLDER = [
    Case("a truncated PNG", content(PNG_IMAGE, lambda old: old[:-5]), {PNG_IMAGE: "is truncated"}, ONE),
    Case(
        "a flipped bit",
        content(PNG_MASK, lambda old: old[:60] + bytes([old[60] ^ 4]) + old[61:]),
        {PNG_MASK: "is damaged .the checksum of chunk 'IDAT' is wrong"},
        ONE,
    ),
    Case(
        "an alpha channel",
        content(PNG_IMAGE, lambda old: png(RGBA, colour=6)),
        {PNG_IMAGE: "its alpha channel is not opaque"},
        ONE,
    ),
    Case(
        "a mask of coloured palette",
        content(PNG_MASK, lambda old: png(mask_of("P1", 2) // 255, colour=3, palette=bytes([0, 0, 0, 250, 10, 20]))),
        {PNG_MASK: "the mask is coloured"},
        ONE,
    ),
    Case(
        "a CMYK JPEG",
        lambda source: [
            removed(PNG_IMAGE)(source),
            (source / "images/P1/2.jpg").write_bytes(jpeg(image_of("P1", 2), channels=4)),
        ],
        {"images/P1/2.jpg": r"has 4 channels \(4 are CMYK\)"},
        ONE,
    ),
    Case(
        "a truncated JPEG",
        lambda source: [
            removed(PNG_IMAGE)(source),
            (source / "images/P1/2.jpg").write_bytes(jpeg(image_of("P1", 2))[:-2]),
        ],
        {"images/P1/2.jpg": r"is truncated \(there is no end marker\)"},
        ONE,
    ),
    Case(
        "a lossy mask",
        lambda source: [
            removed(PNG_MASK)(source),
            (source / "masks/P1/2.jpg").write_bytes(jpeg(mask_of("P1", 2))),
        ],
        {"masks/P1/2.jpg": "mask values are 0, 1, .* without lossy compression"},
        ONE,
    ),
    Case(
        "a JPEG named .png",
        content(PNG_IMAGE, lambda old: jpeg(image_of("P1", 2))),
        {PNG_IMAGE: "wrong suffix: the content is JPEG, but .png says PNG"},
        ONE,
    ),
    Case(
        "a header of two billion pixels a side",
        content(PNG_IMAGE, lambda old: png(mask_of("P1", 2), width=2**31 - 1)),
        {PNG_IMAGE: "is 64 x 2147483647, but 1 to 16384"},
        ONE,
    ),
    Case(
        "fewer pixels than the header says",
        content(PNG_IMAGE, lambda old: png(mask_of("P1", 2), width=16384)),
        {PNG_IMAGE: "its pixels are damaged"},
        ONE,
    ),
    Case(
        "16 bits where 8 stood",
        wrote(write_png, PNG_IMAGE, image_of("P1", 2).astype(np.uint16)),
        {PNG_IMAGE: "is 64 x 64 x 3 of uint16"},
        ONE,
    ),
    Case("two masks", copied(PNG_MASK, "masks/P1/2_mask.png"), {PNG_IMAGE: "has 2 masks"}, ONE),
    Case(
        "two images of one name",
        lambda source: write_png(source / "images/P1/2.jpg", image_of("P1", 2), ".jpg"),
        {"images/P1/2.jpg": "has the name of 2.png"},
        ONE,
    ),
    Case("an image without mask", removed(PNG_MASK), {PNG_IMAGE: "image without mask"}, ONE),
    Case("a mask without image", removed(PNG_IMAGE), {PNG_MASK: "mask without image in .*/source/images$"}, ONE),
    Case(
        "a name without number",
        lambda source: [renamed(f"{kind}/P1/2.png", f"{kind}/P1/two.png")(source) for kind in ("images", "masks")],
        {"images/P1/two.png": "has no slice number in its name"},
        ONE,
    ),
    Case(
        "a number twice",
        lambda source: [copied(f"{kind}/P1/2.png", f"{kind}/P1/b2.png")(source) for kind in ("images", "masks")],
        {"images/P1/b2.png": "slice number 2 is already that of .*/images/P1/2.png"},
        set(),
    ),
    Case(
        "a folder of images alone",
        lambda source: (source / "more" / "images").mkdir(parents=True),
        {"more/images": "no masks folder is beside it"},
        set(),
    ),
]

T1, SEG = "P1/P1_t1.nii.gz", "P1/P1_seg.nii.gz"
VOLUME = np.stack([image_of("P1", number)[..., 1] for number in NUMBERS])
LABELS = np.stack([mask_of("P1", number) // 64 for number in NUMBERS])


def nan_volume(value):
    volume = VOLUME.astype(np.float32)
    volume[1, 2, 3] = value
    return volume


NIFTI = [
    Case(
        "NaN", wrote(write_nifti, T1, nan_volume(np.nan)), {T1: r"holds 1 voxel\(s\) that are NaN or infinite"}, WHOLE
    ),
    Case("infinity", wrote(write_nifti, T1, nan_volume(np.inf)), {T1: r"holds 1 voxel\(s\) that are NaN"}, WHOLE),
    Case(
        "four dimensions",
        wrote(write_nifti, T1, np.stack([VOLUME] * 2, axis=-1)),
        {T1: "is 3 x 64 x 64 x 2, but must have 3 dimensions"},
        WHOLE,
    ),
    Case("a gzip that ends early", content(T1, lambda old: old[:-9]), {T1: "cannot be read as NIfTI .EOFError"}, WHOLE),
    Case("zero bytes", content(SEG, lambda old: b""), {SEG: r"is empty \(0 bytes\)"}, WHOLE),
    Case("no gzip", content(T1, gzip.decompress), {T1: "cannot be read as NIfTI .BadGzipFile"}, WHOLE),
    Case(
        "fewer voxels than promised",
        gz_content(T1, lambda old: old[:-1]),
        {T1: "holds less than the 12640 bytes"},
        WHOLE,
    ),
    Case(
        "more voxels than promised", gz_content(T1, lambda old: old + b"\0"), {T1: "holds more than the 12640"}, WHOLE
    ),
    Case(
        "an absurd header",
        gz_content(T1, put(42, (32767, 32767, 32767), np.int16)),
        {T1: "is 32767 x 32767 x 32767, but must be 1 to 16384 a side"},
        WHOLE,
    ),
    Case(
        "a header of more than the file can hold",
        gz_content(T1, put(42, (512, 1024, 1024), np.int16)),
        {T1: "holds less than the 536871264 bytes"},
        WHOLE,
    ),
    Case("no side", gz_content(T1, put(42, (0,), np.int16)), {T1: "is 0 x 64 x 64, but must be 1"}, WHOLE),
    Case("another magic", gz_content(T1, put(344, b"ni1\0", "S4")), {T1: "is not NIfTI in one file"}, WHOLE),
    Case("colours", gz_content(T1, put(70, 128, np.int16)), {T1: "holds voxels of type RGB"}, WHOLE),
    Case("an unknown type", gz_content(T1, put(70, 99, np.int16)), {T1: "cannot be read as NIfTI"}, WHOLE),
    Case("no segmentation", removed(SEG), {"P1": r"has no seg \(P1_seg.nii.gz\); it has flair, t1, t2"}, WHOLE),
    Case("no t1", removed(T1), {"P1": "has no t1 .P1_t1.nii.gz.; it has flair, seg, t2"}, WHOLE),
    Case(
        "another grid",
        wrote(write_nifti, SEG, LABELS[:, :32]),
        {SEG: r"is 3 x 32 x 64 \(slices, rows, columns\), but 3 x 64 x 64 is P1_flair.nii.gz; resample"},
        WHOLE,
    ),
    Case(
        "another place",
        lambda source: nibabel.Nifti1Image(
            VOLUME, [[0, 0, -1, 5], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
        ).to_filename(source / T1),
        {T1: "lies elsewhere: its affine differs by 5 from that of P1_flair.nii.gz"},
        WHOLE,
    ),
    Case(
        "labels that are not whole",
        wrote(write_nifti, SEG, LABELS.astype(np.float32) + np.float32(0.5)),
        {SEG: r"holds 12288 label\(s\) that are no whole numbers"},
        WHOLE,
    ),
    Case(
        "a dangling link",
        replaced(T1, lambda path: path.symlink_to("nothing")),
        {T1: "is missing, or is a folder or a device"},
        WHOLE,
    ),
    Case("a pipe", replaced(SEG, os.mkfifo), {SEG: "is missing, or is a folder or a device"}, WHOLE),
    Case("a folder", replaced(T1, os.mkdir), {"P1": "has no t1"}, WHOLE),
    Case(
        "the segmentation of another case",
        copied(SEG, "P1/P9_seg.nii.gz"),
        {"P1": "holds the segmentation of P9"},
        WHOLE,
    ),
    Case(
        "a name of another case", copied(T1, "P1/P9_t1.nii.gz"), {"P1/P9_t1.nii.gz": "the name is not P1_<MOD"}, set()
    ),
    Case("a case twice", patient_twice, {"sub/P1": "case id P1 is already that of .*/source/P1"}, set()),
    Case(
        "a modality twice",
        copied(T1, "P1/P1-t1.nii.gz"),
        {T1: "is there twice: P1-t1.nii.gz"},
        WHOLE,
    ),
]

CASES = [
    pytest.param(layout, case, id=f"{layout}: {case.name}")
    for layout, cases in (("lgg", LGG), ("folder", FOLDER), ("nifti", NIFTI))
    for case in cases
]


def assert_problems(problems, case, source):
    found = {str(problem.path.relative_to(source)): problem.reason for problem in problems}
    assert found.keys() == case.problems.keys()
    for path, reason in case.problems.items():
        assert re.match(reason, found[path]), found[path]


@pytest.mark.parametrize(("layout", "case"), CASES)
def test_a_bad_file_stops_the_run_and_is_named_with_the_reason(copy, layout, case):
    source = copy(layout)
    case.damage(source)
    with pytest.raises(BadFiles) as caught:
        read_cohort(config_of(source, data_format=layout))
    assert_problems(caught.value.problems, case, source)
    for problem in caught.value.problems:
        assert f"\n  - {problem.path}: {problem.reason}" in str(caught.value)
    assert "--skip-bad-files" in str(caught.value)


@pytest.mark.parametrize(("layout", "case"), [param for param in CASES if param.values[1].lost is not None])
def test_skipping_bad_files_leaves_out_exactly_what_needs_them(copy, layout, case):
    source = copy(layout)
    case.damage(source)
    cohort = read_cohort(config_of(source, data_format=layout, skip_bad_files=True))
    assert_problems(cohort.skipped, case, source)
    assert_slices(cohort, ALL - case.lost)


# --- several at once ---

SIX = {
    IMAGE: LGG[0].damage,
    "P1/P1_3.tif": content("P1/P1_3.tif", lambda old: b""),
    "P2/P2_1_mask.tif": wrote(write_tiff, "P2/P2_1_mask.tif", COLOURS),
    "P3/P3_1.tif": wrote(write_png, "P3/P3_1.tif", image_of("P3", 1)),
    "P3/P3_2_mask.tif": wrote(write_tiff, "P3/P3_2_mask.tif", mask_of("P3", 2)[:9]),
    "P4/P4_3.tif": replaced("P4/P4_3.tif", lambda path: path.symlink_to("nothing")),
}


def test_the_command_lists_six_bad_files_of_four_patients_at_once(copy, capsys):
    source = copy("lgg")
    for damage in SIX.values():
        damage(source)
    out = source.parent / "runs"
    assert main(["--data", str(source), "--out", str(out), "--no-cache", "--dry-run"]) == 2
    captured = capsys.readouterr()
    listed = [line for line in captured.err.splitlines() if line.startswith("  - ")]
    assert [line.split(": ")[0] for line in listed] == [f"  - {source / path}" for path in SIX]
    assert "error: 6 file(s) cannot be used; repair them, move them away, or give --skip-bad-files:" in captured.err
    assert "Traceback" not in captured.err
    assert sorted(out.rglob("*")) == []


def test_skipping_six_bad_files_keeps_the_other_slices(copy):
    source = copy("lgg")
    for damage in SIX.values():
        damage(source)
    cohort = read_cohort(config_of(source, skip_bad_files=True))
    assert [str(problem.path.relative_to(source)) for problem in cohort.skipped] == list(SIX)
    assert_slices(cohort, ALL - {("P1", 2), ("P1", 3), ("P2", 1), ("P3", 1), ("P3", 2), ("P4", 3)})


def test_six_problems_of_names_are_listed_at_once_whatever_their_kind(copy):
    source = copy("folder")
    removed("masks/P0/1.png", "images/P1/2.png")(source)
    copied("masks/P2/1.png", "masks/P2/1_mask.png")(source)
    copied("images/P2/2.png", "images/P2/2.jpg")(source)
    copied("images/P3/1.png", "images/P3/one.png")(source)
    (source / "sub" / "masks").mkdir(parents=True)
    with pytest.raises(BadFiles) as caught:
        read_cohort(config_of(source))
    assert {str(problem.path.relative_to(source)) for problem in caught.value.problems} == {
        "images/P0/1.png",
        "masks/P1/2.png",
        "images/P2/1.png",
        "images/P2/2.jpg",
        "images/P3/one.png",
        "sub/masks",
    }
    assert "6 file(s) cannot be used" in str(caught.value)


def test_a_patient_of_bad_files_alone_is_left_out(copy):
    source = copy("lgg")
    for path in (source / "P1").iterdir():
        path.write_bytes(b"")
    cohort = read_cohort(config_of(source, skip_bad_files=True))
    assert len(cohort.skipped) == 6
    assert_slices(cohort, ALL - WHOLE)


def test_nothing_but_bad_files_stops_the_run_even_if_they_may_be_skipped(copy):
    source = copy("lgg")
    for path in source.rglob("*.tif"):
        path.write_bytes(b"")
    with pytest.raises(BadFiles, match=r"^30 file\(s\) cannot be used"):
        read_cohort(config_of(source, skip_bad_files=True))


def test_too_few_patients_that_are_left_stop_the_run(copy):
    source = copy("nifti")
    for patient in ("P0", "P1", "P2"):
        (source / patient / f"{patient}_t2.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"^there are 2 patients, but there must be at least 3"):
        read_cohort(config_of(source, data_format="nifti", skip_bad_files=True))


# --- what is legal, though it looks odd ---


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
    *(("folder", change) for change in (other_kinds_of_png, other_names)),
    *(("nifti", change) for change in (plain_nifti, fourth_side_of_one, scaled_labels)),
]


@pytest.mark.parametrize(("layout", "change"), [pytest.param(*one, id=f"{one[0]}: {one[1].__name__}") for one in LEGAL])
def test_what_is_odd_but_legal_is_read_whole(copy, layout, change):
    if change is no_permissions and os.geteuid() != 0:
        pytest.skip("only root reads files that nobody may read")
    source = copy(layout)
    expected = change(source)
    cohort = read_cohort(config_of(source, data_format=layout))
    assert cohort.skipped == ()
    assert_slices(cohort, expected)


@pytest.mark.parametrize("name", ["Ärzte Süd 7", "日本", "x" * 240, "a.b", "-rf", "$(id)", "P'1\"", "new\nline"])
def test_any_folder_name_can_be_a_patients(copy, name):
    source = copy("lgg")
    for path in (source / "P1").iterdir():
        path.rename(path.with_name(path.name.replace("P1", "scan 1")))
    (source / "P1").rename(source / name)
    cohort = read_cohort(config_of(source))
    found = slices_of(cohort)
    assert {patient for patient, _ in found} == {*PATIENTS, name} - {"P1"}
    np.testing.assert_array_equal(found[name, 2][0], image_of("P1", 2))


# --- what no file is to blame for ---


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
        r"(?s)^15 file\(s\) cannot be used.*P0/1.png: has 3 channel\(s\), so none is 3",
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


BOMBS = """
import resource, sys
from pathlib import Path
limit = 1536 << 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from data.errors import BadFiles
from data.source import Reading, find_source
source, layout = sys.argv[1:]
found = find_source(source, reading=Reading(data_format=layout), phantom_root=Path(source))
bad = []
for patient in found.patients:
    try:
        patient.read()
    except BadFiles as error:
        bad += [problem.path.name for problem in error.problems]
status = Path("/proc/self/status").read_text()  # ru_maxrss would be that of the process that started this one
used = int(status.split("VmHWM:")[1].split()[0])
assert used < 300 << 10, used
print(*sorted(bad))
"""


def bomb_lgg(source):
    for path in (source / "P0/P0_1.tif", source / "P1/P1_1.tif"):
        write_tiff(path, image_of("P0", 1), compression="zlib")
    tags("P0/P0_1.tif", ImageWidth=2**31, ImageLength=2**31)(source)
    tags("P1/P1_1.tif", ImageWidth=16384, ImageLength=16384, RowsPerStrip=16384)(source)
    tags("P2/P2_1_mask.tif", ImageLength=16384)(source)
    return "P0_1.tif P1_1.tif P2_1_mask.tif"


def bomb_folder(source):
    (source / "images/P0/1.png").write_bytes(png(mask_of("P0", 1), width=2**31 - 1))
    (source / "images/P1/2.png").write_bytes(png(mask_of("P0", 1), width=16384))
    frame = bytearray(jpeg(image_of("P2", 3)))
    at = frame.index(b"\xff\xc0")
    frame[at + 5 : at + 9] = struct.pack(">HH", 16384, 16384)
    (source / "images/P2/3.png").unlink()
    (source / "images/P2/3.jpg").write_bytes(frame)
    return "1.png 2.png 3.jpg"


def bomb_nifti(source):
    gz_content("P0/P0_t1.nii.gz", put(42, (32767, 32767, 32767), np.int16))(source)
    gz_content("P1/P1_t1.nii.gz", put(42, (512, 1024, 1024), np.int16))(source)
    gz_content("P2/P2_t1.nii.gz", put(108, 1e9, np.float32))(source)
    gz_content("P3/P3_t1.nii.gz", lambda old: bytes(old) + bytes(40 << 20))(source)
    return "P0_t1.nii.gz P1_t1.nii.gz P2_t1.nii.gz P3_t1.nii.gz"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the memory used")
@pytest.mark.parametrize(("layout", "bomb"), [("lgg", bomb_lgg), ("folder", bomb_folder), ("nifti", bomb_nifti)])
def test_a_header_that_promises_gigabytes_takes_no_memory(copy, layout, bomb):
    source = copy(layout)
    expected = bomb(source)
    start = time.perf_counter()
    command = [sys.executable, "-c", BOMBS, str(source), layout]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == expected, done.stderr
    assert time.perf_counter() - start < 20


# --- fuzz ---


def mutate(old, rng):
    new = bytearray(old)
    kind, at, length = rng.integers(5), int(rng.integers(len(old))), int(rng.integers(1, 33))
    if kind == 0:
        for where in rng.integers(0, len(new), rng.integers(1, 6)):
            new[where] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del new[at:]
    elif kind == 2:
        new[at:at] = rng.bytes(length)
    elif kind == 3:
        other = int(rng.integers(len(old)))
        new[at : at + length], new[other : other + length] = new[other : other + length], new[at : at + length]
    else:
        head = int(rng.integers(min(len(new), 128)))  # headers are a small part, and the most fragile
        new[head : head + 4] = rng.bytes(4)
    return bytes(new)


def fuzz_target(kind, folder):
    """Return a patient and the file of it that is to be damaged."""
    small = (slice(0, 20), slice(0, 14))
    image, mask = np.ascontiguousarray(image_of("P0", 1)[small]), np.ascontiguousarray(mask_of("P0", 1)[small])
    if kind.startswith("nii"):
        paths = [folder / f"a_{name}.{kind}" for name in ("t1", "seg")]
        write_nifti(paths[0], image[None, ..., 0].astype(np.int16))
        write_nifti(paths[1], mask[None] // 255)
        return NiftiPatient(id="a", images=(paths[0],), segmentation=paths[1]), paths
    paths = [folder / f"a_1.{kind}", folder / ("a_1_mask.png" if kind == "jpg" else f"a_1_mask.{kind}")]
    if kind == "tif":
        write_tiff(paths[0], image, compression="zlib")
        write_tiff(paths[1], mask)
    else:
        write_png(paths[0], image, f".{kind}")
        write_png(paths[1], mask)
    files = SliceFiles(number=1, image=paths[0], mask=paths[1])
    return SlicePatient(id="a", slices=(files,), read_slice=ReadPair()), paths


def fuzz_files(kind, folder, count, seed):
    """Return how many mutations were read and how many refused; anything else fails the test."""
    patient, paths = fuzz_target(kind, folder)
    originals = [path.read_bytes() for path in paths]
    assert isinstance(patient.read(), Volume)
    rng = np.random.default_rng([seed, len(kind), ord(kind[0])])
    num_read = num_refused = 0
    for i in range(count):
        target = i % 2 if kind != "jpg" else 0
        paths[target].write_bytes(mutate(originals[target], rng))
        start = time.perf_counter()
        try:
            volume = patient.read()
        except BadFiles as error:
            num_refused += 1
            named = {problem.path for problem in error.problems}
        else:
            num_read, named = num_read + 1, set()
            assert volume.images.shape[:3] == volume.masks.shape
            assert np.isfinite(volume.images).all()
        assert time.perf_counter() - start < MAX_SECONDS
        assert named <= set(paths)
        paths[target].write_bytes(originals[target])
    return num_read, num_refused


KINDS = ("tif", "png", "jpg", "nii", "nii.gz")


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_a_volume_or_bad_files(tmp_path, kind):
    num_read, num_refused = fuzz_files(kind, tmp_path, 240, seed=0)
    assert num_read + num_refused == 240
    assert num_refused > 60


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_mutated_files_are_volumes_or_bad_files(tmp_path, kind):
    num_read, num_refused = fuzz_files(kind, tmp_path, 2000, seed=1)
    assert num_read + num_refused == 2000
    assert num_refused > 500


def id_image(patient, number):
    return np.full((8, 8), 10 * patient + number, np.uint8)


def id_mask(patient, number):
    mask = np.zeros((8, 8), np.uint8)
    mask[0] = 255 * np.unpackbits(np.uint8(10 * patient + number))
    return mask


def write_ids(layout, source):
    """Write four patients of three slices whose image and mask both say which slice they are."""
    for patient in range(1, 5):
        if layout == "nifti":
            (source / f"P{patient}").mkdir(parents=True)
            volume = np.stack([id_image(patient, number) for number in NUMBERS])
            for name in ("t1", "t2"):
                write_nifti(source / f"P{patient}/P{patient}_{name}.nii", volume)
            masks = np.stack([id_mask(patient, number) for number in NUMBERS])
            write_nifti(source / f"P{patient}/P{patient}_seg.nii", masks)
            continue
        for number in NUMBERS:
            for make, kind in ((id_image, "image"), (id_mask, "mask")):
                if layout == "lgg":
                    path = source / f"P{patient}" / f"P{patient}_{number}{'_mask' * (kind == 'mask')}.tif"
                else:
                    path = source / f"{kind}s" / f"P{patient}" / f"s_{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                (write_tiff if layout == "lgg" else write_png)(path, make(patient, number))


def other_number(path, fresh):
    return path.with_name(re.sub(r"[0-9]+(?=(_mask)?\.)", str(fresh), path.name))


def other_prefix(path, fresh):
    return path.with_name(f"X{fresh}{path.name}")


def other_suffix(path, fresh):
    return path.with_suffix((".tiff", ".jpg", ".nii.gz", ".TIF", ".txt", "")[fresh % 6])


def respelt(path, fresh):
    return path.with_name(re.sub(r"([0-9]+)(?=(_mask)?\.)", "0" * (fresh % 3 + 1) + r"\1", path.name))


def mask_ending(path, fresh):
    return path.with_name(f"{path.stem}{('_mask', '_seg', '-mask', '_')[fresh % 4]}{path.suffix}")


def other_folder(path, fresh):
    return path.parent.parent / f"P{fresh}" / path.name


NAMES = (other_number, other_prefix, other_suffix, respelt, mask_ending, other_folder)


def mutate_names(source, rng, names):
    """Moves, copies, deletes or links files; a new name is never that of another file, nor another slice's."""
    for _ in range(rng.integers(1, 4)):
        paths = sorted(path for path in source.rglob("*") if path.is_file())
        path = paths[rng.integers(len(paths))]
        fresh = int(rng.integers(1000, 10**6))
        new = names[rng.integers(len(names))](path, fresh)
        new.parent.mkdir(exist_ok=True)
        kind = rng.integers(4)
        if kind == 0:
            path.unlink()
        elif kind == 1 and not new.exists():
            path.rename(new)
        elif kind == 2 and not new.exists():
            shutil.copy(path, new)
        elif kind == 3 and not new.exists():
            new.symlink_to(path)


def assert_own_masks(volume):
    for image, mask in zip(volume.images, volume.masks, strict=True):
        assert len(np.unique(image)) == 1
        assert np.packbits(mask[0]).item() == image[0, 0, 0]


def fuzz_names(layout, tmp_path, count, *, skip, names, seed=0):
    write_ids(layout, tmp_path / "original")
    rng = np.random.default_rng([seed, len(layout), skip])
    modalities = ("t1", "t2") if layout == "nifti" else ()
    reading = Reading(data_format=layout, skip_bad_files=skip, modalities=modalities)
    num_volumes = num_refused = 0
    for _ in range(count):
        source = Path(shutil.copytree(tmp_path / "original", tmp_path / "source", copy_function=os.link))
        mutate_names(source, rng, names)
        start = time.perf_counter()
        try:
            for patient in find_source(str(source), reading=reading, phantom_root=tmp_path).patients:
                assert_own_masks(patient.read())
                num_volumes += 1
        except DataError:
            num_refused += 1
        assert time.perf_counter() - start < MAX_SECONDS
        shutil.rmtree(source)
    return num_volumes, num_refused


SKIPPED = dict.fromkeys(("lgg", "folder", "nifti"), NAMES)
LAYOUTS = pytest.mark.parametrize("layout", SKIPPED)


@LAYOUTS
def test_mutated_names_never_give_an_image_the_mask_of_another(tmp_path, layout):
    num_volumes, num_refused = fuzz_names(layout, tmp_path, 40, skip=False, names=NAMES)
    assert num_refused > 15
    assert num_volumes > 0


@LAYOUTS
def test_mutated_names_that_may_be_skipped_leave_the_other_slices_with_their_masks(tmp_path, layout):
    num_volumes, num_refused = fuzz_names(layout, tmp_path, 40, skip=True, names=SKIPPED[layout])
    assert num_volumes > 80
    assert num_refused < 20


@pytest.mark.slow
@LAYOUTS
@pytest.mark.parametrize("skip", [False, True])
def test_hundreds_of_mutated_names_never_give_an_image_the_mask_of_another(tmp_path, layout, skip):
    names = SKIPPED[layout] if skip else NAMES
    num_volumes, _ = fuzz_names(layout, tmp_path, 300, skip=skip, names=names, seed=1)
    assert num_volumes > 0
