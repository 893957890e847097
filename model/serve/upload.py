"""What a request brought, as one volume; or why it cannot be.

The files are put into a private folder and read as all files here are. What they promise to hold is read first, from
their headers alone, because an image of a megabyte may decode to gigabytes; what cannot be known so is refused.
"""

import gzip
import math
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import tifffile
from jaxtyping import Shaped

from data.readers.image_file import IMAGE_SUFFIXES
from data.readers.nifti_file import SUFFIX, import_nibabel, read_channels
from model.predict.inputs import find_volumes, read_volume
from model.serve.limits import Refusal
from model.settings import Settings

MAX_FILES = 1024
"""Of a request; a volume has hundreds of slices at most."""

_SUFFIX_OF_TYPE = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/tiff": ".tif",
    "application/x-nifti": ".nii",
    "application/gzip": ".nii.gz",
    "application/x-gzip": ".nii.gz",
}
_ENDINGS = (".nii.gz", ".nii", *IMAGE_SUFFIXES)
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DEFLATE = (8, 32946)
_TIFF_COMPRESSIONS = (1, 5, *_DEFLATE)  # none, LZW, Deflate: of these it is known how much they decode to


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
    """Of images one a slice; of NIfTI one a channel."""

    is_nifti: bool = False
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
    kinds = {bool(SUFFIX.search(path.name)) for path in paths}
    if len(kinds) > 1:
        raise Refusal(400, "images and NIfTI files came; send either the ones or the others")
    if kinds != {settings.data_format == "nifti"}:
        came, wanted = ("NIfTI", "image") if kinds == {True} else ("image", "NIfTI")
        raise Refusal(422, f"{came} files came, but the model was trained on {wanted} files: send such")
    case = _read_nifti(stored, settings) if kinds == {True} else _read_images(paths, settings)
    if case.images.shape[3] != settings.num_channels:
        names = ", ".join(settings.channel_names)
        raise Refusal(
            422,
            f"{case.files[0].name} has {case.images.shape[3]} channel(s), but the model takes {settings.num_channels} "
            f"({names}): send images like those of its training",
        )
    return case


def num_values(path: Path) -> int:
    """Return how many values (pixels times channels) a file's header promises; 0 where reading refuses the header.

    Raises:
        Refusal: The header is damaged, a side is below 1, or the file decodes to more than it promises.
    """
    try:
        with path.open("rb") as file:
            head = file.read(32)
        if head.startswith(b"\x89PNG") and len(head) > 25:
            width, height = struct.unpack_from(">II", head, 16)
            return _product(path, width, height, _PNG_CHANNELS.get(head[25], 4))
        if head.startswith(b"\xff\xd8\xff"):
            return _num_jpeg_values(path)
        if head.startswith((b"II", b"MM")):
            return _num_tiff_values(path)
        return _num_nifti_values(path) if SUFFIX.search(path.name) else 0
    except Refusal:
        raise
    except Exception as error:  # tifffile, gzip and nibabel raise a wide family of errors for damaged files
        kind = type(error).__name__
        raise Refusal(400, f"{path.name} cannot be read ({kind}: {error}); copy it again or save it anew") from error


def _safe_name(upload: Upload) -> str:
    name = re.split(r"[/\\]", upload.name)[-1]
    ending = next((one for one in _ENDINGS if name.lower().endswith(one)), None)
    if ending is None:
        ending = _SUFFIX_OF_TYPE.get(upload.content_type.partition(";")[0].strip().lower())
        if ending is None or "." in name:
            endings = ", ".join(_ENDINGS)
            if name:
                raise Refusal(415, f"the file {name[-40:]!a} came, but names must end in one of {endings}")
            raise Refusal(415, f"a file without name came; say what it is by ?filename=scan.png ({endings})")
        name += ending
    # What is shown, written to the log or put into a header must hold no control characters.
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", name[: -len(ending)]).lstrip(".")[-80:] or "scan"
    return stem + name[-len(ending) :]


def _read_images(paths: tuple[Path, ...], settings: Settings) -> Case:
    # One image is a volume of one slice; of several, the names say the order, as in a folder that is predicted.
    (volume,) = find_volumes(paths[0] if len(paths) == 1 else paths[0].parent, settings)
    if left_out := sorted({path.name for path in paths} - {path.name for path in volume.files}):
        raise Refusal(400, f"{left_out[0]} is called like a mask or an overlay, but images are wanted; leave it out")
    images, _ = read_volume(volume, settings)
    return Case(images=images, channel_names=settings.channel_names, files=volume.files)


