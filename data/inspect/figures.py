"""The figures on the page of an inspection, as coordinates for its SVG."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.inspect.summary import ChannelSummary, PatientSummary, by_channel, quantiles
from data.printable import printable

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
MAX_GROUPS = 12  # more histograms or bars cannot be compared by eye
NUM_BINS = 64
PLOT = (300.0, 120.0)  # width and height of a figure's axes, in units of the page's SVG


@dataclass(frozen=True, kw_only=True)
class Histograms:
    """A histogram for each group, all on equal axes."""

    ticks: list[tuple[float, str]]
    """Place and label on the x axis."""

    top: str
    """Label at the top of the y axis."""

    names: list[tuple[str, str]]
    """Name and colour of each channel."""

    groups: dict[str, list[tuple[str, str]]]
    """Colour and points of each channel's line, by the name of the group."""


@dataclass(frozen=True, kw_only=True)
class Balance:
    """The slices of a group."""

    name: str
    tumour: int
    """Number of slices with tumour."""

    total: int
    width: float
    """Length of the bar."""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A bar for each patient."""

    path: str
    """SVG path that draws all bars."""

    top: str
    """Label at the top of the y axis."""

    middle: str
    """Label in the middle of the y axis."""

    count: int
    """Number of bars."""


def largest_groups(summaries: Sequence[PatientSummary]) -> dict[str, list[PatientSummary]]:
    """Return the patients of the MAX_GROUPS largest groups, the largest first."""
    groups = defaultdict(list)
    for summary in summaries:
        groups[summary.group].append(summary)
    return {name: groups[name] for name in sorted(sorted(groups), key=lambda name: -len(groups[name]))[:MAX_GROUPS]}


def histograms(summaries: Sequence[PatientSummary]) -> Histograms:
    """Return a histogram of the head's intensities for each group, with a line for each channel."""
    edges = _edges([channel for summary in summaries for channel in summary.channels])
    colours = dict(zip(by_channel(summaries), COLOURS, strict=False))
    heights = {
        group: {name: _shares(channels, edges) for name, channels in by_channel(members).items() if name in colours}
        for group, members in largest_groups(summaries).items()
    }
    top = max(float(height.max()) for lines in heights.values() for height in lines.values()) or 1.0
    return Histograms(
        ticks=[(at * PLOT[0], f"{edges[0] + at * (edges[-1] - edges[0]):.4g}") for at in (0, 0.5, 1)],
        top=f"{top:.2g}",
        names=[(printable(name), colour) for name, colour in colours.items()],
        groups={
            printable(group): [(colours[name], _points(height / top)) for name, height in lines.items()]
            for group, lines in heights.items()
        },
    )


def _shares(channels: Sequence[ChannelSummary], edges: np.ndarray) -> np.ndarray:
    """Return the share of the head's pixels in each bin, in percent."""
    values = np.concatenate([one.values for one in channels])
    counts = np.concatenate([one.head_counts for one in channels]).astype(float)
    height, _ = np.histogram(values, edges, weights=counts)
    return 100 * height / max(counts.sum(), 1)


def _points(height: np.ndarray) -> str:
    """Return the points of a line whose heights are from 0 to 1."""
    x = PLOT[0] * (np.arange(len(height)) + 0.5) / len(height)
    y = PLOT[1] * (1 - height)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _edges(channels: Sequence[ChannelSummary]) -> np.ndarray:
    low, high = quantiles(channels, (0.001, 0.999), head=True).tolist()
    if any((one.values % 1).any() for one in channels):
        return np.linspace(low, max(high, low + 1e-6), NUM_BINS + 1)
    # A whole number, because bins that alternate between 3 and 4 grey levels would look like a comb.
    step = math.ceil((high - low + 1) / NUM_BINS)
    return np.arange(low, high + step + 1, step)


def balance(summaries: Sequence[PatientSummary]) -> list[Balance]:
    """Return the number of slices with and without tumour in each group."""
    rows = []
    for name, members in largest_groups(summaries).items():
        tumour = sum(one.num_tumour_slices for one in members)
        total = sum(len(one.numbers) for one in members)
        rows.append(Balance(name=printable(name), tumour=tumour, total=total, width=PLOT[0] * tumour / total))
    return rows


def shares(summaries: Sequence[PatientSummary]) -> Bars:
    """Return a bar for each patient's tumour share, largest first."""
    found = sorted((100 * summary.tumour_share for summary in summaries), reverse=True)
    top, width = max(found) or 1.0, PLOT[0] / len(found)
    gap = 0.15 if width > 2 else 0.0
    bars = [
        f"M{i * width:.2f} {PLOT[1]}v{-PLOT[1] * share / top:.2f}h{width * (1 - gap):.2f}V{PLOT[1]}z"
        for i, share in enumerate(found)
    ]
    return Bars(path="".join(bars), top=f"{top:.2g}", middle=f"{top / 2:.2g}", count=len(found))
