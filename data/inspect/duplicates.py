"""Slices that occur twice: with the same pixels, or looking alike."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.inspect.summary import PatientSummary

# Slices look alike if they correlate above this when averaged to 32 x 32 pixels. Slices of different patients reach
# 0.964 (20 LGG patients), 0.972 (3 BraTS cases) and 0.979 (20 phantoms). Copies that are darker, noisy (5 grey levels),
# JPEG of quality 60 or half as large keep 0.998; copies shifted by a pixel or with another gamma, 0.97 to 0.997.
MIN_CORRELATION = 0.99

_BLOCK = 1000  # slices that are compared with all others at once: 16 MB for 4,000 slices


class Match(NamedTuple):
    """Two slices, each as the index of its patient and its index within the patient."""

    first: tuple[int, int]
    second: tuple[int, int]
    correlation: float = 1.0


def exact_duplicates(summaries: Sequence[PatientSummary]) -> list[Match]:
    """Return a match for each slice that repeats the pixels of an earlier one; blank slices are left out."""
    first: dict[str, tuple[int, int]] = {}
    matches = []
    for p, summary in enumerate(summaries):
        for s in np.flatnonzero(~summary.blank).tolist():
            if (earlier := first.setdefault(summary.digests[s], (p, s))) != (p, s):
                matches.append(Match(earlier, (p, s)))
    return matches


def near_duplicates(summaries: Sequence[PatientSummary]) -> list[Match]:
    """Return the best match of each slice that correlates above MIN_CORRELATION with a slice of another patient.

    Slices of one patient are not compared, because neighbours always look alike. Slices with the same pixels are left
    out: `exact_duplicates` returns them.
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
            first, second = sorted((places[start + row], places[int(correlation[row].argmax())]))
            matches[first, second] = Match(first, second, min(float(best[row]), 1.0))
    return sorted(matches.values())
