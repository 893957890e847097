"""What the names of an image, a mask and their folders say: which is which, the patient and the number of the slice.

Public data sets spell the same few words in many ways. A word counts only where it stands alone, between separators or
at the end of a name, so that a patient called Maskell stays one.
"""

import re
from pathlib import PurePosixPath
from typing import NamedTuple
from unicodedata import normalize

from data.readers.image_files.picture import SUFFIXES

_SEPARATOR = r"[_\-. ]"
_MASK = (
    r"(?:(?:tumou?r|lesion|binary|manual|expert)[_\-]?)?"
    r"(?:masks?|segs?|segm|segmentations?|labels?|labelmaps?|gts?|ground[_\-]?truths?|annotations?|annots?|annotated|"
    r"truths?)"
)
_IMAGE = r"(?:images?|imgs?|slices?|scans?|frames?|pictures?|inputs?|originals?|orig|raw)"
_OUTPUT = r"(?:overlays?|preds?|predictions?|predicted|probs?|probability|heatmaps?|outputs?|preview|contours?)"

_MASK_ENDING = re.compile(rf"(?P<base>.*){_SEPARATOR}{_MASK}|{_MASK}", re.IGNORECASE)
_OUTPUT_ENDING = re.compile(rf".*{_SEPARATOR}{_OUTPUT}", re.IGNORECASE)
_KIND_FIRST = re.compile(rf"(?:{_MASK}|{_IMAGE})(?:{_SEPARATOR}|(?=\d)|$)", re.IGNORECASE)
_MASK_FIRST = re.compile(rf"{_MASK}(?:{_SEPARATOR}|(?=\d))", re.IGNORECASE)
_KIND_LAST = re.compile(rf"(?:{_SEPARATOR}|^)(?:{_MASK}|{_IMAGE})$", re.IGNORECASE)

_SIDE = r"train(?:ing)?|test(?:ing)?|val|valid|validation|tr|ts"
_FOLDER = re.compile(
    rf"(?:(?P<before>[a-z0-9_\- ]*?)[_\- ]|(?P<side>{_SIDE}))??(?:(?P<mask>{_MASK})|(?P<image>{_IMAGE}))"
    rf"(?:[_\- ]?(?P<after>{_SIDE}))?",
    re.IGNORECASE,
)
_NOBODY = re.compile(
    rf"(?:{_SIDE}|all|data|dataset|part|fold|set|batch)[_\- ]?\d*|yes|no|positive|negative|healthy|(?:ab)?normal|"
    r"(?:no|with|without)?[_\- ]?tumou?rs?|benign|malignant|gliomas?|meningiomas?|pituitary|[hl]gg",
    re.IGNORECASE,
)

# At most 9 digits: a longer number is a date or an id rather than the number of a slice.
_NUMBER = re.compile(r"(?<![0-9])[0-9]{1,9}(?![0-9])")
_WEIGHTING = re.compile(r"(?<![A-Za-z0-9])t[12](?:w|n|c|f|ce|gd)?(?![A-Za-z0-9])", re.IGNORECASE)  # not number 2
_PLAIN = re.compile(rf"(?P<prefix>.+){_SEPARATOR}(?P<number>[0-9]{{1,9}})")
_COUNTED = re.compile(
    rf"(?P<prefix>.+?){_SEPARATOR}+(?:(?:slice|sl|s|z|frame|image|img|im){_SEPARATOR}?)?[0-9]{{1,9}}", re.IGNORECASE
)


class FolderKind(NamedTuple):
    """What a folder's name says about the files in it."""

    is_mask: bool
    rest: str
    """The name without the word, in lower case: `train` of `train_masks`, by which it finds its counterpart."""


def suffix_of(name: str) -> str:
    """Return the suffix of an image file in lower case; empty if the name is not one of an image."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix in SUFFIXES else ""


def stem_of(name: str) -> str:
    """Return the name of an image file without its suffix, as Unicode's NFC: macOS writes ä as two characters."""
    return normalize("NFC", name[: len(name) - len(PurePosixPath(name).suffix)])


def mask_base(stem: str) -> str | None:
    """Return the name of the image whose mask a name is, such as A_1 of A_1_mask; None if it does not end so."""
    match = _MASK_ENDING.fullmatch(stem)
    return None if match is None else match["base"] or ""


def begins_as_mask(stem: str) -> bool:
    """Return whether a name begins with a word for masks, such as mask_1."""
    return _MASK_FIRST.match(stem) is not None


def is_output(stem: str) -> bool:
    """Return whether a name is that of a prediction or an overlay, which lies beside the slices it was made from."""
    return _OUTPUT_ENDING.fullmatch(stem) is not None


def core(stem: str) -> str:
    """Return what an image and its mask have in common: the name without words for either, its last number plain."""
    for word in (_KIND_LAST, _KIND_FIRST):
        stem = word.sub("", stem, count=1)
    return re.sub(r"(?<![0-9])0+(?=[0-9]{1,9}$)", "", stem).lower()


def number_of(stem: str) -> int | None:
    """Return the last number of at most 9 digits in a name; None if there is none."""
    found = _NUMBER.findall(_WEIGHTING.sub("", stem))
    return int(found[-1]) if found else None


def split_number(stem: str) -> tuple[str, int] | None:
    """Return the parts of <PREFIX>_<NUMBER>; None if the name has another form."""
    match = _PLAIN.fullmatch(stem)
    return None if match is None else (match["prefix"], int(match["number"]))


def patient_of(stem: str) -> str:
    """Return the patient that the name of a slice says, before its number; empty if it says none.

    A patient's name has a digit. Words alone, such as `slice` or `benign`, are shared by patients.
    """
    match = _COUNTED.fullmatch(stem)
    return match["prefix"] if match and re.search("[0-9]", match["prefix"]) else ""


def folder_kind(name: str) -> FolderKind | None:
    """Return what a folder holds by its name; None if the name does not say."""
    match = _FOLDER.fullmatch(name)
    if match is None:
        return None
    rest = "_".join(part for part in (match["before"], match["side"], match["after"]) if part)
    return FolderKind(bool(match["mask"]), rest.lower())


def is_nobody(folder: str) -> bool:
    """Return whether a folder's name is that of a side of a split or of a class, not that of a patient."""
    return _NOBODY.fullmatch(folder) is not None
