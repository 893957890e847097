"""Keep packs on disk, so that a data set is decoded once for all searches and commands.

A pack's folder is named by a hash of its preprocessing and of the names, sizes and times of its files. The folder
appears whole or not at all: two searches that start at once do not disturb each other, and a killed one leaves no half
pack.
"""

import hashlib
import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np

from data.atomic import new_folder
from data.errors import UserError
from data.machine.user import cache_folder
from data.packing.pack import Pack
from data.patient import Patient
from data.preprocess import Preprocessing
from data.regions import Region

VERSION = 3
"""Raise it when a reader, the preprocessing or the format of a pack changes; older packs are then made again."""

MAX_PACKS = 8
"""Number of packs that are kept; when there are more, the least recently used ones are removed."""

MAX_SECONDS_OF_SAVING = 24 * 3600
"""Half packs that are older are those of searches that were killed."""

ARRAYS = ("images", "masks", "patient_of_slice", "slice_numbers", "mean", "std", "tumour_share")
FACTS_FILE = "pack.json"

logger = logging.getLogger(__name__)


def default_folder() -> Path:
    """Return the folder of packs, in the folder that the program keeps from one run to the next."""
    return cache_folder() / "packs"


def cached_pack(
    patients: Sequence[Patient], preprocessing: Preprocessing, folder: Path, make: Callable[[], Pack]
) -> Pack:
    """Return the pack of these patients, mapped from the disk; make it first if it is missing or damaged.

    If the folder cannot be written, log a warning and return the pack in memory.
    """
    target = folder / _key(patients, preprocessing)
    pack = _load(target, preprocessing, patients[0].regions)
    if pack is not None:
        return pack
    made = make()
    try:
        _save(made, target)
    except OSError as error:
        logger.warning(
            "cannot keep the pack of slices in %s (%s); the next search will decode the files again", folder, error
        )
        return made
    _remove_oldest(folder, kept=target)
    return _load(target, preprocessing, patients[0].regions) or made


def _key(patients: Sequence[Patient], preprocessing: Preprocessing) -> str:
    known = hashlib.sha256(f"{VERSION} {preprocessing}".encode())
    for patient in patients:
        lines = [repr(patient), *(f"{path} {_state(path)}" for path in patient.files)]
        known.update("\n".join(["", *lines]).encode(errors="surrogateescape"))  # names of files need not be UTF-8
    return known.hexdigest()[:32]


def _state(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:  # reading the file will say what is wrong
        return type(error).__name__
    return f"{found.st_size} {found.st_mtime_ns}"


def _load(target: Path, preprocessing: Preprocessing, regions: tuple[Region, ...]) -> Pack | None:
    if not target.exists():
        return None
    try:
        facts = json.loads((target / FACTS_FILE).read_text())
        arrays = {name: np.load(target / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
        damaged = [name for name in ARRAYS if _checksum(arrays[name]) != facts["checksums"][name]]
        if damaged or facts["preprocessing"] != asdict(preprocessing):
            raise ValueError(f"{', '.join(damaged) or 'preprocessing'} is not what was written")
        os.utime(target)
        return Pack(
            **arrays,
            patient_ids=tuple(facts["patient_ids"]),
            preprocessing=preprocessing,
            regions=regions,
            notes=tuple(facts["notes"]),
            fingerprint=facts["fingerprint"],
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, UserError) as error:
        logger.warning("the pack in %s is damaged (%s) and is made again", target, error)
        shutil.rmtree(target, ignore_errors=True)
        return None


def _save(pack: Pack, target: Path) -> None:
    with new_folder(target) as partial:
        for name in ARRAYS:
            np.save(partial / f"{name}.npy", getattr(pack, name), allow_pickle=False)
        facts = {
            "patient_ids": pack.patient_ids,
            "preprocessing": asdict(pack.preprocessing),
            "notes": pack.notes,
            "fingerprint": pack.fingerprint,
            "checksums": {name: _checksum(getattr(pack, name)) for name in ARRAYS},
        }
        (partial / FACTS_FILE).write_text(json.dumps(facts))


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)


def _remove_oldest(folder: Path, *, kept: Path) -> None:
    """Remove the packs that were not used for longest, and what a killed search left."""
    times = {}
    for path in folder.iterdir():
        with suppress(OSError):  # another search may remove it at the same time
            times[path] = path.stat().st_mtime
    packs = sorted((path for path in times if (path / FACTS_FILE).exists() and path != kept), key=times.__getitem__)
    halves = [path for path in times if path.name.startswith(".") and time.time() - times[path] > MAX_SECONDS_OF_SAVING]
    for path in (*packs[: max(0, len(packs) + 1 - MAX_PACKS)], *halves):
        shutil.rmtree(path, ignore_errors=True)
