"""The patients of one search: read once, checked, and split. The search receives no test patients."""

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.errors import BadFiles, DataError, MissingSource, Problem
from data.packing.cache import cached_pack, default_folder
from data.packing.copies import alike_patients
from data.packing.pack import Pack, pack_patients
from data.patient import Patient
from data.printable import some
from data.source import Source, find_source
from data.splitting.split import SIDES, Member, Split
from search.config import SearchConfig
from search.storage.working_folder import format_command

SKIPPING = "repair them, move them away, or give --skip-bad-files"
RESTORING = "repair them, or restore those with which the search began"


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """The patients by side: training, validation, test. No pack has test patients, so that no trial can see them."""

    format: str
    channel_names: tuple[str, ...]
    split: Split
    train_pack: Pack
    val_pack: Pack
    train_patients: tuple[Patient, ...]
    val_patients: tuple[Patient, ...]
    test_patients: tuple[Patient, ...]
    num_slices: dict[str, int]
    """Number of slices by side."""

    num_tumour_slices: dict[str, int]
    """Number of slices with tumour by side."""

    fingerprint: str
    """Hash of all patients' pixels and of the preprocessing."""

    skipped: tuple[Problem, ...] = ()
    """Files that cannot be used, and were left out because the config allows it."""

    @property
    def num_persons(self) -> dict[str, int]:
        """Number of persons by side, who may have several visits."""
        sides = {"train": self.train_patients, "val": self.val_patients, "test": self.test_patients}
        return {side: len({patient.person for patient in patients}) for side, patients in sides.items()}


def read_cohort(config: SearchConfig, *, recorded: Split | None = None) -> Cohort:
    """Return the patients that a config names. Every slice is decoded here, so that no bad file can end a trial later.

    Args:
        recorded: The split of an experiment that goes on, which is kept.

    Raises:
        DataError: The folder or a file in it cannot be used; a side would have no patients or no tumour, or nobody to
            train on one of the regions; or the patients are not those of the recorded split.
    """
    found = _find(config) if recorded is None else _find_again(config)
    for warning in found.warnings:
        print(f"note: {warning}", file=sys.stderr)
    pack, patients, skipped = _read(found, config, remedy=SKIPPING if recorded is None else RESTORING)
    for note in pack.notes:
        print(f"note: {note}", file=sys.stderr)
    if recorded is None:
        split = _split(patients, pack, config)
    else:
        split = recorded
        _check_same_patients(split, pack, config)
        _say_torn(split, patients)
    sides = {side: pack.select(getattr(split, side)) for side in ("train", "val", "test")}
    for side in ("train", "val"):
        _check_tumour(sides[side], side)
    return Cohort(
        format=found.format,
        channel_names=found.name_channels(pack.images.shape[3]),
        split=split,
        train_pack=sides["train"],
        val_pack=sides["val"],
        train_patients=_select(patients, split.train),
        val_patients=_select(patients, split.val),
        test_patients=_select(patients, split.test),
        num_slices={side: part.num_slices for side, part in sides.items()},
        num_tumour_slices={side: int(part.tumour_slices.sum()) for side, part in sides.items()},
        fingerprint=pack.fingerprint,
        skipped=skipped,
    )


def _find(config: SearchConfig) -> Source:
    # All bad files are collected before any is reported.
    return find_source(config.data, reading=replace(config.reading, skip_bad_files=True), phantom_root=config.out)


def _find_again(config: SearchConfig) -> Source:
    """Return the source of a search that goes on, whose patients may be elsewhere by now.

    Raises:
        DataError: They are not where the search found them.
    """
    module = "search.tune" if config.resume else "search.promote"
    command = format_command(module, config.folder, "--data", "NEWPATH")
    remedy = f"if they have moved, say where they are: {command}"
    try:
        return _find(config)
    except MissingSource as error:
        place = Path(config.data).expanduser().absolute()
        raise MissingSource(f"the patients of {config.name} are not at {place} any more; {remedy}") from error
    except BadFiles:
        raise
    except DataError as error:
        raise DataError(f"{str(error).rstrip('.')}; {config.name} began with the patients there: {remedy}") from error


