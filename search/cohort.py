"""The patients of one search: read once, checked, and split. The search receives no test patients."""

import sys
from dataclasses import dataclass, replace

from data.cache import cached_pack, default_folder
from data.errors import BadFiles, DataError, Problem
from data.pack import Pack, pack_patients
from data.patient import Patient
from data.source import find_source
from data.split import Split, split_patients
from search.config import SearchConfig


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


def read_cohort(config: SearchConfig) -> Cohort:
    """Return the patients that a config names. Every slice is decoded here, so that no bad file can end a trial later.

    Raises:
        DataError: The folder or a file in it cannot be used, or a side would have no patients or no tumour.
    """
    # All bad files are collected before any is reported.
    found = find_source(config.data, reading=replace(config.reading, skip_bad_files=True), phantom_root=config.out)
    for warning in found.warnings:
        print(f"note: {warning}", file=sys.stderr)
    pack, patients, skipped = _read(found.patients, config, found.skipped)
    split = split_patients(
        [patient.id for patient in patients],
        seed=config.seed,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
    )
    sides = {side: pack.select(getattr(split, side)) for side in ("train", "val", "test")}
    for side in ("train", "val"):
        if not sides[side].tumour_slices.any():
            raise DataError(
                f"none of the {len(sides[side].patient_ids)} patients of side {side!r} has a tumour, but without one "
                "Dice is undefined: add patients with tumours, or choose another --seed"
            )
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


def _read(
    patients: tuple[Patient, ...], config: SearchConfig, skipped: tuple[Problem, ...]
) -> tuple[Pack, tuple[Patient, ...], tuple[Problem, ...]]:
    """Return the pack, the patients in it, and the files that were left out.

    Raises:
        BadFiles: There are bad files and the config does not let them be left out, or nothing is left without them.
    """
    pack = None
    while pack is None and patients:
        try:
            pack = _pack(patients, config)
        except BadFiles as error:
            skipped += error.problems
            bad = {problem.path for problem in error.problems}
            patients = tuple(rest for patient in patients if (rest := patient.without(bad)))
    if pack is None or (skipped and not config.reading.skip_bad_files):
        headline = f"{len(skipped)} file(s) cannot be used; repair them, move them away, or give --skip-bad-files:"
        raise BadFiles(headline, skipped, num_listed=len(skipped))
    return pack, patients, skipped


def _pack(patients: tuple[Patient, ...], config: SearchConfig) -> Pack:
    def make() -> Pack:
        return pack_patients(patients, config.preprocessing, progress=True)

    return cached_pack(patients, config.preprocessing, default_folder(), make) if config.cache else make()


def _select(patients: tuple[Patient, ...], ids: tuple[str, ...]) -> tuple[Patient, ...]:
    return tuple(patient for patient in patients if patient.id in ids)
