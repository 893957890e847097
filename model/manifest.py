"""The manifest of a model's folder: every file with its hash, and where the model comes from.

`python -m model.manifest FOLDER` compares a folder with its manifest. A hash reveals damage and mix-ups, such as files
of two exports in one folder. It is not a signature: whoever can change a file can also change the manifest.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from data.arguments import parse_arguments
from data.atomic import write
from data.command import run_command
from model.settings import ModelError

MANIFEST_NAME = "manifest.json"

FORMAT = 1
"""Increased when a field changes its meaning; a manifest of another format is refused."""

MAPPINGS = ("versions", "wandb")
"""The facts that are texts by name."""

MAX_BYTES = 1 << 24
"""Largest manifest that is read: 16 MB, enough for a hundred thousand files."""


@dataclass(frozen=True, kw_only=True)
class ModelProvenance:
    """Where a model comes from. A fact is None if it is unknown."""

    experiment: str | None = None
    """Name of the search that found the model."""

    trial: str | None = None
    """Trial whose configuration the model was trained with."""

    winner: str | None = None
    """Name of the promoted candidate: the trial, an ensemble of trials, or a final training."""

    test_dice: float | None = None
    """Mean Dice over the test patients."""

    data_fingerprint: str | None = None
    commit: str | None = None
    versions: Mapping[str, str] | None = None
    """Version of each library, by its name."""

    wandb: Mapping[str, str] | None = None
    """`project` and `run` in Weights & Biases."""

    written: str | None = None
    """Date and time in ISO 8601."""

    def known(self) -> dict[str, object]:
        """Return the facts that are known, by name, as values that JSON can hold."""
        return {name: fact for name, fact in asdict(self).items() if fact is not None}


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file as it was written."""

    sha256: str
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of `manifest.json`."""

    provenance: ModelProvenance
    files: Mapping[str, FileEntry]
    """Each file by its path relative to the folder."""

    def to_json(self) -> str:
        """Return the text of the file; `parse` reads it.

        Raises:
            ValueError: A fact is nan, which JSON does not have.
        """
        files = {name: {"sha256": entry.sha256, "bytes": entry.num_bytes} for name, entry in self.files.items()}
        content = {"format": FORMAT, **asdict(self.provenance), "files": files}
        return json.dumps(content, indent=2, allow_nan=False) + "\n"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Compare the files of a model's folder with its manifest."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """A model's folder, such as runs/NAME/best."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Return 0 if every file is as it was written, and 2 after naming those that are not."""
    return run_command(_main, argv)


def _main(argv: list[str]) -> int:
    folder = parse_arguments(Arguments, argv, prog="python -m model.manifest").folder
    manifest = verify_manifest(folder)
    print(f"{folder}: {len(manifest.files)} file(s), all as they were written")
    return 0


def write_manifest(folder: Path, provenance: ModelProvenance) -> None:
    """Write the manifest of all files that are in the folder now; call it last."""
    entries = {
        name: FileEntry(sha256=sha256(path), num_bytes=path.stat().st_size)
        for name, path in _files_below(folder).items()
    }
    write(folder / MANIFEST_NAME, Manifest(provenance=provenance, files=entries).to_json().encode())


def verify_manifest(folder: Path) -> Manifest:
    """Return the manifest of a folder after comparing every file with it, byte for byte.

    Raises:
        ModelError: There is no manifest; or files are missing, were added, or differ, in which case all are named.
    """
    manifest = read_manifest(folder)
    if problems := _differences(manifest.files, _files_below(folder)):
        raise ModelError(
            f"{folder} is not as it was written: {'; '.join(problems)}. Copy the folder again, or export it again"
        )
    return manifest