def _check_tumour(pack: Pack, side: str) -> None:
    """Check that something can be learned and compared: a tumour, and each of several regions.

    Raises:
        DataError: No patient of the side has a tumour, or none to train on has a region.
    """
    who = f"none of the {len(pack.patient_ids)} patients of side {side!r} has"
    if not pack.tumour_slices.any():
        raise DataError(
            f"{who} a tumour, but without one Dice is undefined: add patients with tumours, or choose another --seed"
        )
    present = int(np.bitwise_or.reduce(pack.masks, axis=None))
    for number, region in enumerate(pack.regions):
        if present >> number & 1:
            continue
        labels = ", ".join(map(str, region.labels))
        what = f"{who} a voxel of region {region.name} (labels {labels}) at --size {pack.size}"
        if side == "train":
            raise DataError(
                f"{what}: compare --regions with the labels that python -m data.inspect counts, choose another --seed "
                "or a larger --size, or leave the region out"
            )
        print(f"note: {what}, so that its Dice there is 0 or unknown", file=sys.stderr)


def _read(found: Source, config: SearchConfig, *, remedy: str) -> tuple[Pack, tuple[Patient, ...], tuple[Problem, ...]]:
    """Return the pack, the patients in it, and the files that were left out.

    Raises:
        BadFiles: There are bad files and the config does not let them be left out, or nothing is left without them.
    """
    pack, patients, skipped = None, found.patients, found.skipped
    while pack is None and patients:
        try:
            pack = _pack(patients, config)
        except BadFiles as error:
            skipped += error.problems
            bad = {problem.path for problem in error.problems}
            patients = tuple(rest for patient in patients if (rest := patient.without(bad)))
    if pack is None or (skipped and not config.reading.skip_bad_files):
        remedies = "without them, no patient is left; repair them" if pack is None else remedy
        headline = f"{len(skipped)} file(s) cannot be used; {remedies}:"
        raise BadFiles(headline, skipped, num_listed=len(skipped))
    return pack, patients, skipped


def _pack(patients: tuple[Patient, ...], config: SearchConfig) -> Pack:
    def make() -> Pack:
        return pack_patients(patients, config.preprocessing, progress=True)

    return cached_pack(patients, config.preprocessing, default_folder(), make) if config.cache else make()


def _split(patients: tuple[Patient, ...], pack: Pack, config: SearchConfig) -> Split:
    """Return the split, and print what a person should know about it."""
    split, notes = config.splitting.apply(_members(patients, pack), seed=config.seed)
    for note in (*notes, *_leaks(pack, split, patients)):
        print(f"note: {note}", file=sys.stderr)
    return split


def _check_same_patients(split: Split, pack: Pack, config: SearchConfig) -> None:
    was, now = set(split.ids), set(pack.patient_ids)
    if was != now:
        parts = [(f"{len(was - now)} are missing", was - now), (f"{len(now - was)} are new", now - was)]
        raise DataError(
            f"the patients in {config.data} are not those that {config.name} began with: "
            f"{' and '.join(f'{text} ({some(sorted(ids))})' for text, ids in parts if ids)}; put the old ones back, or "
            "begin a new search"
        )


def _say_torn(split: Split, patients: tuple[Patient, ...]) -> None:
    """Print a note if a recorded split has visits of one person on several sides, as splits by patient had."""
    sides = defaultdict(set)
    for side in SIDES:
        ids = set(getattr(split, side))
        for patient in patients:
            if patient.id in ids:
                sides[patient.person].add(side)
    if torn := [person for person, own in sides.items() if len(own) > 1]:
        print(
            f"note: {len(torn)} person(s) have visits on several sides of this experiment's split ({some(torn)}), "
            "which inflates its scores; a new search splits by person",
            file=sys.stderr,
        )


def _members(patients: tuple[Patient, ...], pack: Pack) -> list[Member]:
    """Return what the split knows about the patients of a pack."""
    shares = dict(zip(pack.patient_ids, pack.tumour_share.tolist(), strict=True))
    return [Member(id=one.id, person=one.person, group=one.group, tumour_share=shares[one.id]) for one in patients]


def _leaks(pack: Pack, split: Split, patients: tuple[Patient, ...]) -> Iterator[str]:
    """Yield a warning if patients of different persons and on different sides look alike."""
    persons = {patient.id: patient.person for patient in patients}
    sides = {name: side for side in SIDES for name in getattr(split, side)}
    pairs = [
        f"{one} ({sides[one]}) and {other} ({sides[other]}), correlation {correlation:.3f}"
        for one, other, correlation in alike_patients(pack)
        if sides[one] != sides[other] and persons[one] != persons[other]
    ]
    if pairs:
        yield (
            f"{len(pairs)} pair(s) of patients on different sides of the split look alike: {some(pairs, most=3)}. If "
            "they are one person, the scores are too good: say which part of a path is the person by "
            "--patient-pattern, give --split, or remove the copies"
        )


def _select(patients: tuple[Patient, ...], ids: tuple[str, ...]) -> tuple[Patient, ...]:
    wanted = set(ids)
    return tuple(patient for patient in patients if patient.id in wanted)
