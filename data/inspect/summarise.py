"""Summarise patients a few at a time, so that only a few volumes are in memory."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, pairwise

import numpy as np
from rich.console import Console
from rich.progress import track

from data.errors import BadFiles, Problem
from data.head import find_head, num_outside
from data.inspect.summary import ChannelSummary, PatientSummary
from data.packing.copies import SIDE, look
from data.patient import Patient, SlicePatient, Volume
from data.preprocess import to_grey_levels

# Each thread has one volume in memory; a BraTS volume of four modalities takes about 0.5 GB with intermediate results.
NUM_THREADS = 3

# The top slices of all heads look alike, so a slice is compared only if the head fills this share of it.
MIN_HEAD_SHARE = 0.1

SAMPLE_SIZE = 10_000
"""Number of values from which the quantiles of a channel are estimated, unless it has 8 bits."""


def read_summaries(
    patients: Sequence[Patient], names: Sequence[str]
) -> tuple[tuple[Patient, ...], tuple[PatientSummary, ...], tuple[Problem, ...]]:
    """Return the usable patients, without their unusable files; their summaries; and the unusable files."""
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        results = pool.map(lambda patient: _read(patient, names), patients)
        read = list(track(results, "reading patients", total=len(patients), console=Console(stderr=True)))
    left = [(patient, summary) for patient, summary, _ in read if summary]
    problems = tuple(problem for *_, found in read for problem in found)
    return tuple(patient for patient, _ in left), tuple(summary for _, summary in left), problems


def _read(patient: Patient, names: Sequence[str]) -> tuple[Patient, PatientSummary | None, list[Problem]]:
    problems: list[Problem] = []
    left: Patient | None = patient
    while left:
        try:
            summary = inspect_patient(patient, left.read(), names)
        except BadFiles as error:
            problems += error.problems
            rest = left.without({problem.path for problem in error.problems})
            left = rest if rest and len(rest.files) < len(left.files) else None
        else:
            return left, summary, problems
    return patient, None, problems


def inspect_patient(patient: Patient, volume: Volume, channel_names: Sequence[str] = ()) -> PatientSummary:
    """Return the summary of a volume; channels are numbered if there are not as many names as channels."""
    levels = to_grey_levels(volume.images, "auto")
    # Channel by channel, because numpy reduces along a last axis of three several times as slowly.
    shades = np.ascontiguousarray(np.moveaxis(levels, 3, 0))
    planes = shades if levels is volume.images else np.moveaxis(volume.images, 3, 0)
    head = find_head(np.moveaxis(shades, 0, 3))
    num_channels = len(planes)
    names = channel_names if len(channel_names) == num_channels else [f"channel {c}" for c in range(num_channels)]
    equal = [pair for pair in combinations(range(num_channels), 2) if np.array_equal(planes[pair[0]], planes[pair[1]])]
    numbers = [one.number for one in patient.slices] if isinstance(patient, SlicePatient) else volume.numbers
    return PatientSummary(
        id=patient.id,
        group=patient.group or "(none)",
        numbers=volume.numbers,
        gaps=tuple((low + 1, high - 1) for low, high in pairwise(numbers) if high - low > 1),
        size=levels.shape[1:3],
        dtype=str(volume.images.dtype),
        spacing_mm=volume.spacing_mm,
        channels=tuple(_channel(*pair, head) for pair in zip(names, planes, strict=True)),
        copies=tuple((names[a], names[b]) for a, b in equal),
        tumour_pixels=volume.tumour.sum(axis=(1, 2), dtype=np.int64),
        outside_pixels=np.array([num_outside(*pair) for pair in zip(head, volume.tumour, strict=True)], np.int64),
        blank_channels=(planes == planes[:, :, :1, :1]).all(axis=(2, 3)).T,
        digests=tuple(_digest(image) for image in volume.images),
        looks=np.stack([_look(*pair) for pair in zip(shades.swapaxes(0, 1), head, strict=True)]),
        labels=volume.labels,
        notes=volume.notes,
    )


def _channel(name: str, pixels: np.ndarray, head: np.ndarray) -> ChannelSummary:
    if pixels.dtype == np.uint8:
        values = np.arange(256)
        counts, in_head = (np.bincount(some.ravel(), minlength=256) for some in (pixels, pixels[head]))
    else:
        at = np.arange(pixels.size)
        if pixels.size > SAMPLE_SIZE:
            at = np.random.default_rng(0).integers(pixels.size, size=SAMPLE_SIZE)
        values, index = np.unique(pixels.ravel()[at], return_inverse=True)
        scale = pixels.size / len(at)
        counts, in_head = (np.bincount(index, weights=some) * scale for some in (None, head.ravel()[at]))
    return ChannelSummary(
        name=name,
        low=float(pixels.min()),
        high=float(pixels.max()),
        values=values.astype(np.float32),
        counts=counts.astype(np.float32),
        head_counts=in_head.astype(np.float32),
    )


def _digest(image: np.ndarray) -> str:
    digest = hashlib.blake2b(f"{image.shape} {image.dtype.kind}{image.dtype.itemsize}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _look(levels: np.ndarray, head: np.ndarray) -> np.ndarray:
    if head.mean() < MIN_HEAD_SHARE:
        return np.zeros(SIDE**2, np.float32)
    return look(levels.mean(axis=0, dtype=np.float32))
