"""Oddities of a data set, for a person to judge."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data.errors import Problem, by_cause
from data.head import MAX_OUTSIDE_SHARE
from data.inspect.duplicates import Match
from data.inspect.summary import PatientSummary
from data.printable import some

MIN_OUTSIDE_PIXELS = 20
"""Fewer pixels of a slice's tumour outside the head are not odd: correct masks of BraTS have up to 15."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something odd about a data set."""

    kind: str
    """What is odd, such as `same pixels`; findings are grouped by it."""

    where: str
    """The file or the patients concerned."""

    text: str
    """The details."""


def find(
    summaries: Sequence[PatientSummary],
    exact: Sequence[Match] = (),
    near: Sequence[Match] = (),
    bad: Sequence[Problem] = (),
) -> list[Finding]:
    """Return all findings, grouped by kind; a finding that is the same for all patients is returned once."""
    findings = [Finding(kind="unusable file", where=where, text=reason) for where, reason in by_cause(bad)]
    findings += _by_pair("same pixels", summaries, exact)
    findings += _by_pair("look alike", summaries, near)
    for kind, check in CHECKS.items():
        said = [(summary.id, text) for summary in summaries if (text := check(summary))]
        if len(said) == len(summaries) > 2 and len({text for _, text in said}) == 1:
            said = [(f"all {len(said)} patients", said[0][1])]
        findings += [Finding(kind=kind, where=where, text=text) for where, text in said]
    for kind, key in DIFFERENCES.items():
        findings += _differing(kind, [(summary.id, key(summary)) for summary in summaries])
    return findings


def _by_pair(kind: str, summaries: Sequence[PatientSummary], matches: Sequence[Match]) -> Iterator[Finding]:
    pairs = defaultdict(list)
    for match in matches:
        pairs[match.first[0], match.second[0]].append(match)
    for (a, b), found in sorted(pairs.items()):
        best = max(found, key=lambda match: match.correlation)
        first, second = (summaries[p].numbers[s] for p, s in (best.first, best.second))
        of = "itself" if a == b else summaries[b].id
        text = f"{_count(len(found), 'slice')} as in {of}, such as number {first} and its number {second}"
        text += f", correlation {best.correlation:.3f}" if best.correlation < 1 else ""
        yield Finding(kind=kind, where=summaries[a].id, text=text)


def _outside(summary: PatientSummary) -> str:
    bad = summary.outside_pixels > MAX_OUTSIDE_SHARE * summary.tumour_pixels
    at = np.flatnonzero(bad & (summary.outside_pixels >= MIN_OUTSIDE_PIXELS))
    outside, tumour = (int(pixels[at].sum()) for pixels in (summary.outside_pixels, summary.tumour_pixels))
    where = f"in {_count(len(at), 'slice')} ({some([str(summary.numbers[s]) for s in at])})"
    return f"{outside} of {tumour} tumour pixels lie outside the head {where}" if len(at) else ""


def _gaps(summary: PatientSummary) -> str:
    count = sum(last - first + 1 for first, last in summary.gaps)
    runs = [str(first) if first == last else f"{first}-{last}" for first, last in summary.gaps]
    return f"{_count(count, 'slice number')} missing: {some(runs)}" if count else ""


def _blank(summary: PatientSummary) -> str:
    count = int(summary.blank.sum())
    return f"{count} of {_count(len(summary.blank), 'slice')} have one value everywhere" if count else ""


def _partly_blank(summary: PatientSummary) -> str:
    counts = (summary.blank_channels & ~summary.blank[:, None]).sum(axis=0).tolist()
    found = [(one.name, count) for one, count in zip(summary.channels, counts, strict=True) if one.low < one.high]
    return some([f"{name} has one value everywhere in {_count(count, 'slice')}" for name, count in found if count])


def _constant(summary: PatientSummary) -> str:
    return some([f"{one.name} is {one.low:g} everywhere" for one in summary.channels if one.low == one.high])


def _copies(summary: PatientSummary) -> str:
    constant = {one.name for one in summary.channels if one.low == one.high}
    return some([f"{b} is a copy of {a}" for a, b in summary.copies if a not in constant])


CHECKS: dict[str, Callable[[PatientSummary], str]] = {
    "mask outside the head": _outside,
    "blank slices": _blank,
    "slices with a blank channel": _partly_blank,
    "no tumour": lambda summary: "" if summary.tumour_pixels.any() else "no mask of this patient has a tumour pixel",
    "gap in slice numbers": _gaps,
    "constant channel": _constant,
    "identical channels": _copies,
    "single slice": lambda summary: "the patient has one slice only" if len(summary.numbers) == 1 else "",
}
"""For each kind of finding, a function that returns what is odd about a patient, or an empty text."""

DIFFERENCES: dict[str, Callable[[PatientSummary], str]] = {
    "sizes differ (information)": lambda summary: f"{summary.size[0]} x {summary.size[1]}",
    "pixel types differ": lambda summary: summary.dtype,
    "numbers of channels differ": lambda summary: _count(len(summary.channels), "channel"),
}


def _differing(kind: str, by_patient: list[tuple[str, str]]) -> Iterator[Finding]:
    counts = Counter(value for _, value in by_patient).most_common()
    if len(counts) > 1:
        others = [patient for patient, value in by_patient if value != counts[0][0]]
        text = "; ".join(f"{_count(count, 'patient')} with {value}" for value, count in counts)
        yield Finding(kind=kind, where=some(others), text=text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
