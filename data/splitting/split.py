"""The split into training, validation and test patients: by person, and never by slice.

Persons are ordered by a hash of their names, so the split depends neither on the order of files nor on chance. The
sides have as many persons as the fractions say. Then persons of different sides change places until lesion volumes and
institutions are alike on all sides, or no exchange is worth its price.

What this promises when persons are added: most stay where they are. One more moves 1 to 3 of 20 to 110 on average,
near the borders between sides (tests/data/splitting/test_split.py). To keep every side of an earlier split, give it
as a file (split_file.py); then only new persons are assigned.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from data.errors import DataError

Side = Literal["train", "val", "test"]

SIDES: tuple[Side, ...] = ("train", "val", "test")

MIN_PERSONS = 3

SALT = "7607"
"""Text that is hashed with each name. Changing it changes every split."""

MAX_GROUPS = 20
"""Only this many groups, the largest, are balanced."""

TOLERANCE = 0.25
"""How far the mean of a side may be from that of all, in standard deviations of the persons. Exchanges end there."""

PRICE = 10.0
"""Price of an exchange of two persons whose hashes are as far apart as can be, in the unit of `_best_exchange`. So
persons near the border between two sides are exchanged, and mostly the same ones after others were added."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Three disjoint tuples of patient ids, each sorted and none empty."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all patients."""
        return (*self.train, *self.val, *self.test)


@dataclass(frozen=True, kw_only=True)
class Member:
    """What the split knows about a patient."""

    id: str
    person: str
    group: str = ""
    """The institution or folder; see `data.patient.Patient`."""

    tumour_share: float = 0.0
    """Share of the patient's voxels that are tumour."""


def split_patients(
    members: Iterable[Member],
    *,
    seed: int,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    sides: Mapping[str, Side] | None = None,
) -> Split:
    """Return the split: each patient is on one side, all patients of a person on the same, in whatever order they come.

    Args:
        sides: The side of persons that a file names; the others fill up what is missing.

    Raises:
        DataError: There are fewer than three persons, an id occurs twice, a fraction is outside (0, 1), or no person is
            left for a side.
    """
    members = sorted(members, key=lambda member: member.id)
    _check(members, val_fraction, test_fraction)
    persons = in_hash_order({member.person for member in members}, seed=seed)
    present = set(persons)
    known: dict[str, Side] = {person: side for person, side in (sides or {}).items() if person in present}
    free = [person for person in persons if person not in known]
    found = known | _by_hash(free, _missing(len(persons), val_fraction, test_fraction, known))
    _check_sides(found, known)
    found = _balance(found, {person: _position(person, seed) for person in free}, members)
    return Split(**{side: tuple(one.id for one in members if found[one.person] == side) for side in SIDES})


def in_hash_order(names: Iterable[str], *, seed: int) -> list[str]:
    """Return names in an order that depends on them and the seed alone, not on the order given."""
    return sorted(names, key=lambda name: (_position(name, seed), name))


