"""All slices of all patients as one uint8 array, decoded and resized once and then mapped by every worker of a machine.

Floats would take four times as much memory. The array may be larger than memory (see `data.packing.rows`).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from data.ahead import map_ahead
from data.errors import BadFiles, DataError, Problem
from data.packing.fit import FittedPatient, PatientFacts, fit_patient
from data.packing.rows import Rows
from data.patient import Patient, count_notes, differing_channels
from data.preprocess import Preprocessing
from data.regions import Region

# Decoding releases the interpreter's lock only in part: more threads would only hide the latency of a network disk.
NUM_THREADS = 4

# Decoded patients that may wait to be written if the disk is slower than the decoding.
NUM_PATIENTS_AHEAD = 8


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Slices of patients at one size. The arrays may be read-only: they are mapped from Ray's object store."""

    images: UInt8[np.ndarray, "slices size size channels"]
    masks: UInt8[np.ndarray, "slices size size"]
    """Bit k of a pixel says whether it lies in region k (data/regions.py)."""
    patient_ids: tuple[str, ...]
    patient_of_slice: Int64[np.ndarray, " slices"]
    """Index into patient_ids; the slices of a patient are neighbours, in the order of their numbers."""
    slice_numbers: Int64[np.ndarray, " slices"]
    mean: Float32[np.ndarray, "patients channels"]
    """Mean of each patient's own volume over the head; see `preprocess.volume_statistics`."""
    std: Float32[np.ndarray, "patients channels"]
    tumour_share: Float64[np.ndarray, " patients"]
    """Share of each patient's voxels that are tumour, before they were fitted."""
    preprocessing: Preprocessing
    regions: tuple[Region, ...]
    notes: tuple[str, ...]
    """What a person should know about how files were read, each with the number of patients."""
    fingerprint: str
    """SHA-256 of the preprocessing and of each patient's id, slice numbers and decoded pixels. It does not depend on
    where the files lie, when they were copied, or how they are compressed."""

    @property
    def size(self) -> int:
        """Side of a slice in pixels."""
        return self.images.shape[1]

    @property
    def num_channels(self) -> int:
        """Number of channels that the network sees: those of a slice and of its context slices."""
        return self.images.shape[3] * self.preprocessing.num_slices_seen

    @property
    def num_slices(self) -> int:
        """Number of slices of all patients together."""
        return len(self.images)

    @property
    def num_bytes(self) -> int:
        """Size of the slices on a disk or in memory."""
        return self.images.nbytes + self.masks.nbytes

    @cached_property
    def tumour_slices(self) -> Bool[np.ndarray, " slices"]:
        """Whether a slice's mask has a tumour pixel, at the pack's size."""
        return np.any(self.masks.reshape(self.num_slices, -1), axis=1)

    def select(self, patient_ids: Iterable[str]) -> "Pack":
        """Return a pack of these patients only, in this pack's order; its arrays are copies without the other patients.

        Raises:
            DataError: No id is given, or an id is not in the pack.
        """
        asked = set(patient_ids)
        unknown = sorted(asked - set(self.patient_ids))
        if unknown or not asked:
            shown = ", ".join(unknown[:10]) or "none"
            raise DataError(f"patients to select are {shown}, but must be among the pack's {len(self.patient_ids)}.")
        patients = np.array([i for i, patient_id in enumerate(self.patient_ids) if patient_id in asked])
        slices = np.isin(self.patient_of_slice, patients)
        ids = tuple(self.patient_ids[i] for i in patients)
        return Pack(
            images=self._rows(self.images, patients),
            masks=self._rows(self.masks, patients),
            patient_ids=ids,
            patient_of_slice=np.searchsorted(patients, self.patient_of_slice[slices]),
            slice_numbers=self.slice_numbers[slices],
            mean=self.mean[patients],
            std=self.std[patients],
            tumour_share=self.tumour_share[patients],
            preprocessing=self.preprocessing,
            regions=self.regions,
            notes=self.notes,
            fingerprint=_sha256(self.fingerprint, *ids),
        )

    def _rows(self, array: np.ndarray, patients: np.ndarray) -> np.ndarray:
        with Rows() as rows:
            for patient in patients:
                rows.append(array[self.patient_of_slice == patient])
            return rows.array()


