"""Which segments or ROIs of a segmentation are the tumour, by the names that people gave them."""

import re
import unicodedata
from collections.abc import Mapping
from fnmatch import fnmatchcase

# GTV is the gross tumour volume of radiotherapy; CTV and PTV are larger than the tumour. In BraTS, NCR, NET, ED, ET, TC
# and WT are parts of it.
_TUMOUR = re.compile(
    r"tumou?r\w*|\w*gtv\w*|lesions?|gliom\w*|gbm|glioblastom\w*|astrocytom\w*|meningiom\w*|metast\w*|mets?|neoplas\w*|mass|"
    r"cancer|(non)?enhanc\w*|(oe|œ|o|e)dem\w*|ne[ck]ro\w*|core|ncr|net|ed|et|tc|wt|infiltrat\w*|hyperintens\w*|l(ae|a)sion\w*"
)
_NOT_TUMOUR = re.compile(
    r"brain\w*|skull\w*|eyes?|lens\w*|optic\w*|chiasm\w*|cochlea\w*|pituitar\w*|hippocamp\w*|ventric\w*|cavity|"
    r"resection|head|body|external|skin|bones?|mandible\w*|parotid\w*|lacrimal\w*|spinal\w*|cord|medulla\w*|pons|"
    r"cerebell\w*|cerebr\w*|thalam\w*|white|gr[ae]y|csf|vessels?|arter\w*|vein\w*|normal|healthy|background|ptv\w*|ctv\w*|"
    r"itv\w*|ring|couch|isodose|dose\w*|avoid\w*|prv\w*|scalp|nerve|oar\w*|organ|tissue"
)
_GENERIC = re.compile(r"(segment(ation)?|seg|roi|mask|label|region|structure|untitled|unnamed|unknown|new|\d+)*")


def tumour_numbers(labels: Mapping[int, str], pattern: str | None = None) -> tuple[int, ...]:
    """Return the numbers of the labels that are the tumour; none if the names do not say.

    A single label whose name says nothing, such as "Segment 1", is the tumour: a segmentation has one for a reason.

    Args:
        pattern: A pattern as of a shell that names the labels instead; its case does not matter.
    """
    if pattern is not None:
        return tuple(number for number, name in labels.items() if fnmatchcase(name.lower(), pattern.lower()))
    found = tuple(number for number, name in labels.items() if is_tumour_name(name))
    if not found and len(labels) == 1 and _GENERIC.fullmatch("".join(_words(*labels.values()))):
        return tuple(labels)
    return found


def is_tumour_name(name: str) -> bool:
    """Return whether a name is one of a tumour or a part of it, and not of what is near it: "brain minus GTV"."""
    words = _words(name)
    return any(map(_TUMOUR.fullmatch, words)) and not any(map(_NOT_TUMOUR.fullmatch, words))


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # TumorCore
    apart = re.sub(r"brain\W+(?=tumou?r|met|lesion|mass|neoplasm|cancer)", "", apart.lower().replace("_", " "))
    plain = "".join(c for c in unicodedata.normalize("NFKD", apart) if not unicodedata.combining(c))  # Ödem is odem
    return re.findall(r"[^\W\d_]+|\d+", plain)
