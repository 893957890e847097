"""Find the patients of a data source: a folder in a layout that a reader knows, or patients that a reader generates."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import tyro

from data.errors import BadFiles, DataError, Problem, UserError
from data.patient import Patient
from data.printable import some
from data.readers.reader import LayoutOptions, Reader
from data.readers.recognise import find_tree, recognise
from data.readers.table import AUTO, READERS, data_formats, kind_of_file
from data.readers.tree import Tree, read_tree
from data.splitting.persons import compile_pattern, describe_visits, find_person, suspect_visits


def _help() -> str:
    layouts = (f"`{name}` ({READERS[name].description})" for name in data_formats() if name != AUTO)
    return f"Layout of the data: {', '.join(layouts)}, or `auto` to recognise it."


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(LayoutOptions):
    """How to read the files of a data source."""

    data_format: Annotated[str, tyro.conf.arg(metavar=f"{{{','.join(data_formats())}}}", help=_help())] = AUTO
    """Layout of the data: the name of a reader, or `auto` to recognise it."""

    skip_bad_files: bool = False
    """Leave out the files that cannot be used, and record them. Otherwise list all of them and stop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data_format not in data_formats():
            raise UserError(f"data_format is {self.data_format!r}, but must be one of {', '.join(data_formats())}")
        if self.patient_pattern is not None:
            compile_pattern(self.patient_pattern)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data source that was found."""

    format: str
    """A name in READERS."""

    rule: str
    """Why it has this format: what the reader recognised."""

    patients: tuple[Patient, ...]
    warnings: tuple[str, ...]
    skipped: tuple[Problem, ...]
    """Files that are left out, as `skip_bad_files` allows."""

    channel_names: tuple[str, ...]
    """Names of the channels, from the files or the options; empty if neither names them."""

    def name_channels(self, num_channels: int) -> tuple[str, ...]:
        """Return a name for each channel; numbers from 0 if there are not as many names as channels."""
        return self.channel_names if len(self.channel_names) == num_channels else tuple(map(str, range(num_channels)))


def find_source(source: str, *, reading: ReadingOptions | None = None, phantom_root: Path) -> Source:
    """Return the patients of a data source.

    "phantom" and "phantom:40" are 24 and 40 synthetic patients, which are written below phantom_root at their first
    use. Anything else is the path of a folder; write "./phantom" for a folder of that name.

    Raises:
        DataError: The number of phantoms is illegal, or the folder is not a data set.
        BadFiles: Files belong to no patient, or lack their image or mask.
    """
    reading = reading or ReadingOptions()
    name, rule, tree = _locate(source, reading, phantom_root)
    reader = READERS[name]
    _check_options(name, reader, reading)
    found = reader.scan(tree, reading)
    problems = (*tree.problems, *found.problems)
    if problems and not (found.patients and reading.skip_bad_files):
        remedies = (
            "repair them, choose another --data-format, or give --skip-bad-files"
            if found.patients
            else "without these files, no patient is left; repair them, or choose another --data-format"
        )
        headline = f"data source {source}, read as {name}, has {len(problems)} problem(s); {remedies}:"
        raise BadFiles(headline, problems, num_listed=len(problems))
    patients = _with_persons(found.patients, tree.root, reading.patient_pattern)
    persons = {patient.id: patient.person for patient in patients}
    notes = (
        describe_visits(persons),
        "" if reading.patient_pattern else suspect_visits(persons.values()),
        _about_other_kinds(tree, reader),
    )
    return Source(
        format=name,
        rule=rule,
        patients=patients,
        warnings=(*found.warnings, *filter(None, notes)),
        skipped=problems,
        channel_names=("grey",) if reading.grayscale else found.channel_names,
    )


def _about_other_kinds(tree: Tree, reader: Reader) -> str:
    """Return a warning about volumes beside slices, or slices beside volumes; empty if there are none."""
    others = [folder / name for folder, name in tree.files(lambda name: kind_of_file(name) not in (None, reader.files))]
    return f"{len(others)} file(s) of another kind are left out, such as {others[0]}" if others else ""


def _with_persons(patients: Sequence[Patient], root: Path, pattern: str | None) -> tuple[Patient, ...]:
    """Return the patients with the persons that a pattern finds, if there is one.

    Raises:
        DataError: The pattern finds no person in the path of some patient's first file.
    """
    if pattern is None:
        return tuple(patients)
    compiled, found, missed = compile_pattern(pattern), [], []
    for patient in patients:
        path = patient.files[0].relative_to(root).as_posix()
        person = find_person(compiled, path)
        found.append(replace(patient, person=person))
        missed += [] if person else [path]
    if missed:
        raise DataError(
            f'patient_pattern "{pattern}" finds no person in {len(missed)} path(s), such as {some(missed, most=3)}; '
            "change the pattern"
        )
    return tuple(found)


def _locate(source: str, reading: ReadingOptions, phantom_root: Path) -> tuple[str, str, Tree]:
    """Return the name of the reader, the rule by which it was chosen, and the files that it reads."""
    if not source.strip():
        raise DataError('the data source is empty, but must be a folder, "phantom" or "phantom:N".')
    name, colon, text = source.partition(":")
    if (reader := READERS.get(name)) and reader.generate:
        if reading.data_format not in (AUTO, name):
            raise DataError(f"--data-format is {reading.data_format}, but {source} is generated; leave the option out.")
        return name, "it was generated", read_tree(reader.generate(text if colon else None, phantom_root))
    tree = _tree(source)
    if reading.data_format == AUTO:
        return *recognise(tree), tree
    return reading.data_format, "--data-format says so", tree


def _tree(source: str) -> Tree:
    try:
        path = Path(source).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):  # find_tree says what it expects
            path.stat()
        return find_tree(path)
    except (OSError, RuntimeError, ValueError) as error:  # a loop, a name too long, an unknown user, a zero byte
        raise DataError(
            f"data source {source!r} cannot be opened ({error}); name a folder, and check that you may read it."
        ) from error


def _check_options(name: str, reader: Reader, reading: ReadingOptions) -> None:
    for option in (field.name for field in fields(LayoutOptions) if getattr(reading, field.name) != field.default):
        if option not in (*reader.options, "patient_pattern"):
            takers = [other for other, reader in READERS.items() if option in reader.options]
            listed = " and ".join(filter(None, (", ".join(takers[:-1]), takers[-1])))
            raise DataError(f"--{option.replace('_', '-')} is for {listed}, but the data is {name}; leave it out.")
    if reading.channels and reading.grayscale:
        raise DataError("--channels and --grayscale exclude each other: leave one out.")
