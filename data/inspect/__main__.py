"""Is my data what I think it is? `python -m data.inspect SOURCE`: what was found, in numbers, and what is odd about it.

Volumes are read in a few threads and let go at once; only their summaries stay. Nothing ends an inspection early: files
that cannot be used are listed, and the rest is looked at.
"""

import hashlib
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from data.arguments import parse_arguments
from data.errors import BadFiles, DataError, Problem
from data.inspect.findings import LOOKS_SIDE, Channel, Finding, Summary, exact_duplicates, find, near_duplicates
from data.inspect.page import facts, write_page
from data.patient import Patient, SlicePatient, Volume
from data.preprocess import find_head, to_grey_levels
from data.printable import printable
from data.source import Reading, Source, find_source
from data.split import MIN_PATIENTS, Split, split_patients

# One volume a thread is in memory; BraTS volumes of four modalities take about 0.5 GB each with what is computed.
NUM_THREADS = 3

# Tips of the head are blobs that look alike in everyone; a slice is compared if the head fills this share of it.
MIN_HEAD_SHARE = 0.1

MAX_SPECK_PIXELS = 10  # of noise in the air, which is no head

SAMPLE_SIZE = 10_000
"""Values of a channel that its quantiles are estimated from, unless it has 8 bits."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Show what a data set holds, and what is odd about it. Nothing is changed, and no bad file ends it."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of patients, `phantom` or `phantom:N`, as `search.tune --data` takes it."""

    out: Path | None = None
    """Folder to write inspect.html to: the same with pictures, in one file that opens offline. None: only print."""

    reading: Annotated[Reading, tyro.conf.arg(name="")] = field(default_factory=Reading)

    seed: int = 0
    """Seed of the split, as for the search, and of the slices that the page shows."""

    val_fraction: float = 0.2
    """Share of patients to validate on, as for the search."""

    test_fraction: float = 0.2
    """Share of patients to test on, as for the search."""


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 whatever was found; 2, with one sentence, if there is nothing to inspect or an option is illegal."""
    arguments = parse_arguments(Arguments, argv, prog="python -m data.inspect")
    try:
        with tempfile.TemporaryDirectory() as phantom_root:
            _inspect(arguments, Path(phantom_root))
    except (DataError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    return 0


def _inspect(arguments: Arguments, phantom_root: Path) -> None:
    _split(arguments, ("any", "three", "patients"))  # what is wrong with the fractions is said before the work
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    reading = replace(arguments.reading, skip_bad_files=True)
    source = find_source(arguments.source, reading=reading, phantom_root=phantom_root)
    patients, summaries, bad = read_summaries(source.patients, channel_names(source))
    bad = (*source.skipped, *bad)
    if not summaries:
        for problem in bad:
            print(f"unusable file: {printable(str(problem))}")
        raise DataError(f"{arguments.source} holds no file that can be used, out of {len(bad)} listed.")
    exact, near = exact_duplicates(summaries), near_duplicates(summaries)
    split = _preview(arguments, summaries)
    rows = facts(source.format, summaries, split=split, seed=arguments.seed, exact=exact, near=near, num_bad=len(bad))
    findings = find(summaries, exact, near, bad)
    _print(arguments.source, source.warnings, rows, findings)
    if arguments.out:
        page = arguments.out / "inspect.html"
        write_page(page, arguments.source, source.warnings, rows, findings, summaries, patients, seed=arguments.seed)
        print(f"Wrote {page}")


def _split(arguments: Arguments, ids: Sequence[str]) -> Split:
    fractions = {"val_fraction": arguments.val_fraction, "test_fraction": arguments.test_fraction}
    return split_patients(ids, seed=arguments.seed, **fractions)


def _preview(arguments: Arguments, summaries: Sequence[Summary]) -> str:
    """Return what the search would train, validate and test on."""
    if len(summaries) < MIN_PATIENTS:
        return f"needs at least {MIN_PATIENTS} patients"
    by_id = {summary.id: summary for summary in summaries}
    split, lines = _split(arguments, tuple(by_id)), []
    for side in ("train", "val", "test"):
        members = [by_id[patient_id] for patient_id in getattr(split, side)]
        slices, tumour = sum(len(one.numbers) for one in members), sum(one.num_tumour_slices for one in members)
        lines.append(f"{side}: {len(members)} patient(s), {slices} slices, {tumour} with tumour")
    return "\n".join(lines)


def channel_names(source: Source) -> tuple[str, ...]:
    """Return the names of the channels, as far as the format gives them any."""
    return tuple(f"channel {name}" if name.isdigit() else name for name in source.channel_names)


def read_summaries(
    patients: Sequence[Patient], names: Sequence[str]
) -> tuple[tuple[Patient, ...], tuple[Summary, ...], tuple[Problem, ...]]:
    """Return the patients without the files that cannot be used, their summaries, and these files."""
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        results = pool.map(lambda patient: _read(patient, names), patients)
        read = list(track(results, "reading patients", total=len(patients), console=Console(stderr=True)))
    left = [(patient, summary) for patient, summary, _ in read if summary]
    problems = tuple(problem for *_, found in read for problem in found)
    return tuple(patient for patient, _ in left), tuple(summary for _, summary in left), problems


def _read(patient: Patient, names: Sequence[str]) -> tuple[Patient, Summary | None, list[Problem]]:
    problems: list[Problem] = []
    left: Patient | None = patient
    while left:
        try:
            summary = summarise(patient, left.read(), names)
        except BadFiles as error:
            problems += error.problems
            rest = left.without({problem.path for problem in error.problems})
            left = rest if rest and len(rest.files) < len(left.files) else None
        else:
            return left, summary, problems
    return patient, None, problems


def summarise(patient: Patient, volume: Volume, channel_names: Sequence[str] = ()) -> Summary:
    """Return the summary; channels are numbered where there are not as many names."""
    levels = to_grey_levels(volume.images, "auto")
    head = find_head(levels)
    num_channels = levels.shape[3]
    names = channel_names if len(channel_names) == num_channels else [f"channel {c}" for c in range(num_channels)]
    flat = volume.images.reshape(len(levels), -1, num_channels)
    equal = [pair for pair in combinations(range(num_channels), 2) if (flat[..., pair[0]] == flat[..., pair[1]]).all()]
    numbers = [one.number for one in patient.slices] if isinstance(patient, SlicePatient) else volume.numbers
    return Summary(
        id=patient.id,
        group=patient.group or "(none)",
        numbers=volume.numbers,
        gaps=tuple((low + 1, high - 1) for low, high in pairwise(numbers) if high - low > 1),
        size=levels.shape[1:3],
        dtype=str(volume.images.dtype),
        spacing_mm=volume.spacing_mm,
        channels=tuple(_channel(name, volume.images[..., c], head) for c, name in enumerate(names)),
        copies=tuple((names[a], names[b]) for a, b in equal),
        tumour_pixels=volume.masks.sum(axis=(1, 2), dtype=np.int64),
        outside_pixels=np.array([_num_outside(*pair) for pair in zip(head, volume.masks, strict=True)], np.int64),
        blank_channels=(flat == flat[:, :1]).all(axis=1),
        digests=tuple(_digest(image) for image in volume.images),
        looks=np.stack([_look(*pair) for pair in zip(levels, head, strict=True)]),
    )


def _channel(name: str, pixels: np.ndarray, head: np.ndarray) -> Channel:
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
    return Channel(
        name=name,
        low=float(pixels.min()),
        high=float(pixels.max()),
        values=values.astype(np.float32),
        counts=counts.astype(np.float32),
        head_counts=in_head.astype(np.float32),
    )


def _num_outside(head: np.ndarray, mask: np.ndarray) -> int:
    if not mask.any():
        return 0
    contours, _ = cv2.findContours(head.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contours = [one for one in contours if cv2.contourArea(one) > MAX_SPECK_PIXELS]
    filled = cv2.drawContours(np.zeros(head.shape, np.uint8), contours, -1, 1, cv2.FILLED)
    return int(np.count_nonzero(mask & (filled == 0)))


def _digest(image: np.ndarray) -> str:
    digest = hashlib.blake2b(f"{image.shape} {image.dtype.kind}{image.dtype.itemsize}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()


def _look(levels: np.ndarray, head: np.ndarray) -> np.ndarray:
    if head.mean() < MIN_HEAD_SHARE:
        return np.zeros(LOOKS_SIDE**2, np.float32)
    grey = levels.mean(axis=2, dtype=np.float32)
    look = cv2.resize(grey, (LOOKS_SIDE, LOOKS_SIDE), interpolation=cv2.INTER_AREA).ravel()
    look -= look.mean()
    norm = np.linalg.norm(look)
    return look / norm if norm > 1 else np.zeros_like(look)


def _print(name: str, warnings: Sequence[str], rows: list[tuple[str, str]], findings: list[Finding]) -> None:
    console = Console(highlight=False)
    table = Table(title=Text(printable(name)), show_header=False, title_justify="left")
    for label, value in rows:
        table.add_row(Text(printable(label)), Text("\n".join(map(printable, value.split("\n")))))
    console.print(table)
    for warning in warnings:
        console.print(Text(f"note: {printable(warning)}"), soft_wrap=True)
    headline = f"{len(findings)} finding(s):" if findings else "Nothing odd was found."
    console.print(headline, style="bold")
    for finding in findings:
        line = Text(f"  {finding.kind}: ", style="bold").append(
            printable(f"{finding.where}: {finding.text}"), "not bold"
        )
        console.print(line, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
