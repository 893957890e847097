"""All slices of all patients as one uint8 array: decoded and resized once, then mapped by every worker of a machine.

uint8 because the slices are; a float pack would be four times as large and hold nothing more.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from rich.console import Console
from rich.progress import track

from data.patient import DataError, Patient, SliceFiles, problems_message
from data.preprocess import fit_image, fit_mask, volume_statistics

ReadSlice = Callable[[SliceFiles], tuple[np.ndarray, np.ndarray]]

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
    fingerprint: str
    """sha256 over the size, and the id, slice numbers and decoded pixels of each patient: equal for equal data wherever
    it lies, whenever it was copied, and however it is compressed."""

    @property
    def size(self) -> int:
        """Side of a slice in pixels."""
        return self.images.shape[1]

    @property
    def num_channels(self) -> int:
        """Channels of an image; 3 in the LGG layout."""
        return self.images.shape[3]

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
            fingerprint=_sha256(self.fingerprint, *ids),
        )


def pack_patients(patients: Sequence[Patient], *, read_slice: ReadSlice, size: int, progress: bool = False) -> Pack:
    """Returns the pack of patients, in their order: each slice decoded once and fitted to size x size pixels.

    progress shows a bar on stderr.

    Raises:
        DataError: slices that cannot be read, or differ in size within a patient, or in channels; all in one message.
    """
    assert all(patient.slices for patient in patients), "readers return no empty patient"
    files = [slice_files for patient in patients for slice_files in patient.slices]
    fitted = _fit_all(files, read_slice, size, progress)
    problems = fitted.problems + _mismatches(patients, fitted.shapes)
    if problems:
        headline = f"{len(problems)} of {len(files)} slices cannot be used; repair them or move their patients away:"
        raise DataError(problems_message(headline, problems, num_listed=20))

    lengths = [len(patient.slices) for patient in patients]
    starts = np.cumsum([0, *lengths])
    statistics = [volume_statistics(fitted.images[start:stop]) for start, stop in pairwise(starts)]
    names = [f"{patient.id}:{slice_files.number}" for patient in patients for slice_files in patient.slices]
    return Pack(
        images=fitted.images,
        masks=fitted.masks,
        patient_ids=tuple(patient.id for patient in patients),
        patient_of_slice=np.repeat(np.arange(len(patients)), lengths),
        slice_numbers=np.array([slice_files.number for slice_files in files], np.int64),
        mean=np.stack([mean for mean, _ in statistics]),
        std=np.stack([std for _, std in statistics]),
        original_shapes=np.array([fitted.shapes[start][:2] for start in starts[:-1]], np.int64),
        fingerprint=_sha256(str(size), *names, *fitted.digests),
    )


@dataclass(frozen=True, kw_only=True)
class _Fitted:
    images: np.ndarray | None  # None where no slice was readable
    masks: np.ndarray
    shapes: list[tuple[int, int, int] | None]  # of the images before they were fitted; None where one was not readable
    digests: list[str]
    problems: list[str]


def _fit_all(files: list[SliceFiles], read_slice: ReadSlice, size: int, progress: bool) -> _Fitted:
    images, masks = None, np.zeros((len(files), size, size), bool)
    shapes, digests, problems = [], [], []
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        results = pool.map(lambda slice_files: _fit(slice_files, read_slice, size), files)
        if progress:
            results = track(results, "reading slices", total=len(files), console=Console(stderr=True))
        for i, result in enumerate(results):
            if isinstance(result, DataError):
                problems.append(str(result))
                shapes.append(None)
                continue
            image, masks[i], shape, digest = result
            if images is None:  # allocated once, now that the channels are known: a list to stack would take it twice
                images = np.zeros((len(files), *image.shape), np.uint8)
            if image.shape == images.shape[1:]:  # else `_mismatches` reports it
                images[i] = image
            shapes.append(shape)
            digests.append(digest)
    return _Fitted(images=images, masks=masks, shapes=shapes, digests=digests, problems=problems)


def _fit(slice_files: SliceFiles, read_slice: ReadSlice, size: int) -> tuple | DataError:
    try:
        image, mask = read_slice(slice_files)
    except DataError as error:
        return error
    digest = hashlib.sha256(np.ascontiguousarray(image))
    digest.update(np.ascontiguousarray(mask))
    return fit_image(image, size), fit_mask(mask, size), image.shape, digest.hexdigest()


def _mismatches(patients: Sequence[Patient], shapes: list[tuple[int, int, int] | None]) -> list[str]:
    num_channels = next((shape[2] for shape in shapes if shape), None)
    remaining, problems = iter(shapes), []
    for patient in patients:
        first = None
        for slice_files in patient.slices:
            shape = next(remaining)
            first = first or shape
            if shape is None:
                continue
            if shape[:2] != first[:2]:
                problems.append(
                    f"{slice_files.image}: is {shape[0]} x {shape[1]} pixels, but the first slice of patient "
                    f"{patient.id} is {first[0]} x {first[1]}; all slices of a patient must have one size"
                )
            elif shape[2] != num_channels:
                problems.append(f"{slice_files.image}: has {shape[2]} channels, but the first slice has {num_channels}")
    return problems


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
