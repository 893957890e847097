"""The split into training, validation and test patients, by a hash of the patient's id and never by slice.

Unlike a shuffle, a hash does not move earlier patients when others are added to a folder: last month's test patient
cannot become a training patient today.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from data.errors import DataError

MIN_PATIENTS = 3

SALT = "7607"
"""Text that is hashed with each id. A hash divides few patients unevenly; this salt divides the default phantoms with
seed 0 as 14 / 5 / 5, 40 of them as 24 / 8 / 8, and 20 patients of the LGG set as 12 / 4 / 4. Changing it changes every
split."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Three disjoint tuples of patient ids, each sorted and none empty."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def split_patients(
    patient_ids: Iterable[str], *, seed: int, val_fraction: float = 0.2, test_fraction: float = 0.2
) -> Split:
    """Return the split: each patient is in exactly one of train, val and test, whatever the order of the ids.

    A patient's position is the SHA-256 of "salt:seed:id" as a number in [0, 1). Below test_fraction it is a test
    patient, in the next val_fraction a validation patient, above that a training patient. So the sizes equal the
    fractions only on average. A side that would be empty, among few patients, receives the patient whose position is
    nearest to its interval, from a side that has more than one; only such a patient can move when others are added.

    Raises:
        DataError: There are fewer than three patients, an id occurs twice, a fraction is outside (0, 1), or no patient
            is left for training.
    """
    ids = sorted(patient_ids)
    _check(ids, val_fraction, test_fraction)
    intervals = {
        "test": (0.0, test_fraction),
        "val": (test_fraction, test_fraction + val_fraction),
        "train": (test_fraction + val_fraction, 1.0),
    }
    positions = {patient_id: _position(seed, patient_id) for patient_id in ids}
    sides = {patient_id: _side(position, intervals) for patient_id, position in positions.items()}
    for side, (low, high) in intervals.items():
        sizes = Counter(sides.values())
        if sizes[side] == 0:
            distances = {i: max(low - positions[i], positions[i] - high) for i in ids if sizes[sides[i]] > 1}
            sides[min(distances, key=lambda i: (distances[i], i))] = side
    return Split(**{side: tuple(i for i in ids if sides[i] == side) for side in intervals})


def in_hash_order(patient_ids: Iterable[str], *, seed: int) -> list[str]:
    """Return the ids in an order that depends on them and the seed alone, not on the order given."""
    return sorted(patient_ids, key=lambda patient_id: (_position(seed, patient_id), patient_id))


def _check(ids: list[str], val_fraction: float, test_fraction: float) -> None:
    if len(ids) < MIN_PATIENTS:
        raise DataError(
            f"there are {len(ids)} patients, but there must be at least {MIN_PATIENTS}: one each to train on, validate "
            "on and test on; add patients."
        )
    twice = [patient_id for patient_id, count in Counter(ids).items() if count > 1]
    if twice:
        raise DataError(f"patient ids must be unique, but these appear twice: {', '.join(twice[:10])}; rename them.")
    for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 < fraction < 1:
            raise DataError(f"{name} is {fraction}, but must be above 0 and below 1, for example 0.2.")
    if val_fraction + test_fraction >= 1:
        raise DataError(
            f"val_fraction + test_fraction is {val_fraction + test_fraction:g}, but must be below 1 so that patients "
            "remain to train on; lower one of them."
        )


def _position(seed: int, patient_id: str) -> float:
    digest = hashlib.sha256(f"{SALT}:{seed}:{patient_id}".encode(errors="surrogateescape")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits: exact as a float, so never rounded up to 1.0


def _side(position: float, intervals: dict[str, tuple[float, float]]) -> str:
    return next(side for side, (_, high) in intervals.items() if position < high or side == "train")
