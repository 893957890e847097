"""The person whom a patient's id names.

A patient is one volume, and a person may have several: visits, whose heads are alike. All of them must be on one side
of the split, or the test patients would be known from training.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from data.errors import DataError
from data.printable import some

_VISIT = (
    "ses|session|visit|timepoint|time|tp|week|wk|day|month|mo|year|fu|followup|follow-up|scan|study|exam|"
    r"baseline|v(?=\d)|pre|post|(?:pre|post)[_-]?op[a-z]*"
)

NAMINGS = (
    re.compile(r"(?P<person>BraTS-[A-Z]+(-[A-Z]+)?-\d{3,6})-\d{1,3}", re.IGNORECASE),  # BraTS 2023 and 2024
    re.compile(r"(?P<person>UPENN-GBM-\d{5})_\d{2}", re.IGNORECASE),  # UPENN-GBM: _11 before surgery, _21 follow-up
    re.compile(r"(?P<person>UCSD-PTGBM-\d{4})_\d{2}", re.IGNORECASE),
    re.compile(r"(?P<person>RHUH-\d{4})[_-]\d", re.IGNORECASE),  # RHUH-GBM: _0 before surgery, _1 and _2 after
    re.compile(r"(?P<person>TCGA[_-][A-Z0-9]{2}[_-][A-Z0-9]{4})[_-].+", re.IGNORECASE),  # TCGA's barcode of a person
    re.compile(r"(?P<person>sub-[A-Z0-9]+)_ses-[A-Z0-9]+", re.IGNORECASE),  # BIDS
    # Whatever says in a word that it is a visit: UCSF-PDGM-0429_FU003d, 100001_time1, Patient-001/week-044.
    re.compile(rf"(?P<person>.*\d.*?)[_\-/.]({_VISIT})[_-]?\d*[a-z]?([_-]\d+)?", re.IGNORECASE),
    re.compile(r"(?P<person>.*\d.*?)[_\-/.](19|20)\d\d[_-]?[01]\d[_-]?[0-3]\d"),  # a date
)
"""Names of visits in public data sets; the whole id must match. The person's own part has a digit, so that a word
which all ids share, such as patient_visit_01, does not make all of them one person."""


_NUMBERED = re.compile(r"(.*\d[a-z]?)[_\-/. ]([^\W\d_]{0,16}[_\- ]?\d{1,3}|[a-z])", re.IGNORECASE)
_IS_VISIT = re.compile(rf"({_VISIT})[_-]?\d*[a-z]?([_-]\d+)?|(19|20)\d\d[_-]?[01]\d[_-]?[0-3]\d", re.IGNORECASE)


def person_of(patient_id: str) -> str:
    """Return the person whom an id names by a known naming; the id itself if it matches none."""
    return next((match["person"] for naming in NAMINGS if (match := naming.fullmatch(patient_id))), patient_id)


def is_visit(name: str) -> bool:
    """Return whether a name is that of a visit alone, such as `week-044` or `2019-04-30`, and of no person."""
    return _IS_VISIT.fullmatch(name) is not None


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of `--patient-pattern`.

    Raises:
        DataError: It is not a regular expression.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise DataError(
            f'patient_pattern "{pattern}" is not a regular expression ({error}); --patient-pattern '
            r"'([^/]+)_[0-9]+\.' takes TCGA_CS_4941 from images/TCGA_CS_4941_12.tif."
        ) from error


def find_person(pattern: re.Pattern[str], path: str) -> str:
    """Return what a pattern finds in a path: its group `patient`, else its first group, else the whole match.

    An empty text means that it finds nothing.
    """
    match = pattern.search(path)
    return (match["patient" if "patient" in pattern.groupindex else min(pattern.groups, 1)] or "") if match else ""


def describe_visits(persons: Mapping[str, str]) -> str:
    """Return a sentence about the persons who have several visits; empty if nobody has.

    Args:
        persons: The person of each patient, by the patient's id.
    """
    visits = defaultdict(list)
    for patient_id, person in sorted(persons.items()):
        visits[person].append(patient_id)
    several = [ids for ids in visits.values() if len(ids) > 1]
    if not several:
        return ""
    return (
        f"{sum(map(len, several))} of {len(persons)} patients are visits of {len(several)} persons, such as "
        f"{some(several[0])}"
    )


def suspect_visits(persons: Iterable[str]) -> str:
    """Return a warning if persons' names look like visits of fewer persons, such as A01_1 and A01_2; else empty.

    They do if the names share what stands before a short last number, a word with one, or a letter; that part ends in a
    number too; and there are at least two such parts, none with more visits than there are parts, or than four.
    Numbered patients share one or few words, which end in no number.
    """
    visits = defaultdict(list)
    for name in sorted(set(persons)):
        if match := _NUMBERED.fullmatch(name):
            visits[match[1]].append(name)
    several = [names for names in visits.values() if len(names) > 1]
    if len(visits) < 2 or not several or max(map(len, several)) > max(len(visits), 4):
        return ""
    return (
        f"{sum(map(len, several))} patients look like visits of {len(several)} persons ({some(several[0])}), but are "
        "split as if each were a person, which inflates the scores if they are visits: say which part of a path is the "
        r"person, such as --patient-pattern '([^/]+)_[0-9]+/', or give --split"
    )
