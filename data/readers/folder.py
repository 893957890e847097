"""Reader of a folder `images` beside a folder `masks`, the layout of most 2D segmentation data.

Names differ between data sets, and a wrong guess would go unnoticed. So images and masks are matched by name, patients
are identified by folders or by a pattern, and every file without a match is a problem.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from data.errors import DataError, Problem
from data.patient import Scan, SliceFiles, SlicePatient
from data.readers.images import IMAGES, ReadPair
from data.readers.reader import LayoutOptions, Reader
from data.readers.walk import require_folder, walk

LAYOUT = (
    "expected <source>/images/<NAME>.png (or .tif, .jpg) beside <source>/masks/<NAME>.png (or <NAME>_mask.png), with "
    "the same folders below both"
)
PATTERN_EXAMPLE = r"--patient-pattern '([^/]+)_[0-9]+\.' takes TCGA_CS_4941 from images/TCGA_CS_4941_12.tif"

MAX_DEPTH = 3  # folders above an images folder that `looks_like` searches
_IMAGES, _MASKS = ("images", "image", "imgs"), ("masks", "mask")
_MASK_ENDING = re.compile(r"[_-](mask|seg)$", re.IGNORECASE)

# At most 9 digits: a longer number is a date or an id rather than the number of a slice.
_NUMBER = re.compile(r"(?<![0-9])[0-9]{1,9}(?![0-9])")


@dataclass
class _Found:
    """Results of the walk through the folders."""

    pairs: dict[str, list[tuple[Path, Path, str]]] = field(default_factory=lambda: defaultdict(list))
    """Each image with its mask and group, by the id of the patient."""

    problems: list[Problem] = field(default_factory=list)
    num_unknown: Counter[str] = field(default_factory=Counter)
    """Number of files that are not images, by suffix."""

    num_alone: int = 0
    """Number of images directly in an images folder, each of which counts as a patient."""

    def bad(self, path: Path, reason: str) -> None:
        self.problems.append(Problem(path=path, reason=reason))


def scan(
    source: Path,
    *,
    patient_pattern: str | None,
    labels: tuple[int, ...],
    channels: tuple[int, ...] = (),
    grayscale: bool = False,
) -> Scan[SlicePatient]:
    """Return the patients below source, sorted by id, with their slices ordered by number.

    A folder `images`, `image` or `imgs` lies beside `masks` or `mask`, anywhere below source, in upper or lower case.
    An image and its mask have the same path below these folders, apart from the suffix; the name of the mask may end in
    _mask or _seg, also with a hyphen. Hidden files are left out, links are followed, and nothing is decoded.

    A patient's group is the folder above `images`, relative to source. Slices are numbered by the last digits of their
    names (at most 9) or, if no slice of the patient has any, from 1 in natural order.

    Args:
        patient_pattern: Regular expression that finds the patient's id in the image's path relative to source: its
            group "patient", else its first group, else the whole match. None: the id is the image's folder below
            `images`; an image directly in `images` is a patient of its own, named by the folder above and the file. A
            slash in an id becomes "_".

    Raises:
        DataError: source does not exist or holds no such folders, or an argument is illegal.
    """
    require_folder(source, LAYOUT)
    if min(channels, default=0) < 0:
        raise DataError(f"channels are {channels}, but must be 0 or above: indices of an image's channels.")
    pattern = None if patient_pattern is None else _compile(patient_pattern)
    found, source = _Found(), source.absolute()
    for images, masks in _folder_pairs(source, found):
        for image, mask in _match(images, masks, found):
            _assign(image, mask, images, source, pattern, found)
    patients = _patients(found, ReadPair(labels=labels, channels=channels, grayscale=grayscale))
    if not patients and not found.problems:
        raise DataError(f"data source {source} holds no patient: no images lie in an images folder; {LAYOUT}.")
    return Scan(patients=patients, problems=tuple(found.problems), warnings=tuple(_warnings(found)))


def _patients(found: _Found, read_slice: ReadPair) -> tuple[SlicePatient, ...]:
    """Return the patients that have slices, sorted by id."""
    return tuple(
        SlicePatient(id=name, group=min(group for _, _, group in pairs), slices=slices, read_slice=read_slice)
        for name, pairs in sorted(found.pairs.items())
        if (slices := _number(pairs, found))
    )


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise DataError(f'patient_pattern "{pattern}" is illegal ({error}); {PATTERN_EXAMPLE}.') from error


def looks_like(source: Path) -> bool:
    """Return whether an images folder lies beside a masks folder at most MAX_DEPTH folders below source."""
    return any(_folder_pairs(source, _Found(), max_depth=MAX_DEPTH))


def _folder_pairs(source: Path, found: _Found, *, max_depth: int | None = None) -> Iterator[tuple[Path, Path]]:
    for folder, subfolders, _ in walk(source, found.problems):
        images, masks = ([name for name in subfolders if name.lower() in names] for names in (_IMAGES, _MASKS))
        at_end = len(folder.relative_to(source).parts) == max_depth
        subfolders[:] = [name for name in subfolders if name not in (*images, *masks) and not at_end]
        if len(images) == len(masks) == 1:
            yield folder / images[0], folder / masks[0]
        elif images and masks:
            found.bad(
                folder,
                f"holds {', '.join(images + masks)}, but one images and one masks folder is legal; remove one",
            )
        else:
            for name in images + masks:
                found.bad(folder / name, f"no {'masks' if images else 'images'} folder is beside it; add or rename it")


def _match(images: Path, masks: Path, found: _Found) -> Iterator[tuple[Path, Path]]:
    """Yield each image that has exactly one mask, with the mask, ordered by path; add the others to the problems."""
    by_stem, masks_of_stem = _by_stem(images, found), defaultdict(list)
    for stem, paths in _by_stem(masks, found).items():
        masks_of_stem[stem if stem in by_stem else _MASK_ENDING.sub("", stem)] += paths
    for stem, paths in sorted(by_stem.items()):
        own = masks_of_stem.pop(stem, [])
        if len(paths) > 1:
            reason = f"has the same name as {paths[1].name}, so it is unclear which of them the mask is for; remove one"
            found.bad(paths[0], reason)
        elif len(own) > 1:
            found.bad(paths[0], f"has {len(own)} masks ({', '.join(map(str, own))}), but must have one; remove others")
        elif not own:
            found.bad(
                paths[0],
                f"has no mask ({masks / stem}{paths[0].suffix}, also with _mask); add it, or move the image away",
            )
        else:
            yield paths[0], own[0]
    for path in sorted(path for paths in masks_of_stem.values() for path in paths):
        found.bad(path, f"has no image in {images}; add it, or move the mask away")


def _by_stem(top: Path, found: _Found) -> dict[str, list[Path]]:
    paths = defaultdict(list)
    for folder, _, names in walk(top, found.problems):
        for name in names:
            path = folder / name
            if path.suffix.lower() in IMAGES.suffixes:
                paths[path.relative_to(top).with_suffix("").as_posix()].append(path)
            else:
                found.num_unknown[path.suffix.lower() or "without suffix"] += 1
    return paths


def _assign(image: Path, mask: Path, images: Path, source: Path, pattern: re.Pattern | None, found: _Found) -> None:
    group = images.parent.relative_to(source).as_posix().removeprefix(".")
    path, folder = image.relative_to(source).as_posix(), image.parent.relative_to(images).as_posix()
    if pattern is not None:
        match = pattern.search(path)
        patient_id = match["patient" if "patient" in pattern.groupindex else min(pattern.groups, 1)] if match else ""
    elif folder == ".":
        found.num_alone += 1
        patient_id = f"{group}/{image.stem}".removeprefix("/")
    else:
        patient_id = folder
    if pattern is None or patient_id:
        found.pairs[patient_id.replace("/", "_")].append((image, mask, group))
    else:
        found.bad(image, f'patient_pattern "{pattern.pattern}" finds no patient in {path}; change the pattern')


def _number(pairs: list[tuple[Path, Path, str]], found: _Found) -> tuple[SliceFiles, ...]:
    numbers = [_NUMBER.findall(image.stem) for image, _, _ in pairs]
    if not any(numbers):
        # With padding, even runs of digits that are too long for a number sort as numbers.
        pairs = sorted(pairs, key=lambda pair: re.sub("[0-9]+", lambda run: run[0].zfill(255), pair[0].as_posix()))
        numbers = [[str(i)] for i in range(1, len(pairs) + 1)]
    slices: dict[int, SliceFiles] = {}
    for (image, mask, _), digits in zip(pairs, numbers, strict=True):
        if not digits:
            found.bad(image, "has no slice number in its name, but others of its patient have; rename it")
        elif (number := int(digits[-1])) in slices:
            found.bad(
                image,
                f"slice number {number} is already that of {slices[number].image}; rename one, see --patient-pattern",
            )
        else:
            slices[number] = SliceFiles(number=number, image=image, mask=mask)
    return tuple(slices[number] for number in sorted(slices))


def _warnings(found: _Found) -> Iterator[str]:
    if found.num_alone:
        yield (
            f"{found.num_alone} image(s) lie directly in an images folder, so each counts as a patient: slices of one "
            "patient may then be on both sides of the split, which inflates the scores. If the file names contain the "
            f"patient, say how: {PATTERN_EXAMPLE}."
        )
    for patient_id, pairs in sorted(found.pairs.items()):
        if len(groups := sorted({group or "." for _, _, group in pairs})) > 1:
            what = f"patient {patient_id} has images below {', '.join(groups)}"
            yield f"{what}; if these are several patients, include the folder in --patient-pattern."
    if found.num_unknown:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in found.num_unknown.most_common(4))
        total = found.num_unknown.total()
        yield f"{total} file(s) in images and masks folders are not images and are left out ({kinds})."


def _scan(source: Path, options: LayoutOptions) -> Scan[SlicePatient]:
    found = scan(
        source,
        patient_pattern=options.patient_pattern,
        labels=options.labels,
        channels=READER.channel_indices(options.channels),
        grayscale=options.grayscale,
    )
    return replace(found, channel_names=options.channels)


READER = Reader(
    scan=_scan,
    recognise=looks_like,
    files=IMAGES,
    options=("channels", "grayscale", "labels", "patient_pattern"),
    description="images and masks as PNG, JPEG or TIFF",
)
