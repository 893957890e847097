"""Patients to inspect: phantoms with errors that a test makes, and volumes without files."""

import functools
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import ArrayLike

from data.inspect import findings
from data.inspect.__main__ import main
from data.inspect.summarise import inspect_patient
from data.inspect.summary import ChannelSummary, PatientSummary
from data.patient import Patient, Volume
from data.readers.phantom_drawing import draw_patient

KINDS = ["unusable file", "same pixels", "look alike", *findings.CHECKS, *findings.DIFFERENCES]


@functools.cache
def drawn(k: int) -> tuple[np.ndarray, np.ndarray]:
    return draw_patient(0, k)


class Case:
    """The slices of a phantom, which a test changes and writes in the LGG layout."""

    def __init__(self, k: int) -> None:
        images, masks = drawn(k)
        self.images, self.masks, self.numbers = list(images), list(masks), list(range(1, 13))

    def all_images(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Replace every image by change(a copy of it)."""
        self.images = [change(image.copy()) for image in self.images]

    def keep(self, indices: Iterable[int]) -> None:
        """Drop all other slices."""
        indices = list(indices)
        self.images = [self.images[index] for index in indices]
        self.masks = [self.masks[index] for index in indices]
        self.numbers = [self.numbers[index] for index in indices]

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for image, mask, number in zip(self.images, self.masks, self.numbers, strict=True):
            kind = "rgb" if image.shape[2:] == (3,) else "minisblack"
            tifffile.imwrite(folder / f"{folder.name}_{number}.tif", image, photometric=kind)
            tifffile.imwrite(folder / f"{folder.name}_{number}_mask.tif", mask.astype(np.uint8) * 255)


class Memory(Patient):
    """A patient without files."""

    def __init__(
        self,
        name: str,
        images: np.ndarray,
        masks: np.ndarray | None = None,
        *,
        spacing_mm: tuple[float, float, float] | None = None,
        numbers: tuple[int, ...] | None = None,
        group: str = "",
    ) -> None:
        masks = np.zeros(images.shape[:3], bool) if masks is None else masks
        numbers = tuple(range(1, len(images) + 1)) if numbers is None else numbers
        super().__init__(id=name, group=group)
        volume = Volume(images=images, masks=masks.astype(np.uint8), numbers=numbers, spacing_mm=spacing_mm)
        object.__setattr__(self, "volume", volume)  # a patient cannot be changed

    volume: Volume

    @property
    def files(self) -> tuple[Path, ...]:
        return ()

    def read(self) -> Volume:
        return self.volume

    def without(self, paths: Collection[Path]) -> Patient:
        return self


def summary_of(*args: Any, **options: Any) -> PatientSummary:
    """Return the summary of a patient in memory."""
    patient = Memory(*args, **options)
    return inspect_patient(patient, patient.read())


def squares(
    num_slices: int = 3, *, size: int = 16, tumour: Iterable[int] = (), channels: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return noise in a black frame, and masks with 4 x 4 pixels in the slices that have a tumour."""
    images = np.zeros((num_slices, size, size, channels), np.uint8)
    images[:, 2:-2, 2:-2] = np.random.default_rng(0).integers(100, 256, images[:, 2:-2, 2:-2].shape)
    masks = np.zeros(images.shape[:3], bool)
    masks[list(tumour), 4:8, 4:8] = True
    return images, masks


def channel(
    values: ArrayLike, counts: ArrayLike, head_counts: ArrayLike | None = None, *, name: str = "c"
) -> ChannelSummary:
    """Return the histogram of a channel; by default, all pixels belong to the head."""
    values, counts = np.array(values, np.float32), np.array(counts, np.float32)
    head = counts if head_counts is None else np.array(head_counts, np.float32)
    return ChannelSummary(
        name=name, low=float(values.min()), high=float(values.max()), values=values, counts=counts, head_counts=head
    )


def inspect(
    capsys: pytest.CaptureFixture[str], source: Path | str, *options: object
) -> tuple[list[tuple[str, str, str]], str]:
    """Run the inspection; return the findings that it printed as (kind, where, text), and the whole output."""
    assert main([str(source), *map(str, options)]) == 0
    out = capsys.readouterr().out
    kinds = "|".join(map(re.escape, KINDS))
    return re.findall(rf"^  ({kinds}): (.*?): (.*)$", out, re.MULTILINE), out


def write(source: Path, cases: Mapping[str, Case]) -> None:
    """Write cases into a source, by the name of the patient."""
    for name, case in cases.items():
        case.write(source / name)


def rows_of(out: str) -> dict[str, str]:
    """Return the printed table; the lines of a cell are separated by semicolons."""
    rows, label = {}, ""
    for left, right in re.findall(r"^[│|](.*?)[│|](.*?)[│|]$", out, re.MULTILINE):
        if left.strip():
            label = left.strip()
            rows[label] = right.strip()
        else:
            rows[label] += "; " + right.strip()
    return rows
