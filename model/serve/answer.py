"""What a prediction is answered with: masks as a file, overlays to look at, or both with numbers as JSON."""

import base64
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from data.readers.images import IMAGES, write_image
from data.readers.reader import FileKind
from model.overlay import draw_overlay, draw_panel, overlay_levels
from model.serve.upload import Case

Output = Literal["mask", "overlay", "json"]

MAX_OVERLAYS = 32
"""Slices that JSON shows; all 155 of a BraTS case would be 20 MB."""

PANEL_SLICES, PANEL_COLUMNS = 16, 4

ONE_SLICE = "One image is taken as a volume of one slice: it is normalised by itself."


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One file for the client."""

    content: bytes
    name: str
    media_type: str
    headers: dict[str, str] = field(default_factory=dict)


def describe(case: Case, masks: Bool[np.ndarray, "slices height width"], threshold: float) -> dict[str, Any]:
    """Return the numbers of a prediction; tumour_ml is None where the files do not say how large a voxel is."""
    num_pixels = int(masks.sum())
    ml = None if case.spacing_mm is None else round(num_pixels * float(np.prod(case.spacing_mm)) / 1000, 4)
    return {
        "slices": len(masks),
        "height": masks.shape[1],
        "width": masks.shape[2],
        "slices_with_tumour": int(masks.any((1, 2)).sum()),
        "tumour_pixels": num_pixels,
        "tumour_share": round(float(masks.mean()), 6),
        "tumour_ml": ml,
        "threshold": threshold,
        "channels": case.channels,
        "note": ONE_SLICE if len(masks) == 1 else None,
    }


def mask_file(case: Case, masks: Bool[np.ndarray, "slices height width"], folder: Path) -> Answer:
    """Return the masks as `model.predict` writes them: of several images a ZIP, of NIfTI a volume like the input's."""
    paths = case.kind.write_masks(folder, case.files, masks, patient=case.kind.stem_of(case.files[0].name))
    return _one_file(paths, "masks.zip", case.kind)


def overlay_file(case: Case, masks: Bool[np.ndarray, "slices height width"], folder: Path) -> Answer:
    """Return the outlines drawn into the images: of several a ZIP, of NIfTI a panel of slices."""
    levels = overlay_levels(case.images, case.channel_names)
    if case.kind.holds == "channel":
        shown = _shown(masks, PANEL_SLICES)
        captions = [f"slice {index + 1}" for index in shown]
        panel = draw_panel(levels[shown], masks[shown], columns=PANEL_COLUMNS, captions=captions)
        name = f"{case.kind.stem_of(case.files[0].name)}_overlay.png"
        return Answer(content=_png(panel), name=name, media_type="image/png")
    paths = []
    for source, image, mask in zip(case.files, levels, masks, strict=True):
        paths.append(folder / f"{case.kind.stem_of(source.name)}_overlay.png")
        write_image(paths[-1], draw_overlay(image, predicted=mask))
    return _one_file(paths, "overlays.zip", IMAGES)


def json_answer(
    case: Case, masks: Bool[np.ndarray, "slices height width"], folder: Path, numbers: dict[str, Any]
) -> dict[str, Any]:
    """Return the numbers with the mask and overlays of slices, each in base64."""
    levels = overlay_levels(case.images, case.channel_names)
    mask = mask_file(case, masks, folder)
    overlays = [
        {
            "name": f"slice {index + 1}" if case.kind.holds == "channel" else case.files[index].name,
            "tumour_pixels": int(masks[index].sum()),
            "png": _text(_png(draw_overlay(levels[index], predicted=masks[index]))),
        }
        for index in _shown(masks, MAX_OVERLAYS)
    ]
    file = {"name": mask.name, "media_type": mask.media_type, "base64": _text(mask.content)}
    return {**numbers, "mask": file, "overlays": overlays}


def _shown(masks: np.ndarray, most: int) -> np.ndarray:
    """Return which slices are worth a look: those with tumour, or all if none has; evenly, where they are too many."""
    candidates = np.flatnonzero(masks.any((1, 2)))
    candidates = candidates if len(candidates) else np.arange(len(masks))
    return candidates[np.unique(np.linspace(0, len(candidates) - 1, min(most, len(candidates))).round().astype(int))]


def _one_file(paths: list[Path], name: str, kind: FileKind) -> Answer:
    if len(paths) == 1:
        media_type = kind.media_type_of(paths[0].name)
        return Answer(content=paths[0].read_bytes(), name=paths[0].name, media_type=media_type)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in paths:
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())  # of no date: equal masks, equal bytes
    return Answer(content=buffer.getvalue(), name=name, media_type="application/zip")


def _png(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
