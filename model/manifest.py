"""What a model's folder holds, file by file with its hash, and where it comes from: `python -m model.manifest FOLDER`.

A hash shows damage and mix-ups, files of two exports in one folder. It is no signature: whoever can change a file can
change the manifest.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from data.atomic import write
from model.settings import ModelError

MANIFEST_NAME = "manifest.json"

FORMAT = 1
"""Raised when a field changes meaning; a manifest of another format is refused."""

MAX_BYTES = 1 << 24
"""Of a manifest that is read, 16 MB: a hundred thousand files."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Compare the files of a model's folder with its manifest."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """A model's folder, such as runs/NAME/best."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0 where every file is as it was written, and 2, with one sentence a file, where not."""
    folder = tyro.cli(Arguments, prog="python -m model.manifest", args=argv).folder
    try:
        manifest = verify_manifest(folder)
    except (ModelError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{folder}: {len(manifest['files'])} file(s), all as they were written")
    return 0


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest of all files that are now in the folder; call it last.

    Args:
        facts: What else is known of the model, as JSON: versions, commit, where the data and the weights come from.
    """
    assert not facts.keys() & {"format", "files"}, "these names are the manifest's own"
    files = {name: {"sha256": sha256(path), "bytes": path.stat().st_size} for name, path in _find(folder).items()}
    content = json.dumps({"format": FORMAT, **facts, "files": files}, indent=2, allow_nan=False)
    write(folder / MANIFEST_NAME, (content + "\n").encode())


def verify_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder whose files are those that it lists, byte for byte.

    Raises:
        ModelError: There is no manifest, or a file is missing, was added, or differs; all such files are named.
    """
    manifest = read_manifest(folder)
    listed, found = manifest["files"], _find(folder)
    problems = [f"{name} is missing" for name in sorted(listed.keys() - found.keys())]
    problems += [f"{name} is not in the manifest" for name in sorted(found.keys() - listed.keys())]
    for name in sorted(listed.keys() & found.keys()):
        num_bytes, expected = found[name].stat().st_size, listed[name]
        if num_bytes != expected["bytes"]:
            problems.append(f"{name} has {num_bytes} bytes, but had {expected['bytes']}")
        elif sha256(found[name]) != expected["sha256"]:
            problems.append(f"{name} has other content than it had")
    if problems:
        raise ModelError(
            f"{folder} is not as it was written: {'; '.join(problems)}. Copy the folder again, or export it again"
        )
    return manifest


def check_content(path: Path, content: bytes) -> None:
    """Make sure that what was read from a file is what the manifest beside it says; without one, nothing is known.

    Raises:
        ModelError: It is other content, or the manifest cannot be read.
    """
    if not (path.parent / MANIFEST_NAME).is_file():
        return
    entry = read_manifest(path.parent)["files"].get(path.name)
    if entry is not None and (found := hashlib.sha256(content).hexdigest()) != entry["sha256"]:
        raise ModelError(
            f"model {path} is not the file that its manifest names (sha256 {found}, manifest {entry['sha256']}): "
            "copy the folder again as a whole, or export the model again"
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what the manifest of a folder says; its `files` are name: {"sha256", "bytes"}.

    Raises:
        ModelError: There is none, or it is not one of this program and version.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise ModelError(f"{path} does not exist; name the folder of an exported model")
    if path.stat().st_size > MAX_BYTES:
        raise ModelError(f"{path} has {path.stat().st_size} bytes, but a manifest has at most {MAX_BYTES}")
    try:
        manifest = dict(json.loads(path.read_text()))
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} is not a manifest, but must be a JSON object: {error}") from error
    if manifest.get("format") != FORMAT:
        raise ModelError(f"{path} has format {manifest.get('format')!r}, but this version reads format {FORMAT}")
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(
        isinstance(file, dict) and isinstance(file.get("sha256"), str) and type(file.get("bytes")) is int
        for file in files.values()
    ):
        raise ModelError(f'{path} has no files, but must have "files", each with its "sha256" and "bytes"')
    return manifest


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find(folder: Path) -> dict[str, Path]:
    """Return the files of a folder and of those below by their names relative to it, without its manifest."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files.pop(MANIFEST_NAME, None)
    return files


if __name__ == "__main__":
    sys.exit(main())
