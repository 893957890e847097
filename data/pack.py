"""All slices of all patients as one uint8 array: decoded and resized once, then mapped by every worker of a machine.

uint8 because the slices are; a float pack would be four times as large and hold nothing more.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from rich.console import Console
from rich.progress import track

from data.patient import BadFiles, DataError, Patient, Problem
from data.preprocess import Preprocessing, prepare

MAX_BAD_FILES = 1000
"""Files that a message lists; who repairs them wants them all."""

# Decoding releases the interpreter's lock only in part; more threads hide a network disk's latency, not computation.
NUM_THREADS = 4


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Slices of patients at one size. The arrays may be read-only: they are mapped from Ray's object store."""

    images: UInt8[np.ndarray, "slices size size channels"]
    masks: Bool[np.ndarray, "slices size size"]
    patient_ids: tuple[str, ...]
    patient_of_slice: Int64[np.ndarray, " slices"]
    """Index into patient_ids; the slices of a patient are neighbours, in the order of their numbers."""
    slice_numbers: Int64[np.ndarray, " slices"]
    mean: Float32[np.ndarray, "patients channels"]
    """Of each patient's own volume, over the head: see `preprocess.volume_statistics`."""
    std: Float32[np.ndarray, "patients channels"]
    original_shapes: Int64[np.ndarray, "patients 2"]
    """Height and width of each patient's slices before they were fitted."""
    preprocessing: Preprocessing
    fingerprint: str
    """sha256 over the preprocessing, and the id, slice numbers and decoded pixels of each patient: equal for equal data
    wherever it lies, whenever it was copied, and however it is compressed."""

    @property
    def size(self) -> int:
        """Side of a slice in pixels."""
        return self.images.shape[1]

    @property
    def num_channels(self) -> int:
        """Channels of what a network sees: those of a slice and of its context."""
        return self.images.shape[3] * self.preprocessing.num_slices_seen

    @property
    def num_slices(self) -> int:
        """Slices of all patients together."""
        return len(self.images)

    @cached_property
    def tumour_slices(self) -> Bool[np.ndarray, " slices"]:
        """Whether a slice's mask has a tumour pixel, at the pack's size."""
        return self.masks.reshape(self.num_slices, -1).any(axis=1)

    def select(self, patient_ids: Iterable[str]) -> "Pack":
        """Returns a pack of these patients only, in this pack's order; the arrays are copies, and none else is in them.

        Raises:
            DataError: no id is given, or one is not in the pack.
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
            images=self.images[slices],
            masks=self.masks[slices],
            patient_ids=ids,
            patient_of_slice=np.searchsorted(patients, self.patient_of_slice[slices]),
            slice_numbers=self.slice_numbers[slices],
            mean=self.mean[patients],
            std=self.std[patients],
            original_shapes=self.original_shapes[patients],
            preprocessing=self.preprocessing,
            fingerprint=_sha256(self.fingerprint, *ids),
        )


def pack_patients(patients: Sequence[Patient], preprocessing: Preprocessing, *, progress: bool = False) -> Pack:
    """Returns the pack of patients, in their order, each read once.

    progress shows a bar on stderr.

    Raises:
        BadFiles: files that cannot be read, or differ in channels from the first patient; all in one message.
    """
    fitted = list(_fit_all(patients, preprocessing, progress))
    problems = [problem for found in fitted if isinstance(found, BadFiles) for problem in found.problems]
    read = [found for found in fitted if isinstance(found, _Fitted)]
    problems += _mismatches(patients, fitted)
    if problems:
        headline = f"{len(problems)} file(s) cannot be used; repair them, move them away, or give --skip-bad-files:"
        raise BadFiles(headline, problems, num_listed=MAX_BAD_FILES)
    lengths = [len(one.numbers) for one in read]
    names = [f"{patient.id}:{number}" for patient, one in zip(patients, read, strict=True) for number in one.numbers]
    images, masks = np.concatenate([one.images for one in read]), np.concatenate([one.masks for one in read])
    return Pack(
        images=images,
        masks=masks,
        patient_ids=tuple(patient.id for patient in patients),
        patient_of_slice=np.repeat(np.arange(len(patients)), lengths),
        slice_numbers=np.concatenate([np.array(one.numbers, np.int64) for one in read]),
        mean=np.stack([one.mean for one in read]),
        std=np.stack([one.std for one in read]),
        original_shapes=np.array([one.shape for one in read], np.int64),
        preprocessing=preprocessing,
        fingerprint=_sha256(str(preprocessing), *names, *(one.digest for one in read)),
    )


@dataclass(frozen=True, kw_only=True)
class _Fitted:
    """A patient, read and fitted."""

    images: np.ndarray
    masks: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    numbers: tuple[int, ...]
    shape: tuple[int, int]
    digest: str


def _fit_all(patients: Sequence[Patient], preprocessing: Preprocessing, progress: bool) -> Iterator[_Fitted | BadFiles]:
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        results = pool.map(lambda patient: _fit(patient, preprocessing), patients)
        if progress:
            results = track(results, "reading patients", total=len(patients), console=Console(stderr=True))
        yield from results


def _fit(patient: Patient, preprocessing: Preprocessing) -> _Fitted | BadFiles:
    try:
        volume = patient.read()
    except BadFiles as error:
        return error
    prepared = prepare(volume.images, preprocessing)
    digest = hashlib.sha256(np.ascontiguousarray(volume.images))
    digest.update(np.ascontiguousarray(volume.masks))
    return _Fitted(
        images=prepared.images,
        masks=np.stack([prepared.fit_mask(mask) for mask in volume.masks]),
        mean=prepared.mean,
        std=prepared.std,
        numbers=volume.numbers,
        shape=prepared.shape,
        digest=digest.hexdigest(),
    )


def _mismatches(patients: Sequence[Patient], fitted: Sequence[_Fitted | BadFiles]) -> list[Problem]:
    """Returns the files of the patients that have other channels than most."""
    counts = Counter(one.images.shape[3] for one in fitted if isinstance(one, _Fitted))
    if len(counts) < 2:
        return []
    usual = counts.most_common(1)[0][0]
    return [
        Problem(
            path=path,
            reason=f"patient {patient.id} has {one.images.shape[3]} channels, but most patients have {usual}",
        )
        for patient, one in zip(patients, fitted, strict=True)
        if isinstance(one, _Fitted) and one.images.shape[3] != usual
        for path in patient.files
    ]


def _sha256(*parts: str) -> str:
    # Names of files need not be UTF-8.
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()
