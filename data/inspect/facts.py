"""The numbers of a data set, as rows of a table."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from data.inspect.duplicates import Match
from data.inspect.summary import PatientSummary, by_channel, lesion_volumes, quantiles

MAX_LINES = 20  # in a cell of the table


def facts(
    format_name: str,
    summaries: Sequence[PatientSummary],
    *,
    split: str,
    seed: int,
    rule: str = "",
    num_persons: int | None = None,
    exact: Sequence[Match] = (),
    near: Sequence[Match] = (),
    num_bad: int = 0,
) -> list[tuple[str, str]]:
    """Return the numbers of a data set as rows of a label and a text, which may have several lines.

    Args:
        rule: Why the files are of this format; see `Source.rule`.
        num_persons: How many persons the patients are; None: as many.
    """
    num_slices = sum(len(one.numbers) for one in summaries)
    num_tumour = sum(one.num_tumour_slices for one in summaries)
    (sizes, types, spacings, groups), (volumes, unit) = _count(summaries), lesion_volumes(summaries)
    return [
        *_about_source(format_name, rule, len(summaries), num_persons),
        ("slices", str(num_slices)),
        ("slices with tumour", f"{num_tumour} ({100 * num_tumour / num_slices:.1f} %)"),
        ("slices without tumour", f"{num_slices - num_tumour} ({100 - 100 * num_tumour / num_slices:.1f} %)"),
        *_labels(summaries),
        ("slice sizes (slices)", _counts(sizes)),
        ("pixel types (patients)", _counts(types)),
        *_intensities(summaries),
        ("voxel spacing (patients)", _counts(spacings)),
        ("tumour share per patient", _spread([100 * one.tumour_share for one in summaries], " %")),
        ("lesion volume per patient", _spread([volume for volume in volumes if volume], f" {unit}")),
        ("groups (patients)", _counts(groups)),
        (f"split by person, seed {seed}", split),
        ("duplicates", f"{len(exact)} slice(s) with the same pixels, {len(near)} pair(s) that look alike"),
        ("unusable files", str(num_bad)),
    ]


def _about_source(format_name: str, rule: str, num_patients: int, num_persons: int | None) -> Iterator[tuple[str, str]]:
    yield "format", format_name
    if rule:
        yield "recognised", rule
    yield "patients", str(num_patients)
    if num_persons not in (None, num_patients):
        yield "persons", f"{num_persons}, some with several visits"


def _count(summaries: Sequence[PatientSummary]) -> tuple[Counter[str], ...]:
    """Return the number of slices by size, and of patients by type of pixel, spacing and group."""
    sizes, types, spacings, groups = Counter(), Counter(), Counter(), Counter()
    for one in summaries:
        sizes[f"{one.size[0]} x {one.size[1]}"] += len(one.numbers)
        types[one.dtype] += 1
        spacings["unknown" if one.spacing_mm is None else " x ".join(f"{x:.3g}" for x in one.spacing_mm) + " mm"] += 1
        groups[one.group] += 1
    return sizes, types, spacings, groups


def _labels(summaries: Sequence[PatientSummary]) -> Iterator[tuple[str, str]]:
    voxels, patients = Counter(), Counter()
    for one in summaries:
        voxels.update(one.labels)
        patients.update(one.labels.keys())
    lines = [f"{label}: {voxels[label]} in {patients[label]} patient(s)" for label in sorted(voxels)[:MAX_LINES]]
    if lines:
        yield "labels (voxels)", "\n".join(lines)


def _intensities(summaries: Sequence[PatientSummary]) -> Iterator[tuple[str, str]]:
    for name, channels in by_channel(summaries).items():
        low, high = min(one.low for one in channels), max(one.high for one in channels)
        first, median, last = quantiles(channels, (0.01, 0.5, 0.99))
        text = f"{low:.4g} to {high:.4g}; 1st percentile {first:.4g}, median {median:.4g}, 99th {last:.4g}"
        yield f"intensity of {name}", text


def _counts(counter: Counter[str]) -> str:
    rest = [f"and {len(counter) - MAX_LINES} more"] if len(counter) > MAX_LINES else []
    return "\n".join([f"{value} ({count})" for value, count in counter.most_common(MAX_LINES)] + rest)


def _spread(values: Sequence[float], unit: str) -> str:
    if not values:
        return "no patient has a tumour"
    low, median, high = map(format_number, np.quantile(values, (0, 0.5, 1)))
    return f"min {low}, median {median}, max {high}{unit}"


def format_number(value: float) -> str:
    """Return a number as text: three significant digits, or the whole number from 1000 on."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
