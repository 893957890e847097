"""What a patient's volume is summarised to, and what is odd about the summaries: small, and testable without files."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from data.errors import Problem

# Slices look alike when, averaged to 32 x 32 pixels, they correlate above this. Slices of different patients reach
# 0.964 (20 LGG patients), 0.972 (3 BraTS cases) and 0.979 (20 phantoms). Copies that are darker, noisy (5 grey levels),
# JPEG of quality 60 or half as large keep 0.998; shifted by a pixel or with another gamma, 0.97 to 0.997.
LOOKS_SIDE = 32
MIN_CORRELATION = 0.99

# A mask is wrong when this share of a slice's tumour, and this many pixels, lie outside the head with its holes filled.
# Sound masks overshoot the edge: up to 24 % of a slice, 15 pixels, in BraTS; none in LGG.
MAX_OUTSIDE_SHARE, MIN_OUTSIDE_PIXELS = 0.25, 20

_BLOCK = 1000  # slices that are compared with all others at once: 16 MB for 4,000 slices
_MAX_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Channel:
    """How the values of one channel of a patient are distributed; exact for 8 bits, else from a sample."""

    name: str
    low: float
    high: float
    values: Float32[np.ndarray, " levels"]
    counts: Float32[np.ndarray, " levels"]
    """Pixels that have the value."""
    head_counts: Float32[np.ndarray, " levels"]
    """Pixels of the head that do."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is kept of a patient once the volume is let go: kilobytes."""

    id: str
    group: str
    numbers: tuple[int, ...]
    gaps: tuple[tuple[int, int], ...]
    """First and last of each run of slice numbers for which there is no file."""
    size: tuple[int, int]
    dtype: str
    spacing_mm: tuple[float, float, float] | None
    channels: tuple[Channel, ...]
    copies: tuple[tuple[str, str], ...]
    """Channels that hold the same pixels."""
    tumour_pixels: Int64[np.ndarray, " slices"]
    outside_pixels: Int64[np.ndarray, " slices"]
    """Of the tumour, those outside the head."""
    blank_channels: Bool[np.ndarray, "slices channels"]
    """Whether a channel of a slice has one value everywhere."""
    digests: tuple[str, ...]
    looks: Float32[np.ndarray, "slices features"]
    """Of norm 1 and mean 0, so that a product is a correlation; zeros where the slice is not compared."""

    @property
    def blank(self) -> Bool[np.ndarray, " slices"]:
        """Whether all channels of a slice are."""
        return self.blank_channels.all(axis=1)

    @property
    def num_tumour_slices(self) -> int:
        """Slices whose mask has a tumour pixel."""
        return int(np.count_nonzero(self.tumour_pixels))

    @property
    def tumour_share(self) -> float:
        """Of all pixels."""
        return int(self.tumour_pixels.sum()) / (len(self.numbers) * self.size[0] * self.size[1])


class Match(NamedTuple):
    """Two slices, each as the indices of its patient and within it; the first comes first."""

    first: tuple[int, int]
    second: tuple[int, int]
    correlation: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line for a person to judge."""

    kind: str
    where: str
    text: str


def lesion_volumes(summaries: Sequence[Summary]) -> tuple[list[float], str]:
    """Return the volume of every patient's tumour and its unit, pixels unless all patients have a spacing."""
    pixels, spacings = [float(one.tumour_pixels.sum()) for one in summaries], [one.spacing_mm for one in summaries]
    if None in spacings:
        return pixels, "pixels"
    return [count * float(np.prod(spacing)) / 1000 for count, spacing in zip(pixels, spacings, strict=True)], "ml"


def quantiles(
    channels: Sequence[Channel], shares: Sequence[float], *, head: bool = False
) -> Float64[np.ndarray, " shares"]:
    """Return the values below which these shares of all pixels lie, or of those of the head."""
    values = np.concatenate([one.values for one in channels]).astype(float)
    counts = np.concatenate([one.head_counts if head else one.counts for one in channels]).astype(float)
    order = np.argsort(values, kind="stable")
    below = counts[order].cumsum()
    return values[order][np.searchsorted(below, np.array(shares) * below[-1]).clip(max=len(values) - 1)]


def by_channel(summaries: Sequence[Summary]) -> dict[str, list[Channel]]:
    """Return the channels of all patients by name."""
    by_name = defaultdict(list)
    for summary in summaries:
        for channel in summary.channels:
            by_name[channel.name].append(channel)
    return by_name


def exact_duplicates(summaries: Sequence[Summary]) -> list[Match]:
    """Return each slice that has all pixels of an earlier one, with the first of these; blank slices are left out."""
    first: dict[str, tuple[int, int]] = {}
    matches = []
    for p, summary in enumerate(summaries):
        for s in np.flatnonzero(~summary.blank).tolist():
            if (earlier := first.setdefault(summary.digests[s], (p, s))) != (p, s):
                matches.append(Match(earlier, (p, s)))
    return matches


