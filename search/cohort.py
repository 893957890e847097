"""The patients of one search: read once, checked, split. The search is handed what it may see, and no more."""

from dataclasses import dataclass

from data.pack import Pack, pack_patients
from data.patient import DataError, Patient
from data.source import find_source
from data.split import Split, split_patients
from search.config import SearchConfig


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Patients by side. The test patients are not in the packs: nothing that Ray runs can reach them."""

    format: str
    split: Split
    train_pack: Pack
    val_pack: Pack
    val_patients: tuple[Patient, ...]
    test_patients: tuple[Patient, ...]
    num_slices: dict[str, int]
    """By side."""

    num_tumour_slices: dict[str, int]
    """By side."""

    fingerprint: str
    """Of all patients' pixels, and of the size they were packed in."""


def read_cohort(config: SearchConfig) -> Cohort:
    """Return the patients that a config names. Every slice is decoded here, so that no bad file ends a trial.

    Raises:
        DataError: What is wrong with the folder, its files, or the split.
    """
    data_format, patients = find_source(config.data, phantom_root=config.out)
    split = split_patients(
        [patient.id for patient in patients],
        seed=config.seed,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
    )
    pack = pack_patients(patients, config.preprocessing, progress=True)
    sides = {side: pack.select(getattr(split, side)) for side in ("train", "val", "test")}
    for side in ("train", "val"):
        if not sides[side].tumour_slices.any():
            raise DataError(
                f"none of the {len(sides[side].patient_ids)} patients of side {side!r} has a tumour, but without one "
                "Dice is undefined: add patients with tumours, or choose another --seed"
            )
    return Cohort(
        format=data_format,
        split=split,
        train_pack=sides["train"],
        val_pack=sides["val"],
        val_patients=_select(patients, split.val),
        test_patients=_select(patients, split.test),
        num_slices={side: part.num_slices for side, part in sides.items()},
        num_tumour_slices={side: int(part.tumour_slices.sum()) for side, part in sides.items()},
        fingerprint=pack.fingerprint,
    )


def _select(patients: tuple[Patient, ...], ids: tuple[str, ...]) -> tuple[Patient, ...]:
    return tuple(patient for patient in patients if patient.id in ids)
