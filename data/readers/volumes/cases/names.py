"""What the name of a volume says: the case that it belongs to, and its role there, a modality or a segmentation.

A name is <CASE><separator><ROLE>, and public data sets spell the roles in many ways. In names of BIDS, entities other
than the subject and the session belong to the role.
"""

import re
from dataclasses import dataclass

FAMILIES = {
    "t1c": r"t1c|t1ce|t1gd|t1gad|t1km|t1wce|t1c\+|ct1|t1[_-](ce|gd|c|gad|post|contrast)|t1(post|contrast)|"
    r"(ce|post|gd)[_-]?t1w?|ce-[a-z0-9]+_t1w",
    "t1": r"t1|t1n|t1w|t1[_-]?(pre|native)|pre[_-]?t1w?|mprage",
    "t2": r"t2|t2w",
    "flair": r"flair|fla|t2f|t2w?[_-]?flair|flairw",
}
"""Regular expressions of the spellings of a modality, by its plainest name. Spellings of one family mean the same."""

_OTHERS = r"adc|dwi|dti|swi|swan|asl|pdw?|pwi|perfusion|bold|t2star|t2s|md|fa|ad|rd|hardi|cbv|cbf|mtt|ct|pet"
_PLAIN = "|".join((*FAMILIES.values(), _OTHERS))
_MODALITY = rf"(?:{_PLAIN})-(?:{_PLAIN})|{_PLAIN}"  # the difference of two, such as t1ce-t1, is one of its own
_TRUTH = r"gtv|seg|segm|segmentations?|labels?|labelmap|masks?|gt|ground[_-]?truth|roi|rois|annotations?|dseg|ot|truth"
_ABOUT_TRUTH = (
    r"(?:rater|annotator|reader|observer|expert)[_-]?\d*|tumou?r|lesion|glioma|whole|core|enhancing|o?edema|necrosis|necrotic|non|cavity|wt|tc|et|ncr|net|ed|manual|manually|manual\w*corrected|corrected|expert|final|"
    r"brats|automated|automatic|auto|approx|approximate|predicted|pred|glistrboost|consensus|brain|skull|bet|head|tissue|"
    r"voi|all|merged|multiclass|label-[a-z0-9]+|desc-[a-z0-9]+|space-[a-z0-9]+|res-[a-z0-9]+"
)
_SEGMENTATION = (
    rf"(({_ABOUT_TRUTH})[_-]?)*({_TRUTH})([_-]({_ABOUT_TRUTH}|\d))*|glistrboost([_-]manually\w*)?|tumou?r|lesion"
)
_ENTITIES = r"(?:(?:acq|ce|rec|run|desc|space|res|label|mod|part|echo)-[a-z0-9]+_)*"
_DONE = r"(?:(?:brain|bet|stripped|reg|registered|coreg|n4|norm|normalized|resampled)[_-])*"  # to an image, before

_ROLE = re.compile(
    rf"(?:(?P<case>.*?)(?:[_\-. ]))?(?P<role>{_ENTITIES}(?:{_DONE}(?:{_MODALITY})|(?P<truth>{_SEGMENTATION})))",
    re.IGNORECASE,
)
_BRATS_2015 = re.compile(r"VSD\..*\.(?:MR_)?(?P<role>[a-z0-9]+)\.\d+", re.IGNORECASE)
SEGMENTATION_FOLDERS = re.compile(
    r"(labels?|masks?|seg|segs|segm|segmentations?|annotations?|gt|ground[_-]?truth|labels?(tr|ts|val)|"
    r"(images?|automated|manual|automatic)[_-]segm?(entations?)?)",
    re.IGNORECASE,
)
"""Names of folders whose volumes are segmentations, whatever these are called."""

_FAMILY = {
    name: re.compile(rf"{_ENTITIES}{_DONE}(?:{spellings})", re.IGNORECASE) for name, spellings in FAMILIES.items()
}
_MAY_BE_TRUTH = re.compile(rf"(?:.*[_-])?(?:{_TRUTH}|{_ABOUT_TRUTH}|prob[a-z]*|uncertainty)(?:[_-].*)?", re.IGNORECASE)
_CONTRAST_OF_BIDS = re.compile(r"(.*_)?(ce-[a-z0-9]+|acq-(gd|post|ce)[a-z0-9]*)_(.*_)?t1w?", re.IGNORECASE)
_KNOWN = re.compile(rf"{_ENTITIES}{_DONE}(?:{_PLAIN})", re.IGNORECASE)


@dataclass(frozen=True)
class Name:
    """A name in its parts."""

    case: str
    """Empty if the whole name is a role."""

    role: str
    """In lower case; empty if the name ends in no word that is known."""

    is_segmentation: bool = False


def parse(stem: str) -> Name:
    """Return the parts of a volume's name without its suffix."""
    if vsd := _BRATS_2015.fullmatch(stem):
        stem = vsd["role"]
    match = _ROLE.fullmatch(stem)
    if match is None:
        return Name(case=stem, role="")
    return Name(case=match["case"] or "", role=match["role"].lower(), is_segmentation=bool(match["truth"]))


def family_of(role: str) -> str:
    """Return the plainest name of a modality: of `t1gd` and `t1ce` it is `t1c`; other roles are their own family."""
    if _CONTRAST_OF_BIDS.fullmatch(role):
        return "t1c"
    return next((name for name, spellings in _FAMILY.items() if spellings.fullmatch(role)), role.lower())


def is_common_modality(role: str) -> bool:
    """Return whether a role is one of the four modalities that most sets have."""
    return family_of(role) in FAMILIES


def is_same_modality(one: str, other: str) -> bool:
    """Return whether two words are spellings of one modality."""
    return family_of(one) == family_of(other)


def may_be_truth(role: str) -> bool:
    """Return whether a role that is no segmentation may show one, such as `seg_prob` or `et`, so that a network which
    sees it would see the answer."""
    return _MAY_BE_TRUTH.fullmatch(role) is not None


def is_known_modality(role: str) -> bool:
    """Return whether a role is a modality of MRI that public data sets have, rather than a word of somebody's own."""
    return _KNOWN.fullmatch(role) is not None
