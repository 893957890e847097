"""The summary that an inspection keeps of a patient, and statistics over summaries."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64


@dataclass(frozen=True, kw_only=True)
class ChannelSummary:
    """The distribution of one channel of a patient: exact for 8 bits, else from a sample."""

    name: str
    low: float
    high: float
    values: Float32[np.ndarray, " levels"]
    counts: Float32[np.ndarray, " levels"]
    """Number of pixels with each value."""
    head_counts: Float32[np.ndarray, " levels"]
    """Number of pixels of the head with each value."""


@dataclass(frozen=True, kw_only=True)
class PatientSummary:
    """A few kilobytes that describe a patient, whose volume may take gigabytes."""

    id: str
    group: str
    numbers: tuple[int, ...]
    gaps: tuple[tuple[int, int], ...]
    """First and last of each run of missing slice numbers."""
    size: tuple[int, int]
    dtype: str
    spacing_mm: tuple[float, float, float] | None
    channels: tuple[ChannelSummary, ...]
    copies: tuple[tuple[str, str], ...]
    """Pairs of channels that hold the same pixels."""
    tumour_pixels: Int64[np.ndarray, " slices"]
    outside_pixels: Int64[np.ndarray, " slices"]
    """Tumour pixels outside the head."""
    blank_channels: Bool[np.ndarray, "slices channels"]
    """Whether a channel of a slice has one value everywhere."""
    digests: tuple[str, ...]
    looks: Float32[np.ndarray, "slices features"]
    """Small images with norm 1 and mean 0, so that a product is a correlation; zeros if the slice is not compared."""
    labels: Mapping[int, int] = field(default_factory=dict)
    """Number of voxels by label; see `Volume.labels`."""
    notes: tuple[str, ...] = ()
    """How values were read; see `Volume.notes`."""

    @property
    def blank(self) -> Bool[np.ndarray, " slices"]:
        """Whether each channel of a slice has one value everywhere."""
        return np.all(self.blank_channels, axis=1)

    @property
    def num_tumour_slices(self) -> int:
        """Number of slices whose mask has a tumour pixel."""
        return int(np.count_nonzero(self.tumour_pixels))

    @property
    def tumour_share(self) -> float:
        """Share of all pixels that are tumour."""
        return int(self.tumour_pixels.sum()) / (len(self.numbers) * self.size[0] * self.size[1])


def lesion_volumes(summaries: Sequence[PatientSummary]) -> tuple[list[float], str]:
    """Return the volume of every patient's tumour and its unit: "ml", or "pixels" if a patient has no spacing."""
    pixels = [float(one.tumour_pixels.sum()) for one in summaries]
    spacings = [one.spacing_mm for one in summaries if one.spacing_mm is not None]
    if len(spacings) < len(pixels):
        return pixels, "pixels"
    return [count * math.prod(spacing) / 1000 for count, spacing in zip(pixels, spacings, strict=True)], "ml"


def quantiles(
    channels: Sequence[ChannelSummary], shares: Sequence[float], *, head: bool = False
) -> Float64[np.ndarray, " shares"]:
    """Return the quantiles, at these shares, of the values of all pixels, or of those in the head."""
    values = np.concatenate([one.values for one in channels]).astype(float)
    counts = np.concatenate([one.head_counts if head else one.counts for one in channels]).astype(float)
    order = np.argsort(values, kind="stable")
    below = counts[order].cumsum()
    return values[order][np.searchsorted(below, np.array(shares) * below[-1]).clip(max=len(values) - 1)]


def by_channel(summaries: Sequence[PatientSummary]) -> dict[str, list[ChannelSummary]]:
    """Return the channels of all patients by name."""
    by_name = defaultdict(list)
    for summary in summaries:
        for channel in summary.channels:
            by_name[channel.name].append(channel)
    return by_name
