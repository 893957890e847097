"""The slices on which all pipelines train, and what they have in common."""

import statistics
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from data.loaders import epoch_slices, num_train_batches
from data.packing.pack import Pack, pack_patients
from data.patient import Patient, SliceFiles, SlicePatient, Volume
from data.preprocess import Preprocessing
from data.readers.phantom_drawing import draw_patient

NUM_PROCESSES = 2
"""Worker processes of the loaders that the peers use."""


class Missing(Exception):
    """A package or a kind of data that a pipeline needs is not there; the message says which."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Slices, and the sizes that all pipelines share."""

    pack: Pack
    patients: Sequence[Patient]
    """The patients of the pack."""

    batch_size: int
    width: int
    """Features at full resolution; doubled at each of the four halvings."""

    num_batches: int
    """Batches of a round."""

    @property
    def files(self) -> list[SliceFiles]:
        """The files of every slice, if each slice is one, in the order of the pack; else none."""
        slices = [one for patient in self.patients if isinstance(patient, SlicePatient) for one in patient.slices]
        return slices if len(slices) == self.pack.num_slices else []


class Pipeline(Protocol):
    """A way to train, ready to begin."""

    def train(self) -> None:
        """Train on as many batches as the workload says, and return when the last one is done."""
        ...


@dataclass(frozen=True, kw_only=True)
class DrawnPatient(Patient):
    """A phantom that is drawn when it is read, so that no file and no reader of files is needed."""

    number: int

    @property
    def files(self) -> tuple[Path, ...]:
        return ()

    def read(self) -> Volume:
        images, masks = draw_patient(0, self.number)
        return Volume(images=images, masks=masks.astype(np.uint8), numbers=tuple(range(1, len(images) + 1)))

    def without(self, paths: Collection[Path]) -> Patient:
        return self


def read_patients(data: str) -> Sequence[Patient]:
    """Return the patients of a source of data, such as a folder; phantoms if it is empty."""
    if not data:
        return draw_patients()
    from data.source import find_source  # the readers of files need packages that drawn phantoms do not

    return find_source(data, phantom_root=Path(tempfile.gettempdir())).patients


def draw_patients(count: int = 64) -> list[DrawnPatient]:
    """Return phantoms, none of which is drawn yet."""
    return [DrawnPatient(id=f"PHANTOM_{number:04d}", number=number) for number in range(1, count + 1)]


def make_workload(patients: Sequence[Patient], *, size: int, batch_size: int, width: int, num_batches: int) -> Workload:
    """Return a workload of as many of the patients, from the first on, as an epoch of some batches needs."""
    taken = [patients[0]]
    pack = pack_patients(taken, Preprocessing(size=size))
    for patient in patients[1:]:
        if _num_full_batches(pack, batch_size) >= num_batches:
            break
        taken.append(patient)
        pack = pack_patients(taken, Preprocessing(size=size))
    return Workload(
        pack=pack,
        patients=taken,
        batch_size=batch_size,
        width=width,
        num_batches=num_train_batches(pack, batch_size=batch_size),
    )


def _num_full_batches(pack: Pack, batch_size: int) -> int:
    """Return the number of batches of an epoch, without a short one that is its only one."""
    return len(epoch_slices(pack, np.arange(pack.num_slices), seed=0, epoch=0)) // batch_size


def summarise(rates: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return the median, the lowest and the highest of each pipeline's rates."""
    return {
        name: {"median": round(statistics.median(found), 2), "low": round(min(found), 2), "high": round(max(found), 2)}
        for name, found in rates.items()
    }