def _read_nifti(stored: dict[str, Path], settings: Settings) -> Case:
    paths = _by_channel(stored, settings.channel_names)
    images, spacing_mm = read_channels(tuple(paths.values()))
    return Case(
        images=images,
        channel_names=settings.channel_names,
        files=tuple(paths.values()),
        is_nifti=True,
        spacing_mm=spacing_mm,
        channels={name: path.name for name, path in paths.items()},
    )


def _by_channel(stored: dict[str, Path], names: tuple[str, ...]) -> dict[str, Path]:
    """Return the file of each channel. The order of files says nothing: browsers sort them, and a swap goes unseen."""
    wanted = f"{len(names)} NIfTI file(s), one for each of {', '.join(names)}"
    if len(stored) != len(names):
        raise Refusal(422, f"{len(stored)} NIfTI file(s) came, but the model takes {wanted}")
    if len(names) == 1:
        return dict(zip(names, stored.values(), strict=True))
    if stored.keys() == {name.lower() for name in names}:
        return {name: stored[name.lower()] for name in names}
    found = {name: [path for path in stored.values() if _is_called(SUFFIX.sub("", path.name), name)] for name in names}
    if any(len(paths) != 1 for paths in found.values()):
        raise Refusal(
            422,
            f"it cannot be told which file is which: call the fields, or the files, as the model's "
            f"channels are ({', '.join(names)}), such as CASE_{names[0]}.nii.gz",
        )
    return {name: path for name, (path,) in found.items()}


def _is_called(stem: str, name: str) -> bool:
    return re.fullmatch(rf"(.*[_-])?{re.escape(name)}", stem, re.IGNORECASE) is not None


def _num_jpeg_values(path: Path) -> int:
    """Return what the first frame says: decoders take that one."""
    content, at = path.read_bytes(), 2
    while at + 10 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # a byte that fills
            at += 1
            continue
        if marker in _JPEG_FRAMES:
            height, width, channels = struct.unpack_from(">HHB", content, at + 5)
            return _product(path, height, width, channels)
        at += 2 + int.from_bytes(content[at + 2 : at + 4])
    raise Refusal(400, f"{path.name} does not say its size where a JPEG does; copy it again or save it anew")


def _num_tiff_values(path: Path) -> int:
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        num_values = _product(path, page.imagelength, page.imagewidth, page.samplesperpixel)
        if min(page.tilelength, page.tilewidth, page.rowsperstrip) < 0:
            raise Refusal(400, f"{path.name} has tiles or strips of no size; save it anew")
        # What is decoded at once; "all rows in one strip" may be written as 2**32 - 1 rows.
        chunk = page.tilelength * page.tilewidth or min(page.rowsperstrip, page.imagelength) * page.imagewidth
        chunk *= page.samplesperpixel
        if page.compression not in _TIFF_COMPRESSIONS:
            name = getattr(page.compression, "name", page.compression)
            raise Refusal(400, f"{path.name} is compressed by {name}; save it uncompressed, or by LZW or Deflate")
        if len(page.dataoffsets) > math.prod(page.chunked):
            raise Refusal(400, f"{path.name} holds more strips than its size needs; save it anew")
        if page.compression in _DEFLATE:
            most = chunk * max(1, page.dtype.itemsize)
            with path.open("rb") as file:
                for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
                    file.seek(offset)
                    if len(zlib.decompressobj().decompress(file.read(count), most + 1)) > most:
                        raise Refusal(400, f"{path.name} decodes to more than its header promises; save it anew")
        return max(num_values, chunk)


def _num_nifti_values(path: Path) -> int:
    nibabel = import_nibabel()
    with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as file:
        head = file.read(540)
    if head[344:348] == b"n+1\0":
        return _product(path, *nibabel.Nifti1Header(head[:348], check=False).get_data_shape())
    return _product(path, *nibabel.Nifti2Header(head, check=False).get_data_shape()) if head[4:8] == b"n+2\0" else 0


def _product(path: Path, *sides: int) -> int:
    """Return how many values an image of these sides has. TIFF and NIfTI may say negative ones."""
    if min(sides, default=1) < 1:
        shown = " x ".join(map(str, sides))
        raise Refusal(400, f"{path.name} says that it is {shown}, but each side must be at least 1; save it anew")
    return math.prod(sides)
