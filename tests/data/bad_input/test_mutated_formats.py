"""Mutated files of every format are values or bad files; never a crash, and never what lay in memory before."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.dicom import write_series
from tests.support.mutation import fuzz_seed, mutate
from tests.support.nifti import SLICES
from tests.support.reading import reading
from tests.support.sources import image_of, write_nifti, write_png, write_tiff

sitk = pytest.importorskip("SimpleITK")

VOLUME = np.ascontiguousarray(SLICES[:, :5, :4]).astype(np.int16)
PIXELS = np.ascontiguousarray(image_of("P0", 1)[:20, :14])


def itk(path: Path, *, compressed: bool) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(VOLUME), str(path), useCompression=compressed)


def dicom(path: Path) -> None:
    write_series(path.parent, slices=SLICES.astype(np.int16))[0].rename(path)


WRITE: dict[str, Callable[[Path], object]] = {
    "plain.mha": lambda path: itk(path, compressed=False),
    "packed.mha": lambda path: itk(path, compressed=True),
    "plain.nrrd": lambda path: itk(path, compressed=False),
    "packed.nrrd": lambda path: itk(path, compressed=True),
    "a.nii": lambda path: write_nifti(path, VOLUME),
    "a.nii.gz": lambda path: write_nifti(path, VOLUME),
    "slice.npy": lambda path: np.save(path, PIXELS),
    "stack.npy": lambda path: np.save(path, VOLUME),
    "plain.tif": lambda path: write_tiff(path, PIXELS),
    "deflate.tif": lambda path: write_tiff(path, PIXELS, compression="zlib", rowsperstrip=5),
    "lzma.tif": lambda path: write_tiff(path, PIXELS, compression="lzma"),
    "stack.tif": lambda path: write_tiff(path, np.stack([PIXELS[..., 0]] * 3), photometric="minisblack"),
    "a.png": lambda path: write_png(path, PIXELS),
    "a.jpg": lambda path: write_png(path, PIXELS, ".jpg"),
    "a.dcm": dicom,
}
"""A sound file of each format, by a name that says which."""

HEADERS = ("plain.mha", "packed.mha", "plain.nrrd", "packed.nrrd")
"""Formats whose header is lines of text."""


def mutate_line(old: bytes, rng: np.random.Generator) -> bytes:
    """Return a file in which a value of the header is another one, or a line is left out or repeated."""
    lines = old.split(b"\n")
    at = int(rng.integers(min(len(lines), 12)))
    kind = rng.integers(6)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(int(rng.integers(at + 1)), lines[at])
    else:
        name, separator, _ = lines[at].partition(b"=" if b"=" in lines[at] else b":")
        values = (
            b"0",
            b"-1",
            b"3 3 3",
            b"99999999999",
            b"1e30",
            b"True",
            b"False",
            b"MET_DOUBLE",
            b"gzip",
            b"raw",
            b"bz2",
            b"",
        )
        lines[at] = name + separator + b" " + values[rng.integers(len(values))]
    return b"\n".join(lines)


def fuzz(name: str, folder: Path, num: int, seed: int) -> tuple[int, int]:
    """Return how many mutated files were read and how many refused; anything else fails."""
    folder.mkdir()
    path = folder / name
    WRITE[name](path)
    original, num_read = path.read_bytes(), 0
    with reading(1) as one, reading(254) as other:
        assert len(one.read(path)) == 64, one.read(path)
        for number in range(num):
            rng = np.random.default_rng([seed, number])
            change = mutate_line if name in HEADERS and number % 2 else mutate
            path.write_bytes(change(original, rng))
            found = one.read(path), other.read(path)
            assert found[0] == found[1], f"{name}, seed {seed}, mutation {number}: it depends on older memory: {found}"
            assert found[0].startswith("BadFiles: ") or len(found[0]) == 64, (
                f"{name}, seed {seed}, {number}: {found[0]}"
            )
            num_read += len(found[0]) == 64
    return num_read, num - num_read


@pytest.mark.parametrize("name", ["packed.mha"])
def test_mutated_file_is_values_or_a_bad_file(tmp_path, name):
    num_read, num_refused = fuzz(name, tmp_path / "files", 100, seed=0)
    assert num_refused > 15
    assert num_read > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", WRITE)
def test_hundreds_of_mutated_files_are_values_or_bad_files(tmp_path, name):
    seed = fuzz_seed()
    num = 100 if name == "a.dcm" else 400  # all files of its series are read anew
    print(f"FUZZ_SEED={seed}", name, flush=True)
    print("read and refused:", fuzz(name, tmp_path / "files", num, seed))
