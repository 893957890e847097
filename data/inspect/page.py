"""What an inspection shows: rows of numbers, pictures of slices, and the page that holds them with its figures."""

import base64
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from data.errors import DataError
from data.inspect.findings import Channel, Finding, Match, Summary, by_channel, lesion_volumes, quantiles
from data.patient import Patient
from data.preprocess import to_grey_levels
from data.printable import printable

OUTLINE = (86, 180, 233)
"""Sky blue of Okabe and Ito's palette, as all pictures here draw a true mask."""

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")

MAX_GROUPS = 12  # of histograms and bars; more make no comparison
MAX_LINES = 20  # of a cell of the table
MAX_CHANNELS = 4  # side by side
NUM_PICTURES = 8
MIN_SIDE, MAX_SIDE = 256, 400  # of a picture, about: smaller, an outline hides too much; larger, it is too thin
NUM_BINS = 64
PLOT = (300.0, 120.0)  # width and height of a figure's axes, in units of the page's SVG


def facts(
    format_name: str,
    summaries: Sequence[Summary],
    *,
    split: str,
    seed: int,
    exact: Sequence[Match] = (),
    near: Sequence[Match] = (),
    num_bad: int = 0,
) -> list[tuple[str, str]]:
    """Return the numbers of a data set as rows: a label, and a text of one line or several."""
    num_slices = sum(len(one.numbers) for one in summaries)
    num_tumour = sum(one.num_tumour_slices for one in summaries)
    sizes, types, spacings, groups = Counter(), Counter(), Counter(), Counter()
    for one in summaries:
        sizes[f"{one.size[0]} x {one.size[1]}"] += len(one.numbers)
        types[one.dtype] += 1
        spacings["unknown" if one.spacing_mm is None else " x ".join(f"{x:.3g}" for x in one.spacing_mm) + " mm"] += 1
        groups[one.group] += 1
    volumes, unit = lesion_volumes(summaries)
    return [
        ("format", format_name),
        ("patients", str(len(summaries))),
        ("slices", str(num_slices)),
        ("slices with tumour", f"{num_tumour} ({100 * num_tumour / num_slices:.1f} %)"),
        ("slices without tumour", f"{num_slices - num_tumour} ({100 - 100 * num_tumour / num_slices:.1f} %)"),
        ("slice sizes (slices)", _counts(sizes)),
        ("pixel types (patients)", _counts(types)),
        *_intensities(summaries),
        ("voxel spacing (patients)", _counts(spacings)),
        ("tumour share per patient", _spread([100 * one.tumour_share for one in summaries], " %")),
        ("lesion volume per patient", _spread([volume for volume in volumes if volume], f" {unit}")),
        ("groups (patients)", _counts(groups)),
        (f"split by patient, seed {seed}", split),
        ("duplicates", f"{len(exact)} slice(s) with the same pixels, {len(near)} pair(s) that look alike"),
        ("unusable files", str(num_bad)),
    ]


