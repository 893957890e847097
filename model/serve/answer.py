"""The answers of the service: masks as a file, overlays to look at, or both with measurements as JSON."""

import base64
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from data.readers.images import IMAGES, write_image
from data.readers.reader import FileKind
from data.regions import Region, to_labels
from model.overlay import REGION_COLOURS, as_hex, draw_overlay, draw_panel, overlay_levels
from model.predict.measurements import measure
from model.serve.upload import UploadedVolume
from model.settings import Settings

Output = Literal["mask", "overlay", "json"]

MAX_OVERLAYS = 32
"""Largest number of slices in JSON; all 155 of a BraTS case would be 20 MB."""

PANEL_SLICES, PANEL_COLUMNS = 16, 4

ONE_SLICE = "One image is a volume of one slice, which is normalised by itself."


@dataclass(frozen=True, kw_only=True)
class FileAnswer:
    """A file for the client."""

    content: bytes
    name: str
    media_type: str


@dataclass(frozen=True, kw_only=True)
class RegionAnswer:
    """One of several regions of a tumour."""

    name: str
    labels: tuple[int, ...]
    """The values of a segmentation that belong to it."""

    threshold: float
    colour: str
    """The colour of its outline in overlays, such as #e69f00."""

    pixels: int
    ml: float | None


@dataclass(frozen=True, kw_only=True)
class PredictionSummary:
    """The numbers of a prediction."""

    slices: int
    height: int
    width: int
    slices_with_tumour: int
    tumour_pixels: int
    tumour_share: float
    tumour_ml: float | None
    """None if the files do not say how large a pixel is."""

    threshold: float | None
    """None if each of several regions has its own."""

    regions: tuple[RegionAnswer, ...]
    """Each of several regions; empty if the model segments one."""

    channels: dict[str, str]
    """Name of the file of each channel; empty if a file holds all channels."""

    note: str | None


@dataclass(frozen=True, kw_only=True)
class EncodedFile:
    """A file in JSON."""

    name: str
    media_type: str
    base64: str


@dataclass(frozen=True, kw_only=True)
class EncodedOverlay:
    """A slice with the outline of its tumour, in JSON."""

    name: str
    tumour_pixels: int
    png: str
    """In base64."""


@dataclass(frozen=True, kw_only=True)
class JsonAnswer(PredictionSummary):
    """The answer to `?output=json`."""

    mask: EncodedFile
    overlays: tuple[EncodedOverlay, ...]


def summarise_prediction(
    volume: UploadedVolume, masks: Bool[np.ndarray, "regions slices height width"], settings: Settings
) -> PredictionSummary:
    """Return the numbers of a prediction."""
    measured = measure(masks, volume.spacing_mm, settings.regions)
    parts = zip(measured.regions, settings.regions, settings.thresholds, REGION_COLOURS, strict=False)
    return PredictionSummary(
        slices=measured.num_slices,
        height=masks.shape[2],
        width=masks.shape[3],
        slices_with_tumour=measured.num_slices_with_tumour,
        tumour_pixels=measured.num_tumour_pixels,
        tumour_share=measured.tumour_share,
        tumour_ml=None if measured.tumour_ml is None else round(measured.tumour_ml, 4),
        threshold=None if len(settings.regions) > 1 else settings.threshold,
        regions=tuple(
            RegionAnswer(
                name=one.name,
                labels=region.labels,
                threshold=threshold,
                colour=as_hex(colour),
                pixels=one.pixels,
                ml=None if one.ml is None else round(one.ml, 4),
            )
            for one, region, threshold, colour in parts
        ),
        channels=volume.channels,
        note=ONE_SLICE if measured.num_slices == 1 else None,
    )


def mask_file(
    volume: UploadedVolume,
    masks: Bool[np.ndarray, "regions slices height width"],
    regions: Sequence[Region],
    folder: Path,
) -> FileAnswer:
    """Return the masks as `model.predict` writes them: a ZIP for several images, a volume for NIfTI."""
    patient = volume.kind.stem_of(volume.files[0].name)
    paths = volume.kind.write_masks(folder, volume.files, to_labels(masks, regions), patient=patient)
    return _one_file(paths, "masks.zip", volume.kind)


def overlay_file(
    volume: UploadedVolume, masks: Bool[np.ndarray, "regions slices height width"], folder: Path
) -> FileAnswer:
    """Return the outlines drawn into the images: a ZIP for several images, a panel of slices for NIfTI."""
    levels = overlay_levels(volume.images, volume.channel_names)
    if volume.kind.holds != "slice":
        shown = _slices_to_show(masks, PANEL_SLICES)
        captions = [f"slice {index + 1}" for index in shown]
        panel = draw_panel(levels[shown], masks[:, shown].swapaxes(0, 1), columns=PANEL_COLUMNS, captions=captions)
        name = f"{volume.kind.stem_of(volume.files[0].name)}_overlay.png"
        return FileAnswer(content=_png(panel), name=name, media_type="image/png")
    paths = []
    for source, grey, mask in zip(volume.files, levels, masks.swapaxes(0, 1), strict=True):
        paths.append(folder / f"{volume.kind.stem_of(source.name)}_overlay.png")
        write_image(paths[-1], draw_overlay(grey, predicted=mask))
    return _one_file(paths, "overlays.zip", IMAGES)


def json_answer(
    volume: UploadedVolume,
    masks: Bool[np.ndarray, "regions slices height width"],
    regions: Sequence[Region],
    folder: Path,
    summary: PredictionSummary,
) -> JsonAnswer:
    """Return the summary with the mask and overlays of slices, each in base64."""
    levels = overlay_levels(volume.images, volume.channel_names)
    mask, whole = mask_file(volume, masks, regions, folder), np.any(masks, axis=0)
    overlays = tuple(
        EncodedOverlay(
            name=f"slice {index + 1}" if volume.kind.holds != "slice" else volume.files[index].name,
            tumour_pixels=int(whole[index].sum()),
            png=_base64(_png(draw_overlay(levels[index], predicted=masks[:, index]))),
        )
        for index in _slices_to_show(masks, MAX_OVERLAYS)
    )
    encoded = EncodedFile(name=mask.name, media_type=mask.media_type, base64=_base64(mask.content))
    return JsonAnswer(**vars(summary), mask=encoded, overlays=overlays)


def _slices_to_show(masks: np.ndarray, max_slices: int) -> np.ndarray:
    """Return the indices of the slices with tumour, or of all if none has any, thinned out evenly to max_slices."""
    candidates = np.flatnonzero(masks.any((0, 2, 3)))
    candidates = candidates if len(candidates) else np.arange(masks.shape[1])
    num_shown = min(max_slices, len(candidates))
    return candidates[np.unique(np.linspace(0, len(candidates) - 1, num_shown).round().astype(int))]


def _one_file(paths: list[Path], name: str, kind: FileKind) -> FileAnswer:
    if len(paths) == 1:
        media_type = kind.media_type_of(paths[0].name)
        return FileAnswer(content=paths[0].read_bytes(), name=paths[0].name, media_type=media_type)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in paths:
            # ZipInfo without a date: equal masks give equal bytes.
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
    return FileAnswer(content=buffer.getvalue(), name=name, media_type="application/zip")


def _png(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