def _position(name: str, seed: int) -> float:
    """Return the hash of a name as a number in [0, 1)."""
    digest = hashlib.sha256(f"{SALT}:{seed}:{name}".encode(errors="surrogateescape")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits: exact as a float, so never rounded up to 1.0


def _check(members: Sequence[Member], val_fraction: float, test_fraction: float) -> None:
    num_persons = len({member.person for member in members})
    if num_persons < MIN_PERSONS:
        of = f" (of {len(members)} patients)" if len(members) != num_persons else ""
        hint = "; if these are more persons, say by --patient-pattern which part of a path is the person" if of else ""
        raise DataError(
            f"there are {num_persons} persons{of}, but there must be at least {MIN_PERSONS}: one each to train on, "
            f"validate on and test on; add patients{hint}."
        )
    twice = [patient_id for patient_id, count in Counter(member.id for member in members).items() if count > 1]
    if twice:
        raise DataError(f"patient ids must be unique, but these appear twice: {', '.join(twice[:10])}; rename them.")
    check_fractions(val_fraction, test_fraction)


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Raise DataError if a share is not between 0 and 1, or if the two leave nothing to train on."""
    for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 < fraction < 1:
            raise DataError(f"{name} is {fraction}, but must be above 0 and below 1, for example 0.2.")
    if val_fraction + test_fraction >= 1:
        raise DataError(
            f"val_fraction + test_fraction is {val_fraction + test_fraction:g}, but must be below 1 so that patients "
            "remain to train on; lower one of them."
        )


def _missing(total: int, val_fraction: float, test_fraction: float, known: Mapping[str, Side]) -> dict[Side, int]:
    """Return how many persons each side still needs: in all as near to the fractions as whole persons can be."""
    exact: dict[Side, float] = {"test": total * test_fraction, "val": total * val_fraction}
    wanted: dict[Side, int] = {side: max(1, int(number + 0.5)) for side, number in exact.items()}
    while sum(wanted.values()) >= total:  # what was rounded up the most gives a person to training
        wanted[max(exact, key=lambda side: (wanted[side] > 1, wanted[side] - exact[side]))] -= 1
    wanted["train"] = total - sum(wanted.values())
    counts = Counter(known.values())
    missing: dict[Side, int] = {side: max(0, number - counts[side]) for side, number in wanted.items()}
    # A file may give a side more than its share; the others then get less, the one that has the most, and keep one.
    while sum(missing.values()) > total - len(known):
        missing[max(missing, key=lambda side: (missing[side] > (not counts[side]), missing[side]))] -= 1
    return missing


def _by_hash(free: Sequence[str], missing: Mapping[Side, int]) -> dict[str, Side]:
    """Return the side of each person: the first in the order go to test, the next to validation, the rest to train."""
    order: tuple[Side, ...] = ("test", "val", "train")
    sides: list[Side] = [side for side in order for _ in range(missing[side])]
    return dict(zip(free, sides, strict=True))


def _check_sides(sides: Mapping[str, Side], known: Mapping[str, Side]) -> None:
    if empty := [side for side in SIDES if side not in sides.values()]:
        counts = Counter(known.values())
        raise DataError(
            f"no patient is left for {' and '.join(empty)}: --split puts {counts['train']} persons on train, "
            f"{counts['val']} on val and {counts['test']} on test; give each side at least one, or leave some persons "
            "out of the file"
        )


def _balance(sides: Mapping[str, Side], positions: Mapping[str, float], members: Sequence[Member]) -> dict[str, Side]:
    """Return the sides after exchanges, each the best there is, until the sides are alike enough.

    Args:
        positions: The hash of each person who may be moved.
    """
    persons = list(sides)
    features = _features(persons, members)
    number = np.array([SIDES.index(sides[person]) for person in persons])
    hashes = np.array([positions.get(person, np.nan) for person in persons])
    while _distances(number, features).max(initial=0.0) > TOLERANCE:
        exchange = _best_exchange(number, features, hashes)
        if exchange is None:
            break
        one, other = exchange
        number[one], number[other] = number[other], number[one]
    return {person: SIDES[k] for person, k in zip(persons, number, strict=True)}


def _features(persons: Sequence[str], members: Sequence[Member]) -> Float[np.ndarray, "persons features"]:
    """Return what is to be alike on all sides, with mean 0 and deviation 1: the rank of the tumour's share, and each
    large group with enough persons to be on every side."""
    own = defaultdict(list)
    for member in members:
        own[member.person].append(member)
    shares = np.array([np.mean([member.tumour_share for member in own[person]]) for person in persons])
    groups = np.array([own[person][0].group for person in persons])
    columns = [np.unique(shares, return_inverse=True)[1].astype(float)]  # ranks
    counts = Counter(groups.tolist()).most_common(MAX_GROUPS)
    columns += [(groups == name).astype(float) for name, count in counts if count >= MIN_PERSONS]
    varied = [column for column in columns if column.std() > 0]
    standard = [(column - column.mean()) / column.std() for column in varied]
    return np.stack(standard, 1) if standard else np.zeros((len(persons), 0))


def _distances(
    sides: Int[np.ndarray, " persons"], features: Float[np.ndarray, "persons features"]
) -> Float[np.ndarray, "sides features"]:
    """Return how far the mean of each side is from 0."""
    return np.abs([features[sides == k].mean(0) for k in range(len(SIDES))])


def _best_exchange(
    sides: Int[np.ndarray, " persons"],
    features: Float[np.ndarray, "persons features"],
    hashes: Float[np.ndarray, " persons"],
) -> tuple[int, int] | None:
    """Return the two persons whose exchange gains the most after its price; None if no exchange is worth its price.

    The gain is by how much the sum of squared distances, each times the number of persons on its side, becomes smaller.

    Args:
        hashes: nan for a person who stays.
    """
    sums = np.stack([features[sides == k].sum(0) for k in range(len(SIDES))])
    counts = np.bincount(sides, minlength=len(SIDES))
    most, best = 1e-9, None
    for a, b in combinations(range(len(SIDES)), 2):
        ones, others = (np.flatnonzero(~np.isnan(hashes) & (sides == k)) for k in (a, b))
        for one in ones:
            moved = features[others] - features[one]
            gains = (sums[a] ** 2 - (sums[a] + moved) ** 2) / counts[a]
            gains += (sums[b] ** 2 - (sums[b] - moved) ** 2) / counts[b]
            worth = gains.sum(1) - PRICE * np.abs(hashes[others] - hashes[one])
            if worth.max(initial=0.0) > most:
                most, best = float(worth.max()), (int(one), int(others[worth.argmax()]))
    return best
