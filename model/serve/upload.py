"""What a request brought, as one volume; or why it cannot be.

The files are put into a private folder and read as all files here are. What they promise to hold is read first, from
their headers alone, because an image of a megabyte may decode to gigabytes; what cannot be known so is refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Shaped

from data.readers.reader import FileKind
from data.readers.table import file_kinds, kind_of_file
from model.predict.inputs import find_volumes, read_volume
from model.serve.limits import Refusal
from model.settings import Settings

MAX_FILES = 1024
"""Of a request; a volume has hundreds of slices at most."""


class Upload(NamedTuple):
    """One file of a request."""

    field: str
    name: str
    content_type: str
    file: BinaryIO


@dataclass(frozen=True, kw_only=True)
class Case:
    """A volume to predict."""

    images: Shaped[np.ndarray, "slices height width channels"]
    channel_names: tuple[str, ...]
    files: tuple[Path, ...]
    """One a slice or one a channel, as `kind.holds` says."""

    kind: FileKind
    spacing_mm: tuple[float, float, float] | None = None
    channels: dict[str, str] = field(default_factory=dict)
    """Which file was taken as which channel, where each channel is a file."""


def store(uploads: Sequence[Upload], folder: Path) -> dict[str, Path]:
    """Return where the files of a request now lie, by the names of their fields, or by their own where those repeat.

    Raises:
        Refusal: Nothing came, a file is of an unknown kind, or two have one name.
    """
    if not uploads:
        raise Refusal(400, "no file came; send one as the body, or several as multipart/form-data")
    fields = [upload.field.lower() for upload in uploads]
    stored: dict[str, Path] = {}
    for upload in uploads:
        path = folder / _safe_name(upload)
        if path.exists():
            raise Refusal(400, f"two files are called {path.name}; rename one of them")
        with path.open("xb") as copy:
            while part := upload.file.read(2**20):
                copy.write(part)
        stored[upload.field.lower() if len(set(fields)) == len(fields) else path.name] = path
    return stored


def read_case(stored: dict[str, Path], settings: Settings) -> Case:
    """Return the volume in the files that `store` wrote.

    Raises:
        Refusal: The files do not suit the model, or each other.
        DataError: A file is damaged, or none of a legal kind.
    """
    paths = tuple(stored.values())
    kinds = {kind.name: kind for path in paths if (kind := kind_of_file(path.name))}
    if len(kinds) > 1:
        came = ", ".join(sorted(kind.noun for kind in kinds.values()))
        raise Refusal(400, f"files of several kinds came ({came}); send one kind")
    (kind,) = kinds.values()
    if kind != settings.files:
        wanted = settings.files.noun
        raise Refusal(422, f"{kind.noun} files came, but the model was trained on {wanted} files: send such")
    return _read_channels(stored, settings) if kind.holds == "channel" else _read_slices(paths, settings)


def num_values(path: Path) -> int:
    """Return how many values (pixels times channels) a stored file's header promises; 0 where reading refuses it.

    Raises:
        BadFiles: The header is damaged, a side is below 1, or the file decodes to more than it promises.
    """
    kind = kind_of_file(path.name)
    assert kind is not None, "store lets no other file pass"
    return kind.count_values(path)


def _safe_name(upload: Upload) -> str:
    name = re.split(r"[/\\]", upload.name)[-1]
    kind = kind_of_file(name)
    ending = kind.suffix_of(name) if kind else ""
    if not ending:
        ending = _suffix_of_type(upload.content_type)
        if not ending or "." in name:
            endings = ", ".join(suffix for kind in file_kinds() for suffix in kind.suffixes)
            if name:
                raise Refusal(415, f"the file {name[-40:]!a} came, but names must end in one of {endings}")
            raise Refusal(415, f"a file without name came; say what it is by ?filename=scan.png ({endings})")
        name += ending
    # What is shown, written to the log or put into a header must hold no control characters.
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", name[: -len(ending)]).lstrip(".")[-80:] or "scan"
    return stem + name[-len(ending) :]


def _suffix_of_type(content_type: str) -> str:
    """Return the suffix of files of a media type; empty for an unknown one."""
    wanted = content_type.partition(";")[0].strip().lower().replace("/x-gzip", "/gzip")
    suffixes = (suffix for kind in file_kinds() for suffix, known in kind.suffixes.items() if known == wanted)
    return next(suffixes, "")


def _read_slices(paths: tuple[Path, ...], settings: Settings) -> Case:
    # One image is a volume of one slice; of several, the names say the order, as in a folder that is predicted.
    (volume,) = find_volumes(paths[0] if len(paths) == 1 else paths[0].parent, settings)
    if left_out := sorted({path.name for path in paths} - {path.name for path in volume.files}):
        raise Refusal(400, f"{left_out[0]} is called like a mask or an overlay, but images are wanted; leave it out")
    images, spacing_mm = read_volume(volume, settings)
    return Case(
        images=images,
        channel_names=settings.channel_names,
        files=volume.files,
        kind=volume.kind,
        spacing_mm=spacing_mm,
    )


def _read_channels(stored: dict[str, Path], settings: Settings) -> Case:
    paths = _by_channel(stored, settings.channel_names, settings.files)
    images, spacing_mm = settings.files.read(tuple(paths.values()), (), False)
    return Case(
        images=images,
        channel_names=settings.channel_names,
        files=tuple(paths.values()),
        kind=settings.files,
        spacing_mm=spacing_mm,
        channels={name: path.name for name, path in paths.items()},
    )


def _by_channel(stored: dict[str, Path], names: tuple[str, ...], kind: FileKind) -> dict[str, Path]:
    """Return the file of each channel. The order of files says nothing: browsers sort them, and a swap goes unseen."""
    wanted = f"{len(names)} {kind.noun} file(s), one for each of {', '.join(names)}"
    if len(stored) != len(names):
        raise Refusal(422, f"{len(stored)} {kind.noun} file(s) came, but the model takes {wanted}")
    if len(names) == 1:
        return dict(zip(names, stored.values(), strict=True))
    if stored.keys() == {name.lower() for name in names}:
        return {name: stored[name.lower()] for name in names}
    found = {name: [path for path in stored.values() if _is_called(kind.stem_of(path.name), name)] for name in names}
    if any(len(paths) != 1 for paths in found.values()):
        raise Refusal(
            422,
            f"it cannot be told which file is which: call the fields, or the files, as the model's "
            f"channels are ({', '.join(names)}), such as CASE_{names[0]}{next(iter(kind.suffixes))}",
        )
    return {name: path for name, (path,) in found.items()}


def _is_called(stem: str, name: str) -> bool:
    return re.fullmatch(rf"(.*[_-])?{re.escape(name)}", stem, re.IGNORECASE) is not None
