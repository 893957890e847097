"""Mutated files are volumes, or bad files; never a crash."""

import time

import numpy as np
import pytest

from data.errors import BadFiles
from data.patient import SliceFiles, SlicePatient, Volume
from data.readers.images import ReadPair
from data.readers.volumes.patient import VolumePatient
from tests.support.mutation import mutate
from tests.support.sources import MAX_SECONDS, image_of, mask_of, write_nifti, write_png, write_tiff


def fuzz_target(kind, folder):
    """Return a patient and the file of it that is to be damaged."""
    small = (slice(0, 20), slice(0, 14))
    image, mask = np.ascontiguousarray(image_of("P0", 1)[small]), np.ascontiguousarray(mask_of("P0", 1)[small])
    if kind.startswith("nii"):
        paths = [folder / f"a_{name}.{kind}" for name in ("t1", "seg")]
        write_nifti(paths[0], image[None, ..., 0].astype(np.int16))
        write_nifti(paths[1], mask[None] // 255)
        return VolumePatient(id="a", images=(paths[0],), segmentation=paths[1]), paths
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