def _differences(listed: Mapping[str, FileEntry], found: Mapping[str, Path]) -> list[str]:
    """Return the differences between the files that a manifest lists and those in its folder, one sentence each."""
    problems = [f"{name} is missing" for name in sorted(listed.keys() - found.keys())]
    problems += [f"{name} is not in the manifest" for name in sorted(found.keys() - listed.keys())]
    for name in sorted(listed.keys() & found.keys()):
        path, expected = found[name], listed[name]
        try:
            if (num_bytes := path.stat().st_size) != expected.num_bytes:
                problems.append(f"{name} has {num_bytes} bytes, but had {expected.num_bytes}")
            elif sha256(path) != expected.sha256:
                problems.append(f"{name} has different content")
        except OSError as error:
            problems.append(f"{name} cannot be read ({error.strerror or error})")
    return problems


def check_file(path: Path) -> None:
    """Compare a file with the manifest beside it, if there is one that lists it.

    Raises:
        ModelError: The file differs or cannot be read, or the manifest cannot be read.
    """
    if (entry := _entry_of(path)) is not None:
        try:
            _compare(path, sha256(path), entry)
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror or error}); check it and the disk") from error


def check_content(path: Path, content: bytes) -> None:
    """Compare the content of a file with the manifest beside the file, if there is one that lists it.

    Raises:
        ModelError: The content differs, or the manifest cannot be read.
    """
    if (entry := _entry_of(path)) is not None:
        _compare(path, hashlib.sha256(content).hexdigest(), entry)


def _entry_of(path: Path) -> FileEntry | None:
    has_manifest = (path.parent / MANIFEST_NAME).is_file()
    return read_manifest(path.parent).files.get(path.name) if has_manifest else None


def _compare(path: Path, found: str, entry: FileEntry) -> None:
    if found != entry.sha256:
        raise ModelError(
            f"model {path} is not the file that its manifest names (sha256 {found}, manifest {entry.sha256}): "
            "copy the whole folder again, or export the model again"
        )


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a folder.

    Raises:
        ModelError: There is none, or it was not written by this program, or by a version with another format.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise ModelError(f"{path} does not exist; name the folder of an exported model")
    if path.stat().st_size > MAX_BYTES:
        raise ModelError(f"{path} has {path.stat().st_size} bytes, but a manifest has at most {MAX_BYTES}")
    try:
        values = dict(json.loads(path.read_text()))
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}); check it and the disk") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} is not a manifest, but must be a JSON object: {error}") from error
    try:
        return _parse(values)
    except ModelError as error:
        raise ModelError(f"{path} {error}") from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(values: dict[str, Any]) -> Manifest:
    if values.get("format") != FORMAT:
        raise ModelError(f"has format {values.get('format')!r}, but this version reads format {FORMAT}")
    files = values.get("files")
    if not isinstance(files, dict) or not all(map(_is_entry, files.values())):
        raise ModelError('has no files, but must have "files", each with its "sha256" and "bytes"')
    known = {field.name for field in fields(ModelProvenance)}
    facts = {name: value for name, value in values.items() if name in known}
    if wrong := [name for name, value in facts.items() if not (value is None or _is_fact(name, value))]:
        legal = "a number" if wrong[0] == "test_dice" else "a JSON object of texts" if wrong[0] in MAPPINGS else "text"
        raise ModelError(f"has {wrong[0]} {str(facts[wrong[0]])[:80]!r}, but must have {legal}")
    return Manifest(
        provenance=ModelProvenance(**facts),
        files={name: FileEntry(sha256=entry["sha256"], num_bytes=entry["bytes"]) for name, entry in files.items()},
    )


def _is_entry(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("sha256"), str) and type(value.get("bytes")) is int


def _is_fact(name: str, value: object) -> bool:
    """Return whether a fact has the type that `ModelProvenance` says."""
    if name == "test_dice":
        return type(value) in (int, float)
    if name in MAPPINGS:
        return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    return isinstance(value, str)


def _files_below(folder: Path) -> dict[str, Path]:
    """Return all files in a folder and below it, except its manifest, by their names relative to it."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files.pop(MANIFEST_NAME, None)
    return files


if __name__ == "__main__":
    sys.exit(main())
