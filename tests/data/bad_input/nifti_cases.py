"""One thing wrong in a source of the BraTS layout."""

import os

import nibabel
import numpy as np

from tests.support.damage import (
    SEG,
    T1,
    Case,
    content,
    copied,
    gz_content,
    put,
    removed,
    replaced,
    wrote,
)
from tests.support.sources import (
    NUMBERS,
    WHOLE,
    image_of,
    mask_of,
    write_nifti,
)

VOLUME = np.stack([image_of("P1", number)[..., 1] for number in NUMBERS])
LABELS = np.stack([mask_of("P1", number) // 64 for number in NUMBERS])


def nan_volume(value):
    volume = VOLUME.astype(np.float32)
    volume[1, 2, 3] = value
    return volume


NIFTI = [
    Case(
        "NaN in the tumour",
        wrote(write_nifti, T1, np.where(LABELS > 0, np.nan, VOLUME).astype(np.float32)),
        {T1: r"holds NaN in 216 of 216 tumour voxels, but NaN may only be background"},
        WHOLE,
    ),
    Case("infinity", wrote(write_nifti, T1, nan_volume(np.inf)), {T1: r"holds 1 voxel\(s\) that are infinite"}, WHOLE),
    Case(
        "four dimensions",
        wrote(write_nifti, T1, np.stack([VOLUME] * 2, axis=-1)),
        {T1: "has 2 channels, but is one channel of several"},
        WHOLE,
    ),
    Case("a gzip that ends early", content(T1, lambda old: old[:-9]), {T1: "cannot be read as NIfTI .EOFError"}, WHOLE),
    Case("zero bytes", content(SEG, lambda old: b""), {SEG: r"is empty \(0 bytes\)"}, WHOLE),
    Case(
        "a web page", content(T1, lambda old: b"<html>please log in</html>"), {T1: "is a web page, not the data"}, WHOLE
    ),
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
    Case(
        "no segmentation",
        removed(SEG),
        {"P1": r"1 case\(s\) have no segmentation, though others of the same folder have one: P1"},
        WHOLE,
    ),
    Case("no t1", removed(T1), {"P1": r"1 case\(s\) have no t1: P1; P1 has flair, t2"}, WHOLE),
    Case(
        "another grid",
        wrote(write_nifti, SEG, LABELS[:, :32]),
        {SEG: r"is 3 x 32 x 64 \(slices, rows, columns\), but P1_flair.nii.gz is 3 x 64 x 64; resample"},
        WHOLE,
    ),
    Case(
        "another place",
        lambda source: nibabel.Nifti1Image(
            VOLUME, [[0, 0, -1, 5], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
        ).to_filename(source / T1),
        {T1: "has as many voxels as P1_flair.nii.gz, but lies elsewhere, up to 5 voxels away"},
        WHOLE,
    ),
    Case(
        "labels that are not whole",
        wrote(write_nifti, SEG, LABELS.astype(np.float32) + np.float32(0.5)),
        {SEG: r"holds 12288 label\(s\) that are not whole numbers"},
        WHOLE,
    ),
    Case(
        "a dangling link",
        replaced(T1, lambda path: path.symlink_to("nothing")),
        {T1: "is missing, or is a folder or a device"},
        WHOLE,
    ),
    Case("a pipe", replaced(SEG, os.mkfifo), {SEG: "is missing, or is a folder or a device"}, WHOLE),
    Case("a folder", replaced(T1, os.mkdir), {"P1": r"1 case\(s\) have no t1: P1"}, WHOLE),
    Case(
        "two segmentations",
        copied(SEG, "P1/P1_t1_seg.nii.gz"),
        {"P1": r"1 case\(s\) have several segmentations, such as P1 with P1/P1_seg.nii.gz, P1/P1_t1_seg.nii.gz"},
        WHOLE,
    ),
    Case(
        "a name of another case",
        copied(T1, "P1/P9_t1.nii.gz"),
        {"P1": r"1 case\(s\) have no segmentation, though others of the same folder have one: P9"},
        set(),
    ),
    Case(
        "a modality twice",
        copied(T1, "P1/P1-t1.nii.gz"),
        {T1: "is the same modality as P1/P1-t1.nii.gz"},
        WHOLE,
    ),
]
