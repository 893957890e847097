"""A file that says on which side of the split each patient is: JSON or CSV, or nnU-Net's `splits_final.json`.

It names patients or persons, with `train`, `val`, `test` or the number of a fold. Of folds, one is tested on, the next
one validates, and the others train.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.printable import some
from data.splitting.split import Member, Side

SIDE_NAMES: dict[str, Side] = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "ts", "holdout"), "test"),
}
"""Sides by their names in files, in lower case."""

ID_COLUMNS = ("id", "patient", "patient_id", "person", "subject", "subject_id", "case", "case_id", "name")
SIDE_COLUMNS = ("split", "side", "set", "subset", "fold", "partition")

MAX_BYTES = 2**26
LEGAL = (
    'legal are {"train": [ids], "val": [ids], "test": [ids]} and {"id": "train", ...} as JSON, also with the number of '
    "a fold for a side, nnU-Net's splits_final.json, and a CSV file with the columns id and split"
)


def read_split_file(path: Path, *, fold: int = 0) -> dict[str, Side]:
    """Return the side of each patient or person that a file names.

    Args:
        fold: The fold to test on, if the file has folds.

    Raises:
        DataError: The file cannot be read, is too large, or says something else.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(
                f"--split {path} has {path.stat().st_size} bytes, but at most {MAX_BYTES} are read; {LEGAL}"
            )
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"--split {path} cannot be read ({error.strerror}); name a file: {LEGAL}") from error
    try:
        rows = _rows_of_json(json.loads(text)) if text.lstrip()[:1] in ("{", "[") else _rows_of_csv(text)
        sides = _sides(rows, fold)
    except (ValueError, TypeError, KeyError, RecursionError, csv.Error) as error:
        raise DataError(f"--split {path} is not understood ({error}); {LEGAL}") from error
    if not sides:
        raise DataError(f"--split {path} names no patient; {LEGAL}")
    return sides


def match_persons(sides: Mapping[str, Side], members: Sequence[Member]) -> tuple[dict[str, Side], tuple[str, ...]]:
    """Return the side of each person whom a file names, directly or by a patient, and remarks about the others.

    Raises:
        DataError: The file names none of the patients, or puts patients of one person on different sides.
    """
    persons: dict[str, dict[Side, str]] = defaultdict(dict)
    used: set[str] = set()
    for member in members:
        for name in (member.id, member.person):
            if name in sides:
                persons[member.person].setdefault(sides[name], member.id)
                used.add(name)
                break
    if not persons:
        raise DataError(
            f"--split names {some(sides)}, but none of the patients: their ids are "
            f"{some(member.id for member in members)}; use these"
        )
    if torn := {person: found for person, found in persons.items() if len(found) > 1}:
        person, found = next(iter(torn.items()))
        where = " and ".join(f"{patient} on {side}" for side, patient in found.items())
        raise DataError(
            f"--split puts visits of {len(torn)} person(s) on different sides, such as {where}, both of {person}: put "
            "all visits of a person on one side; or, if they are different persons, say by --patient-pattern which "
            "part of a path is the person"
        )
    notes = []
    if unknown := [name for name in sides if name not in used]:
        notes.append(f"--split names {len(unknown)} patient(s) that the data does not have: {some(unknown)}")
    if rest := [member.id for member in members if member.person not in persons]:
        notes.append(f"--split does not name {len(rest)} patient(s), which fill up the sides: {some(rest)}")
    return {person: next(iter(found)) for person, found in persons.items()}, tuple(notes)


def _rows_of_json(content: Any) -> list[tuple[str, str]]:
    """Return each name in a JSON value with its side or fold, as text."""
    if isinstance(content, list):
        return _rows_of_folds(content)
    for key in ("data", "split"):  # config.json of an experiment
        if isinstance(content.get(key), dict):
            return _rows_of_json(content[key])
    rows = []
    for key, value in content.items():
        if isinstance(value, list):
            rows += [(str(name), key) for name in value]
        elif isinstance(value, str | int):
            rows.append((key, str(value)))
    return rows


def _rows_of_folds(folds: list[Any]) -> list[tuple[str, str]]:
    """Return the rows of nnU-Net's list, in which each patient is validated on in one fold."""
    if len(folds) == 1:
        return [(str(name), side) for side in ("train", "val") for name in folds[0][side]]
    return [(str(name), str(number)) for number, fold in enumerate(folds) for name in fold["val"]]


def _rows_of_csv(text: str) -> list[tuple[str, str]]:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    if not rows:
        return []
    header, *lines = rows
    lowered = [name.lower() for name in header]
    columns = [
        next((lowered.index(name) for name in names if name in lowered), None) for names in (ID_COLUMNS, SIDE_COLUMNS)
    ]
    if columns == [None, None] and len(header) == 2:
        lines, columns = [header, *lines], [0, 1]
    id_column, side_column = columns
    if id_column is None or side_column is None:
        raise ValueError(f"its columns are {', '.join(header)}")
    return [(row[id_column], row[side_column]) for row in lines if len(row) > max(id_column, side_column)]


def _sides(rows: Iterable[tuple[str, str]], fold: int) -> dict[str, Side]:
    sides: dict[str, str] = {}
    for name, text in rows:
        name = name.removesuffix(".gz").removesuffix(".nii")
        if sides.setdefault(name, text) != text:
            raise ValueError(f"{name} is both {sides[name]} and {text}")
    if all(text.isascii() and text.isdigit() for text in sides.values()) and sides:
        return _sides_of_folds({name: int(text) for name, text in sides.items()}, fold)
    if fold:
        raise ValueError(f"it has no folds, but split_fold is {fold}")
    if unknown := sorted({text for text in sides.values() if text.lower() not in SIDE_NAMES}):
        raise ValueError(f"a side is called {some(unknown)}")
    return {name: SIDE_NAMES[text.lower()] for name, text in sides.items()}


def _sides_of_folds(folds: Mapping[str, int], fold: int) -> dict[str, Side]:
    numbers = sorted(set(folds.values()))
    if fold not in numbers:
        raise ValueError(f"it has the folds {', '.join(map(str, numbers))}, but split_fold is {fold}")
    if len(numbers) < 3:
        raise ValueError(f"it has {len(numbers)} folds, but must have at least 3: to test, to validate and to train on")
    following = numbers[(numbers.index(fold) + 1) % len(numbers)]
    by_fold: dict[int, Side] = {fold: "test", following: "val"}
    return {name: by_fold.get(number, "train") for name, number in folds.items()}