def near_duplicates(summaries: Sequence[Summary]) -> list[Match]:
    """Return slices with the one of another patient that looks most like it, where that is above MIN_CORRELATION.

    Neighbours within a patient look alike by nature, and exact duplicates are told elsewhere: both are left out.
    """
    looks = np.concatenate([summary.looks for summary in summaries])
    places = [(p, s) for p, summary in enumerate(summaries) for s in range(len(summary.numbers))]
    patients = np.array([p for p, _ in places])
    _, pixels = np.unique([digest for summary in summaries for digest in summary.digests], return_inverse=True)
    matches = {}
    for start in range(0, len(looks), _BLOCK):
        rows = slice(start, start + _BLOCK)
        correlation = looks[rows] @ looks.T
        correlation[(patients[rows, None] == patients) | (pixels[rows, None] == pixels)] = -1
        best = correlation.max(axis=1)
        for row in np.flatnonzero(best > MIN_CORRELATION).tolist():
            pair = sorted((places[start + row], places[int(correlation[row].argmax())]))
            matches[tuple(pair)] = Match(*pair, min(float(best[row]), 1.0))
    return sorted(matches.values())


def find(
    summaries: Sequence[Summary], exact: Sequence[Match] = (), near: Sequence[Match] = (), bad: Sequence[Problem] = ()
) -> list[Finding]:
    """Return everything odd, kind by kind; what holds for all patients in the same words is one finding."""
    findings = [Finding(kind="unusable file", where=str(problem.path), text=problem.reason) for problem in bad]
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


def _by_pair(kind: str, summaries: Sequence[Summary], matches: Sequence[Match]) -> Iterator[Finding]:
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


def _outside(summary: Summary) -> str:
    bad = summary.outside_pixels > MAX_OUTSIDE_SHARE * summary.tumour_pixels
    at = np.flatnonzero(bad & (summary.outside_pixels >= MIN_OUTSIDE_PIXELS))
    outside, tumour = (int(pixels[at].sum()) for pixels in (summary.outside_pixels, summary.tumour_pixels))
    where = f"in {_count(len(at), 'slice')} ({_some([str(summary.numbers[s]) for s in at])})"
    return f"{outside} of {tumour} tumour pixels lie outside the head {where}" if len(at) else ""


def _gaps(summary: Summary) -> str:
    count = sum(last - first + 1 for first, last in summary.gaps)
    runs = [str(first) if first == last else f"{first}-{last}" for first, last in summary.gaps]
    return f"{_count(count, 'slice number')} missing: {_some(runs)}" if count else ""


def _blank(summary: Summary) -> str:
    count = int(summary.blank.sum())
    return f"{count} of {_count(len(summary.blank), 'slice')} have one value everywhere" if count else ""


def _partly_blank(summary: Summary) -> str:
    counts = (summary.blank_channels & ~summary.blank[:, None]).sum(axis=0).tolist()
    found = [(one.name, count) for one, count in zip(summary.channels, counts, strict=True) if one.low < one.high]
    return _some([f"{name} has one value everywhere in {_count(count, 'slice')}" for name, count in found if count])


def _constant(summary: Summary) -> str:
    return _some([f"{one.name} is {one.low:g} everywhere" for one in summary.channels if one.low == one.high])


def _copies(summary: Summary) -> str:
    constant = {one.name for one in summary.channels if one.low == one.high}
    return _some([f"{b} is a copy of {a}" for a, b in summary.copies if a not in constant])


CHECKS: dict[str, Callable[[Summary], str]] = {
    "mask outside the head": _outside,
    "all-black slices": _blank,
    "slices with a black channel": _partly_blank,
    "no tumour": lambda summary: "" if summary.tumour_pixels.any() else "no mask of this patient has a tumour pixel",
    "gap in slice numbers": _gaps,
    "constant channel": _constant,
    "identical channels": _copies,
    "single slice": lambda summary: "the patient has one slice only" if len(summary.numbers) == 1 else "",
}
"""What is said of one patient by itself, by kind; nothing if nothing is odd."""

DIFFERENCES: dict[str, Callable[[Summary], str]] = {
    "sizes differ (information)": lambda summary: f"{summary.size[0]} x {summary.size[1]}",
    "pixel types differ": lambda summary: summary.dtype,
    "numbers of channels differ": lambda summary: _count(len(summary.channels), "channel"),
}


def _differing(kind: str, by_patient: list[tuple[str, str]]) -> Iterator[Finding]:
    counts = Counter(value for _, value in by_patient).most_common()
    if len(counts) > 1:
        others = [patient for patient, value in by_patient if value != counts[0][0]]
        text = "; ".join(f"{_count(count, 'patient')} with {value}" for value, count in counts)
        yield Finding(kind=kind, where=_some(others), text=text)


def _some(texts: list[str]) -> str:
    rest = len(texts) - _MAX_NAMED
    return ", ".join(texts[:_MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
