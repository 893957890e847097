"""Mutated names never give an image the mask of another."""

import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from data.errors import DataError
from data.source import ReadingOptions, find_source
from tests.support.sources import (
    MAX_SECONDS,
    NUMBERS,
    write_nifti,
    write_png,
    write_tiff,
)

pytestmark = pytest.mark.slow


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
    """Move, copy, delete or link files; a new name is never that of another file or slice."""
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
    reading = ReadingOptions(data_format=layout, skip_bad_files=skip, modalities=modalities)
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
