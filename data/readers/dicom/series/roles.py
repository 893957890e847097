"""What a series is, by the description that a technician or a scanner gave it: flair, t1c, t1, t2, or something else.

Descriptions are free text in many habits: "AX T1 POST GD", "t2_tse_tra", "Ax FLAIR FS", "t1_mprage_sag_p2_iso_KM".
"""

import re
from collections.abc import Sequence

_GLUED = r"(ax|axial|sag|cor|tra|e|s|3d)?"  # AXT1, and Philips' eT1W and sT1W
_T1_BY_NAME = re.compile(rf"{_GLUED}t1[a-z+]*")
_T1 = re.compile(r"mp-?rage|mpr|f?spgr|bravo")
_T2 = re.compile(rf"{_GLUED}t2(wi?|tse|fse|frfse|fs|space)?")
_FLAIR = re.compile(r"flair[a-z0-9]*|[a-z0-9]*flair|t2f|tirm|darkfluid")
_WITH = re.compile(
    rf"post[a-z]*|gd[a-z0-9]*|gad[a-z]*|contrast[a-z]*|kontrast[a-z]*|m?km|p?ce|\+?c\+?|\+|inj[a-z]*|dotarem|magnevist|"
    rf"{_GLUED}t1(wi?)?(c|ce|gd|gad|km|post|\+)|(ce|gd)t1w?|[a-z0-9]*\+c"
)
_WITHOUT = re.compile(r"pre[a-z]*|non?|nc|wo|without|ohne|vor|nativ[a-z]*|sans|sin|un[a-z]*|t1(n|pre|nativ|wo)")
# Maps and images that are computed from others, or weighted otherwise, although a name has T1 or T2 in it.
_OTHER = re.compile(
    r"t2star|t2s|e?adc|dwi|diff[a-z]*|dti|trace[a-z]*|dsc|dce|perf[a-z]*|pwi|asl|swi|swan|mip|minip|hemo|gre|sub[a-z]*|"
    r"map|maps|mapit|loc[a-z]*|scout|survey|surv|phase|pha|screen[a-z]*|fiesta|ciss|bold|fmri|mra|tof|mrv|pc|b\d{1,4}|"
    r"r?cb[vf]|mtt|ttp|ktrans|spectro[a-z]*|svs|csi|calib[a-z]*|asset|fieldmap|medic|haste"
)


def role_of(description: str, *, has_contrast: bool = False) -> str:
    """Return the role of a series: flair, t1c, t1 or t2, and else its slug.

    Args:
        has_contrast: Whether the header names a contrast agent. It counts for a T1 whose description says neither.
    """
    words = _words(description)
    if not words or _says(words, _OTHER):
        return slug_of(description)
    is_flair, is_t2 = _says(words, _FLAIR), _says(words, _T2)
    if _says(words, _T1_BY_NAME) or (_says(words, _T1) and not is_t2 and not is_flair):  # "T1 FLAIR" is a T1
        if _says(words, _WITHOUT):
            return "t1"
        return "t1c" if has_contrast or _says(words, _WITH) else "t1"
    return "flair" if is_flair else "t2" if is_t2 else slug_of(description)


def slug_of(description: str) -> str:
    """Return a description as one word, by which `--modality` can name it: `ax-dwi-b1000` for "AX DWI b1000"."""
    return re.sub(r"[^a-z0-9+]+", "-", description.lower()).strip("-") or "nameless"


def _words(description: str) -> list[str]:
    """Return the words of a description in lower case, after spellings of one word that would fall apart."""
    text = re.sub(r"t2\s*[-_]?\s*(\*|star)", "t2star ", description.lower())
    text = re.sub(r"\bw/?\s*o\b|\bw/o|\bc-(?=\s|$)", "without ", text)
    text = re.sub(r"dark[\s_-]*fluid", "darkfluid", re.sub(r"mp[\s_-]*rage", "mprage", text))
    return re.findall(r"[a-z0-9+]+", re.sub(r"\+(?!c\b)", "+ ", text))


def _says(words: Sequence[str], pattern: re.Pattern[str]) -> bool:
    return any(pattern.fullmatch(word) for word in words)
