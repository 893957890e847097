"""One patient's slices at the size of the pack, and the facts about them that stay in memory."""

import hashlib
from dataclasses import dataclass

import numpy as np

from data.errors import BadFiles
from data.head import MAX_OUTSIDE_SHARE, find_head, num_outside
from data.patient import Patient
from data.preprocess import Preprocessing, prepare

NO_TUMOUR = "no voxel is tumour"
TOO_SMALL = "the tumour vanishes at this --size, and counts as none in training"
OUTSIDE = (
    "more than a quarter of the tumour lies outside the head: check whether images and masks belong together, by "
    "`python -m data.inspect`"
)


@dataclass(frozen=True, kw_only=True)
class PatientFacts:
    """The facts about a patient that stay in memory after its slices are written to the disk."""

    num_channels: int
    mean: np.ndarray
    std: np.ndarray
    numbers: tuple[int, ...]
    tumour_share: float
    notes: tuple[str, ...]
    digest: str


@dataclass(frozen=True, kw_only=True)
class FittedPatient:
    """A patient's slices at the size of the pack."""

    images: np.ndarray
    masks: np.ndarray
    facts: PatientFacts


def fit_patient(patient: Patient, preprocessing: Preprocessing) -> FittedPatient | BadFiles:
    """Return a patient's slices at the size of the pack, or the error of the files that cannot be used."""
    try:
        volume = patient.read()
    except BadFiles as error:
        return error
    prepared = prepare(volume.images, preprocessing)
    masks = np.stack([prepared.fit_mask(mask) for mask in volume.masks])
    digest = hashlib.sha256(np.ascontiguousarray(volume.images).data)
    digest.update(np.ascontiguousarray(volume.masks).data)
    return FittedPatient(
        images=prepared.images,
        masks=masks,
        facts=PatientFacts(
            num_channels=prepared.images.shape[3],
            mean=prepared.mean,
            std=prepared.std,
            numbers=volume.numbers,
            tumour_share=float(volume.tumour.mean()),
            notes=(*volume.notes, *_about_masks(prepared.images, masks, has_tumour=bool(volume.tumour.any()))),
            digest=digest.hexdigest(),
        ),
    )


def _about_masks(images: np.ndarray, masks: np.ndarray, *, has_tumour: bool) -> tuple[str, ...]:
    """Return what is odd about a patient's masks, in words that are the same for all patients."""
    tumour = masks > 0
    if not tumour.any():
        return (TOO_SMALL if has_tumour else NO_TUMOUR,)
    pairs = zip(find_head(images), tumour, strict=True)
    return (OUTSIDE,) if sum(num_outside(*pair) for pair in pairs) > MAX_OUTSIDE_SHARE * tumour.sum() else ()
