"""From images to tumour masks with an exported model: `python -m model.predict MODEL INPUT --out FOLDER`."""

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Bool, Shaped
from rich.console import Console
from rich.progress import Progress

from data.folder import ReadPair
from data.patient import DataError
from data.preprocess import to_grey_levels
from model.images import TIFF, Volume, find_volumes, read_volume, write_image, write_whole
from model.inference import predict_volume, to_masks
from model.overlay import draw_overlay
from model.runtime import load_model
from model.settings import ModelError

COLUMNS = ("patient", "slices", "slices_with_tumour", "tumour_pixels", "tumour_share")
"""Of volumes.csv; the share is of all pixels of the volume, air included."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Mark the tumour in MRI slices with an exported model. For research, not for diagnosis."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """An exported model.onnx, or the folder that holds it."""

    input: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="INPUT")]
    """A patient's folder with slices <PATIENT>_<NUMBER>.tif (or .png, .jpg), a folder of such folders, or one image."""

    out: Path
    """Folder to write to: <patient>/<slice>_mask.tif (0 and 255; .png where the slice is no TIFF), and volumes.csv."""

    batch_size: int = 16
    """Slices that go through the network at once; fewer need less memory."""

    overlays: bool = True
    """Whether to draw the outline into the FLAIR image as well, as <patient>/<slice>_overlay.png."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; a mistake of the caller ends it with one sentence and exit status 2."""
    arguments = tyro.cli(Arguments, prog="python -m model.predict", args=argv)
    try:
        _predict(arguments)
    except (ModelError, DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _predict(arguments: Arguments) -> None:
    if arguments.batch_size < 1:
        raise ModelError(f"batch_size is {arguments.batch_size}, but must be at least 1")
    network, settings = load_model(arguments.model)
    volumes = find_volumes(arguments.input)
    _check_out(arguments.out, volumes)
    if arguments.input.is_file():
        print(f"note: {arguments.input.name} is taken as a volume of one slice: it is normalised by itself.")
    rows = []
    num_slices = sum(len(volume.slices) for volume in volumes)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("slices", total=num_slices)
        for volume in volumes:
            images = read_volume(volume, ReadPair(channels=settings.channel_indices, grayscale=settings.grayscale))
            if images.shape[3] != settings.num_channels:
                raise ModelError(
                    f"{volume.slices[0]} has {images.shape[3]} channels, but model {arguments.model} takes "
                    f"{settings.num_channels}: predict images like those of its training"
                )
            probability = predict_volume(network, images, settings.preprocessing, batch_size=arguments.batch_size)
            masks = to_masks(probability, settings)
            _write_volume(arguments, volume, images, masks)
            rows.append(_row(volume.patient, masks))
            progress.advance(task, len(images))
    write_whole(arguments.out / "volumes.csv", _table(rows))
    kinds = "masks and overlays" if arguments.overlays else "masks"
    print(f"Wrote {kinds} of {num_slices} slice(s) of {len(rows)} patient(s), and volumes.csv, to {arguments.out}")


def _check_out(out: Path, volumes: tuple[Volume, ...]) -> None:
    for volume in volumes:
        if (out / volume.patient).resolve() == volume.folder.resolve():
            raise DataError(f"--out {out} would write over masks in {volume.folder}; choose a folder without images")


def _write_volume(
    arguments: Arguments,
    volume: Volume,
    images: Shaped[np.ndarray, "slices height width channels"],
    masks: Bool[np.ndarray, "slices height width"],
) -> None:
    folder = arguments.out / volume.patient
    folder.mkdir(parents=True, exist_ok=True)
    shown = to_grey_levels(images, "auto")
    for path, image, mask in zip(volume.slices, shown, masks, strict=True):
        suffix = path.suffix if path.suffix.lower() in TIFF else ".png"  # JPEG would blur the outline
        write_image(folder / f"{path.stem}_mask{suffix}", mask.astype(np.uint8) * 255)
        if arguments.overlays:
            write_image(folder / f"{path.stem}_overlay.png", draw_overlay(image, predicted=mask))


def _row(patient: str, masks: np.ndarray) -> tuple[str, int, int, int, float]:
    return patient, len(masks), int(masks.any((1, 2)).sum()), int(masks.sum()), round(float(masks.mean()), 6)


def _table(rows: list[tuple[str, int, int, int, float]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    return text.getvalue().encode()


if __name__ == "__main__":
    main()
