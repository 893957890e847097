"""Pictures of slices with the outline of the mask, for the page of an inspection."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from data.inspect.facts import format_number
from data.inspect.summary import PatientSummary, lesion_volumes
from data.patient import Patient, shown_channel
from data.preprocess import to_grey_levels
from data.printable import printable

OUTLINE = (86, 180, 233)
"""Sky blue of Okabe and Ito's palette, as all pictures of the program draw a true mask."""

MAX_CHANNELS = 4  # side by side
NUM_PICTURES = 8
MIN_SIDE, MAX_SIDE = 256, 400  # pixels: in a smaller picture the outline hides too much, in a larger it is too thin


class ChosenSlice(NamedTuple):
    """A slice to show."""

    caption: str
    patient: int
    """Index of the patient."""

    slice: int
    """Index of the slice within the patient."""


@dataclass(frozen=True, kw_only=True)
class SlicePicture:
    """A slice as the page shows it."""

    caption: str
    images: list[tuple[str, str]]
    """Label and data URI: one for each channel, and one with the outline of the mask."""


def choose_slices(summaries: Sequence[PatientSummary], *, seed: int) -> list[ChosenSlice]:
    """Return the slices to show: those with the extreme lesions, and a sample of which half has a tumour."""
    volumes, unit = lesion_volumes(summaries)
    ill = sorted((volume, p) for p, volume in enumerate(volumes) if volume)
    chosen = []
    for what, (volume, p) in zip(("largest", "smallest"), (ill[-1], ill[0]) if ill else (), strict=False):
        s = int(summaries[p].tumour_pixels.argmax())
        chosen.append(ChosenSlice(f"{what} lesion, {format_number(volume)} {unit}: {_name(summaries[p], s)}", p, s))
    places = [(p, s) for p, one in enumerate(summaries) for s in range(len(one.numbers)) if not one.blank[s]]
    for tumour in (True, False):
        kind = [(p, s) for p, s in places if bool(summaries[p].tumour_pixels[s]) is tumour]
        drawn = np.random.default_rng([seed, tumour]).permutation(len(kind))[: NUM_PICTURES // 2]
        text = "with tumour" if tumour else "without tumour"
        chosen += [ChosenSlice(f"{text}: {_name(summaries[p], s)}", p, s) for p, s in (kind[i] for i in drawn)]
    return chosen


def _name(summary: PatientSummary, s: int) -> str:
    return f"{summary.id}, slice {summary.numbers[s]}"


def draw_outline(
    grey: UInt8[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return the slice as RGB, large enough to judge, with an outline just outside of the mask."""
    scale = max(round(MIN_SIDE / max(grey.shape)), 1) * min(1.0, MAX_SIDE / max(grey.shape))
    rows, columns = (max(1, round(scale * length)) for length in grey.shape)
    shown = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    inside = cv2.resize(mask.astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST) > 0
    canvas = np.repeat(shown[..., None], 3, axis=2)
    canvas[(cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~inside] = OUTLINE
    return canvas


def draw_pictures(
    chosen: Sequence[ChosenSlice], summaries: Sequence[PatientSummary], patients: Sequence[Patient]
) -> list[SlicePicture]:
    """Return the pictures in order. The patients are read again, because all their slices would take gigabytes."""
    pictures: dict[ChosenSlice, SlicePicture] = {}
    for p in sorted({one.patient for one in chosen}):
        volume, names = patients[p].read(), [channel.name for channel in summaries[p].channels][:MAX_CHANNELS]
        levels = to_grey_levels(volume.images, "auto")[..., :MAX_CHANNELS]
        for one in chosen:
            if one.patient == p:
                images = _draw_slice(levels[one.slice], volume.tumour[one.slice], names)
                pictures[one] = SlicePicture(caption=printable(one.caption), images=images)
    return [pictures[one] for one in chosen]


def _draw_slice(image: np.ndarray, mask: np.ndarray, names: Sequence[str]) -> list[tuple[str, str]]:
    shown = shown_channel(len(names), names)
    images = [(name, _uri(draw_outline(image[..., c], np.zeros_like(mask)))) for c, name in enumerate(names)]
    return [*images, (f"{names[shown]}, mask", _uri(draw_outline(image[..., shown], mask)))]


def _uri(image: UInt8[np.ndarray, "rows columns 3"]) -> str:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, content = cv2.imencode(".jpg", image[..., ::-1], quality)
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode()