def pack_patients(patients: Sequence[Patient], preprocessing: Preprocessing, *, progress: bool = False) -> Pack:
    """Return a pack of these patients, in this order; each is read once.

    Args:
        progress: Whether to show a progress bar on stderr.

    Raises:
        BadFiles: Files cannot be read, or have other channels than most patients; the message lists all of them.
        DataError: The disk is full.
    """
    read: list[tuple[Patient, PatientFacts]] = []
    problems: list[Problem] = []
    with Rows() as images, Rows() as masks:
        for patient, found in zip(patients, _fit_all(patients, preprocessing, progress), strict=True):
            if isinstance(found, BadFiles):
                problems += found.problems
                continue
            read.append((patient, found.facts))
            if not problems and found.facts.num_channels == read[0][1].num_channels:  # otherwise it ends with an error
                images.append(found.images)
                masks.append(found.masks)
        problems += differing_channels([(patient, facts.num_channels) for patient, facts in read])
        if problems:
            headline = f"{len(problems)} file(s) cannot be used; repair them, move them away, or give --skip-bad-files:"
            raise BadFiles(headline, problems, num_listed=len(problems))
        return _join(images.array(), masks.array(), read, preprocessing)


def _join(
    images: np.ndarray, masks: np.ndarray, read: Sequence[tuple[Patient, PatientFacts]], preprocessing: Preprocessing
) -> Pack:
    facts = [one for _, one in read]
    names = [f"{patient.id}:{number}" for patient, one in read for number in one.numbers]
    return Pack(
        images=images,
        masks=masks,
        patient_ids=tuple(patient.id for patient, _ in read),
        patient_of_slice=np.repeat(np.arange(len(read)), [len(one.numbers) for one in facts]),
        slice_numbers=np.concatenate([np.array(one.numbers, np.int64) for one in facts]),
        mean=np.stack([one.mean for one in facts]),
        std=np.stack([one.std for one in facts]),
        tumour_share=np.array([one.tumour_share for one in facts], np.float64),
        preprocessing=preprocessing,
        regions=read[0][0].regions,
        notes=count_notes(one.notes for one in facts),
        fingerprint=_sha256(str(preprocessing), *names, *(one.digest for one in facts)),
    )


def join_packs(packs: Sequence[Pack]) -> Pack:
    """Return one pack with the patients of several, in order; all packs must have the same preprocessing."""
    first = packs[0]
    assert all(pack.preprocessing == first.preprocessing for pack in packs), "packs differ in preprocessing"
    starts = np.cumsum([0, *(len(pack.patient_ids) for pack in packs[:-1])])
    with Rows() as images, Rows() as masks:
        for pack in packs:
            images.append(pack.images)
            masks.append(pack.masks)
        return Pack(
            images=images.array(),
            masks=masks.array(),
            patient_ids=tuple(name for pack in packs for name in pack.patient_ids),
            patient_of_slice=np.concatenate(
                [pack.patient_of_slice + start for pack, start in zip(packs, starts, strict=True)]
            ),
            slice_numbers=np.concatenate([pack.slice_numbers for pack in packs]),
            mean=np.concatenate([pack.mean for pack in packs]),
            std=np.concatenate([pack.std for pack in packs]),
            tumour_share=np.concatenate([pack.tumour_share for pack in packs]),
            preprocessing=first.preprocessing,
            regions=first.regions,
            notes=tuple(dict.fromkeys(note for pack in packs for note in pack.notes)),
            fingerprint=_sha256(*(pack.fingerprint for pack in packs)),
        )


def _fit_all(
    patients: Sequence[Patient], preprocessing: Preprocessing, progress: bool
) -> Iterable[FittedPatient | BadFiles]:
    fitted = map_ahead(
        lambda patient: fit_patient(patient, preprocessing),
        patients,
        num_ahead=NUM_PATIENTS_AHEAD,
        num_threads=NUM_THREADS,
    )
    if progress:
        from rich.console import Console  # imported late: workers show no progress
        from rich.progress import track

        return track(fitted, "reading patients", total=len(patients), console=Console(stderr=True))
    return fitted


def _sha256(*parts: str) -> str:
    # Names of files need not be UTF-8.
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()
