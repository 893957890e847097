"""Patients to inspect: phantoms that a test spoils, and volumes without files."""

import functools
import re
from pathlib import Path

import numpy as np
import tifffile

from data.inspect import findings
from data.inspect.__main__ import main
from data.inspect.summarise import summarise
from data.inspect.summary import Channel, Summary
from data.patient import Patient, Volume
from data.readers.phantom_drawing import draw_patient

KINDS = ["unusable file", "same pixels", "look alike", *findings.CHECKS, *findings.DIFFERENCES]


@functools.cache
def drawn(k):
    return draw_patient(0, k)


class Case:
    """The slices of a phantom, to be spoilt and written in the LGG layout."""

    def __init__(self, k: int) -> None:
        images, masks = drawn(k)
        self.images, self.masks, self.numbers = list(images), list(masks), list(range(1, 13))

    def all_images(self, change) -> None:
        self.images = [change(image.copy()) for image in self.images]

    def keep(self, indices) -> None:
        for name in ("images", "masks", "numbers"):
            setattr(self, name, [getattr(self, name)[index] for index in indices])

    def write(self, folder) -> None:
        folder.mkdir(parents=True)
        for image, mask, number in zip(self.images, self.masks, self.numbers, strict=True):
            kind = "rgb" if image.shape[2:] == (3,) else "minisblack"
            tifffile.imwrite(folder / f"{folder.name}_{number}.tif", image, photometric=kind)
            tifffile.imwrite(folder / f"{folder.name}_{number}_mask.tif", mask.astype(np.uint8) * 255)


class Memory(Patient):
    """A patient without files."""

    def __init__(self, name: str, images, masks=None, *, spacing_mm=None, numbers=None, group="") -> None:
        masks = np.zeros(images.shape[:3], bool) if masks is None else masks
        numbers = tuple(range(1, len(images) + 1)) if numbers is None else numbers
        self.id, self.group = name, group
        self.volume = Volume(images=images, masks=masks, numbers=numbers, spacing_mm=spacing_mm)

    @property
    def files(self) -> tuple[Path, ...]:
        return ()

    def read(self):
        return self.volume

    def without(self, paths):
        return self


def summary_of(*args, **options) -> Summary:
    patient = Memory(*args, **options)
    return summarise(patient, patient.read())


def squares(num_slices=3, *, size=16, tumour=(), channels=1) -> tuple[np.ndarray, np.ndarray]:
    """Return noise in a frame of black, and masks of 4 x 4 pixels in the slices of tumour."""
    images = np.zeros((num_slices, size, size, channels), np.uint8)
    images[:, 2:-2, 2:-2] = np.random.default_rng(0).integers(100, 256, images[:, 2:-2, 2:-2].shape)
    masks = np.zeros(images.shape[:3], bool)
    masks[list(tumour), 4:8, 4:8] = True
    return images, masks


def channel(values, counts, head_counts=None, *, name="c") -> Channel:
    values, counts = np.array(values, np.float32), np.array(counts, np.float32)
    head = counts if head_counts is None else np.array(head_counts, np.float32)
    return Channel(
        name=name, low=float(values.min()), high=float(values.max()), values=values, counts=counts, head_counts=head
    )


def inspect(capsys, source, *options) -> tuple[list[tuple[str, str, str]], str]:
    """Return the findings (kind, where, text) that were printed, and all of the output."""
    assert main([str(source), *map(str, options)]) == 0
    out = capsys.readouterr().out
    kinds = "|".join(map(re.escape, KINDS))
    return re.findall(rf"^  ({kinds}): (.*?): (.*)$", out, re.MULTILINE), out


def write(source, cases) -> None:
    for name, case in cases.items():
        case.write(source / name)


def rows_of(out) -> dict[str, str]:
    """Return the printed table; a cell's further lines follow after a semicolon."""
    rows, label = {}, ""
    for left, right in re.findall(r"^[│|](.*?)[│|](.*?)[│|]$", out, re.MULTILINE):
        if left.strip():
            label = left.strip()
            rows[label] = right.strip()
        else:
            rows[label] += "; " + right.strip()
    return rows