def _intensities(summaries: Sequence[Summary]) -> Iterator[tuple[str, str]]:
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
    low, median, high = map(_number, np.quantile(values, (0, 0.5, 1)))
    return f"min {low}, median {median}, max {high}{unit}"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def choose(summaries: Sequence[Summary], *, seed: int) -> list[tuple[str, int, int]]:
    """Return captions and slices (of a patient, within it): the extreme lesions, and a sample half with tumour."""
    volumes, unit = lesion_volumes(summaries)
    ill = sorted((volume, p) for p, volume in enumerate(volumes) if volume)
    chosen = []
    for what, (volume, p) in zip(("largest", "smallest"), (ill[-1], ill[0]) if ill else (), strict=False):
        s = int(summaries[p].tumour_pixels.argmax())
        chosen.append((f"{what} lesion, {_number(volume)} {unit}: {_name(summaries[p], s)}", p, s))
    places = [(p, s) for p, one in enumerate(summaries) for s in range(len(one.numbers)) if not one.blank[s]]
    for tumour in (True, False):
        kind = [(p, s) for p, s in places if bool(summaries[p].tumour_pixels[s]) is tumour]
        drawn = np.random.default_rng([seed, tumour]).permutation(len(kind))[: NUM_PICTURES // 2]
        text = "with tumour" if tumour else "without tumour"
        chosen += [(f"{text}: {_name(summaries[p], s)}", p, s) for p, s in (kind[i] for i in drawn)]
    return chosen


def _name(summary: Summary, s: int) -> str:
    return f"{summary.id}, slice {summary.numbers[s]}"


def draw_outline(
    grey: UInt8[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return the slice as RGB with the mask's outline just outside of it, at a size that can be judged."""
    scale = max(round(MIN_SIDE / max(grey.shape)), 1) * min(1.0, MAX_SIDE / max(grey.shape))
    rows, columns = (max(1, round(scale * length)) for length in grey.shape)
    shown = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    inside = cv2.resize(mask.astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST) > 0
    canvas = np.repeat(shown[..., None], 3, axis=2)
    canvas[(cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~inside] = OUTLINE
    return canvas


def _draw(
    choices: Sequence[tuple[str, int, int]], summaries: Sequence[Summary], patients: Sequence[Patient]
) -> list[dict[str, Any]]:
    """Read each patient once more: keeping every slice until the sample is drawn would take gigabytes."""
    pictures: dict[tuple[str, int, int], dict[str, Any]] = {}
    for p in sorted({p for _, p, _ in choices}):
        volume, names = patients[p].read(), [channel.name for channel in summaries[p].channels][:MAX_CHANNELS]
        levels = to_grey_levels(volume.images, "auto")[..., :MAX_CHANNELS]
        best = names.index("flair") if "flair" in names else len(names) // 2
        for choice in choices:
            if choice[1] == p:
                image, mask = levels[choice[2]], volume.masks[choice[2]]
                images = [
                    (name, _uri(draw_outline(image[..., c], np.zeros_like(mask)))) for c, name in enumerate(names)
                ]
                images.append((f"{names[best]}, mask", _uri(draw_outline(image[..., best], mask))))
                pictures[choice] = {"caption": printable(choice[0]), "images": images}
    return [pictures[choice] for choice in choices]


def _uri(image: UInt8[np.ndarray, "rows columns 3"]) -> str:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, content = cv2.imencode(".jpg", image[..., ::-1], quality)
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode()


def largest_groups(summaries: Sequence[Summary]) -> dict[str, list[Summary]]:
    """Return the patients of at most MAX_GROUPS groups, by name."""
    groups = defaultdict(list)
    for summary in summaries:
        groups[summary.group].append(summary)
    return {name: groups[name] for name in sorted(sorted(groups), key=lambda name: -len(groups[name]))[:MAX_GROUPS]}


def histograms(summaries: Sequence[Summary]) -> dict[str, Any]:
    """Return lines over the head's intensities, one a channel for each group, all on the same axes."""
    edges = _edges([channel for summary in summaries for channel in summary.channels])
    colours = dict(zip(by_channel(summaries), COLOURS, strict=False))
    groups = defaultdict(list)
    for group, members in largest_groups(summaries).items():
        for name, channels in by_channel(members).items():
            values = np.concatenate([one.values for one in channels])
            counts = np.concatenate([one.head_counts for one in channels]).astype(float)
            height, _ = np.histogram(values, edges, weights=counts)
            if name in colours:
                groups[printable(group)].append((colours[name], 100 * height / max(counts.sum(), 1)))
    top = max(float(height.max()) for lines in groups.values() for _, height in lines) or 1.0
    x = PLOT[0] * (np.arange(len(edges) - 1) + 0.5) / (len(edges) - 1)
    for lines in groups.values():
        for k, (colour, height) in enumerate(lines):
            y = PLOT[1] * (1 - height / top)
            lines[k] = colour, " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return {
        "ticks": [(at * PLOT[0], f"{edges[0] + at * (edges[-1] - edges[0]):.4g}") for at in (0, 0.5, 1)],
        "top": f"{top:.2g}",
        "names": [(printable(name), colour) for name, colour in colours.items()],
        "groups": groups,
    }


def _edges(channels: Sequence[Channel]) -> np.ndarray:
    low, high = quantiles(channels, (0.001, 0.999), head=True).tolist()
    if any((one.values % 1).any() for one in channels):
        return np.linspace(low, max(high, low + 1e-6), NUM_BINS + 1)
    step = math.ceil((high - low + 1) / NUM_BINS)  # a whole number: else bins of 3 and of 4 grey levels make a comb
    return np.arange(low, high + step + 1, step)


def balance(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """Return how many slices of each group have a tumour."""
    rows = []
    for name, members in largest_groups(summaries).items():
        tumour = sum(one.num_tumour_slices for one in members)
        total = sum(len(one.numbers) for one in members)
        rows.append({"name": printable(name), "tumour": tumour, "total": total, "width": PLOT[0] * tumour / total})
    return rows


def shares(summaries: Sequence[Summary]) -> dict[str, Any]:
    """Return a bar for each patient's tumour share, the largest first."""
    found = sorted((100 * summary.tumour_share for summary in summaries), reverse=True)
    top, width = max(found) or 1.0, PLOT[0] / len(found)
    gap = 0.15 if width > 2 else 0.0
    bars = [
        f"M{i * width:.2f} {PLOT[1]}v{-PLOT[1] * share / top:.2f}h{width * (1 - gap):.2f}V{PLOT[1]}z"
        for i, share in enumerate(found)
    ]
    return {"path": "".join(bars), "top": f"{top:.2g}", "middle": f"{top / 2:.2g}", "count": len(found)}


def write_page(
    path: Path,
    name: str,
    warnings: Sequence[str],
    rows: Sequence[tuple[str, str]],
    findings: Sequence[Finding],
    summaries: Sequence[Summary],
    patients: Sequence[Patient],
    *,
    seed: int,
) -> None:
    """Write the page.

    Raises:
        DataError: Jinja2 is missing, or a patient cannot be read again.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    except ImportError as error:
        raise DataError("drawing the page needs jinja2: pip install 'tumour-search[search]'") from error
    by_kind = defaultdict(list)
    for finding in findings:
        by_kind[finding.kind].append((printable(finding.where), printable(finding.text)))
    environment = Environment(
        loader=PackageLoader("data.inspect", "."), autoescape=select_autoescape(), undefined=StrictUndefined
    )
    html = environment.get_template("page.html").render(
        name=printable(name),
        warnings=[printable(warning) for warning in warnings],
        rows=[(printable(label), printable(value).split("\n")) for label, value in rows],
        findings=by_kind,
        pictures=_draw(choose(summaries, seed=seed), summaries, patients),
        histograms=histograms(summaries),
        balance=balance(summaries),
        shares=shares(summaries),
        num_groups=len({summary.group for summary in summaries}),
        seed=seed,
    )
    path.write_text(html, encoding="utf-8")
