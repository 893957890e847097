"""Read the files of a request as one volume, or raise a refusal that says why that is impossible.

The files are stored in a private folder and read as `model.predict` reads files. Their headers are read first, because
an image of a megabyte may decode to gigabytes; a file whose header does not state its size is refused.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from jaxtyping import Shaped

from data.readers.reader import FileKind, ImageOptions
from data.readers.table import file_kinds, kind_of_file
from data.readers.volumes.cases.names import is_same_modality, parse
from model.predict.inputs import find_volumes, read_volume
from model.predict.volume_files import InputOptions
from model.serve.limits import Refusal
from model.settings import Settings

MAX_FILES = 1024
"""Largest number of files in a request; a volume has hundreds of slices at most."""


class Upload(NamedTuple):
    """One file of a request."""

    field: str
    name: str
    content_type: str
    file: IO[bytes]


@dataclass(frozen=True, kw_only=True)
class UploadedVolume:
    """The volume that the files of a request hold."""

    images: Shaped[np.ndarray, "slices height width channels"]
    channel_names: tuple[str, ...]
    files: tuple[Path, ...]
    """One file for each slice, one for each channel, or one for the volume, as `kind.holds` says."""

    kind: FileKind
    spacing_mm: tuple[float, float, float] | None = None
    channels: dict[str, str] = field(default_factory=dict)
    """Name of the file of each channel; empty if a file holds all channels."""


def store(uploads: Sequence[Upload], folder: Path) -> dict[str, Path]:
    """Write the files of a request to a folder; return their paths, by field or, if fields repeat, by file name.

    Raises:
        Refusal: There is no file, a file is of an unknown kind, or two files have the same name.
    """
    if not uploads:
        raise Refusal(400, "the request has no file; send one as the body, or several as multipart/form-data")
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


def read_upload(stored: dict[str, Path], settings: Settings, options: InputOptions) -> UploadedVolume:
    """Return the volume in the files that `store` wrote.

    Raises:
        Refusal: The files do not suit the model, or each other.
        DataError: A file is damaged, or its name does not say which slice it is.
    """
    paths = tuple(stored.values())
    kinds = {kind.name: kind for path in paths if (kind := kind_of_file(path.name))}
    if len(kinds) > 1:
        came = ", ".join(sorted(kind.noun for kind in kinds.values()))
        raise Refusal(400, f"the files are of several kinds ({came}); send files of one kind")
    (kind,) = kinds.values()
    if kind != settings.files:
        wanted = settings.files.noun
        raise Refusal(
            422, f"the request has {kind.noun} files, but the model was trained on {wanted} files: send those"
        )
    if kind.holds == "volume" and len(paths) > 1:
        raise Refusal(400, f"the request has {len(paths)} {kind.noun} files, but each is a whole volume; send one")
    if kind.holds == "channel":
        return _read_channels(stored, settings, options)
    return _read_slices(paths, settings)


def num_values(path: Path) -> int:
    """Return how many values (pixels times channels) a stored file's header promises; 0 if reading refuses it.

    Raises:
        BadFiles: The header is damaged, a side is below 1, or the file decodes to more than it promises.
    """
    kind = kind_of_file(path.name)
    assert kind is not None, "store refuses other files"
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
                raise Refusal(415, f"the file is called {name[-40:]!a}, but names must end in one of {endings}")
            raise Refusal(415, f"the file has no name; give one by ?filename=scan.png ({endings})")
        name += ending
    # Names are shown, logged and put into headers, so they must not hold control characters.
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", name[: -len(ending)]).lstrip(".")[-80:] or "scan"
    return stem + name[-len(ending) :]


def _suffix_of_type(content_type: str) -> str:
    """Return the suffix of files of a media type; empty if the type is unknown."""
    wanted = content_type.partition(";")[0].strip().lower().replace("/x-gzip", "/gzip")
    suffixes = (suffix for kind in file_kinds() for suffix, known in kind.suffixes.items() if known == wanted)
    return next(suffixes, "")


def _read_slices(paths: tuple[Path, ...], settings: Settings) -> UploadedVolume:
    # One image is a volume of one slice. The names of several give their order, as in a folder that is predicted.
    (volume,) = find_volumes(paths[0] if len(paths) == 1 else paths[0].parent, settings)
    if left_out := sorted({path.name for path in paths} - {path.name for path in volume.files}):
        raise Refusal(400, f"{left_out[0]} is named as a mask or an overlay, not as an image; leave it out")
    images, spacing_mm = read_volume(volume, settings)
    return UploadedVolume(
        images=images,
        channel_names=settings.channel_names,
        files=volume.files,
        kind=volume.kind,
        spacing_mm=spacing_mm,
    )


def _read_channels(stored: dict[str, Path], settings: Settings, options: InputOptions) -> UploadedVolume:
    paths = _by_channel(stored, settings.channel_names, settings.files, options.renames)
    images, spacing_mm = settings.files.read(tuple(paths.values()), ImageOptions(trust_voxels=options.trust_voxels))
    return UploadedVolume(
        images=images,
        channel_names=settings.channel_names,
        files=tuple(paths.values()),
        kind=settings.files,
        spacing_mm=spacing_mm,
        channels={name: path.name for name, path in paths.items()},
    )


def _by_channel(
    stored: dict[str, Path], names: tuple[str, ...], kind: FileKind, renames: Mapping[str, str]
) -> dict[str, Path]:
    """Return the file of each channel, by name and not by order: browsers sort files, which would swap channels."""
    wanted = f"{len(names)} {kind.noun} file(s), one for each of {', '.join(names)}"
    if len(stored) != len(names):
        raise Refusal(422, f"the request has {len(stored)} {kind.noun} file(s), but the model takes {wanted}")
    if len(names) == 1:
        return dict(zip(names, stored.values(), strict=True))
    ways: tuple[Callable[[str], list[Path]], ...] = (
        lambda name: [path for field, path in stored.items() if field == name.lower()],
        lambda name: [path for path in stored.values() if _is_called(kind.stem_of(path.name), name)],
        # Other spellings, such as t1gd for t1c.
        lambda name: [path for field, path in stored.items() if is_same_modality(field, name)],
        lambda name: [path for path in stored.values() if is_same_modality(_role(path, kind), name)],
    )
    for way in ways:
        found = {name: way(renames.get(name.lower(), name)) for name in names}
        paths = [path for some in found.values() for path in some]
        if len(set(paths)) == len(paths) == len(names) and all(found.values()):
            return {name: path for name, (path,) in found.items()}
    raise Refusal(
        422,
        "the names do not say which file is which channel: name the fields, or the files, after the model's "
        f"channels ({', '.join(names)}), such as CASE_{names[0]}{next(iter(kind.suffixes))}",
    )


def _role(path: Path, kind: FileKind) -> str:
    return parse(kind.stem_of(path.name)).role


def _is_called(stem: str, name: str) -> bool:
    return re.fullmatch(rf"(.*[_-])?{re.escape(name)}", stem, re.IGNORECASE) is not None
