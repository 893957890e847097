"""One thing wrong in a source of the LGG layout."""

import os

import numpy as np
import tifffile

from tests.support.damage import (
    COLOURS,
    EMPTY,
    IMAGE,
    MASK,
    Case,
    content,
    copied,
    folder_instead,
    grey_patient,
    image_and_mask,
    patient_twice,
    removed,
    renamed,
    replaced,
    tags,
    with_value,
    wrote,
)
from tests.support.sources import (
    NUMBERS,
    ONE,
    WHOLE,
    image_of,
    mask_of,
    write_png,
    write_tiff,
)

LGG = [
    Case("a truncated TIFF", content(IMAGE, lambda old: old[:5000]), {IMAGE: "is truncated .* copy it again$"}, ONE),
    Case("a truncated mask", content(MASK, lambda old: old[:-1]), {MASK: "is truncated"}, ONE),
    Case("a TIFF cut in its header", content(IMAGE, lambda old: old[:6]), {IMAGE: "cannot be decoded as TIFF"}, ONE),
    Case("zero bytes", content(IMAGE, lambda old: b""), {IMAGE: EMPTY}, ONE),
    Case("text", content(MASK, lambda old: b"<html>"), {MASK: "is a web page, not the data"}, ONE),
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
        {MASK: "mask values are 0, 128, 255, but must be 0 and one other value"},
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
        "complex numbers",
        wrote(write_tiff, MASK, mask_of("P1", 2).astype(np.complex64)),
        {MASK: "its pixels are .*complex64"},
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
    Case("an image without mask", removed(MASK), {IMAGE: r"has no mask \(P1_2_mask.tif\)"}, ONE),
    Case("a mask without image", removed(IMAGE), {MASK: "has no image"}, ONE),
    Case("a folder named like a TIFF", folder_instead, {MASK: "has no image"}, ONE),
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
