"""From images to tumour masks with an exported model: `python -m model.predict MODEL INPUT --out FOLDER`.

`predict_volume` is the one path from a patient's slices to probabilities. Evaluation and the proof of an export go
through it too, so what was scored is what a user gets. Nothing here, or below, imports torch: a model runs with the
`infer` extra alone.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Bool, Float32, Shaped
from rich.console import Console
from rich.progress import Progress

from data.folder import ReadPair
from data.patient import DataError
from data.preprocess import Preprocessing, as_channels, neighbours, prepare, to_grey_levels
from model.images import TIFF, Volume, find_volumes, read_volume, write_image, write_whole
from model.overlay import draw_overlay

Network = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""What runs one batch: (raw slices, float32 "batch channels size size"; mean and std of their volume, each float32
"channels") to probabilities, float32 "batch size size". A session of ONNX Runtime, or a network of torch."""

MODEL_NAME = "model.onnx"
METADATA_KEY = "tumour_search"
FORMAT = 2
"""Raised when a setting changes meaning; a model of another format is refused."""

COLUMNS = ("patient", "slices", "slices_with_tumour", "tumour_pixels", "tumour_share")
"""Of volumes.csv; the share is of all pixels of the volume, air included."""


class ModelError(ValueError):
    """A file that is not a model of this program, or a model that does not suit the images."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What must be known beside the weights to use a model; it travels inside the model's file."""

    preprocessing: Preprocessing
    """As in training."""

    threshold: float
    """Probability from which on a pixel is tumour."""

    channels: int
    """Channels of a slice, without its context."""

    channel_indices: tuple[int, ...] = ()
    """Which channels of an image file these are, from 0; empty for all."""

    grayscale: bool = False
    """Whether the colours of an image file become one channel."""

    def __post_init__(self) -> None:
        if type(self.channels) is not int or self.channels < 1:
            raise ModelError(f"channels is {self.channels!r}, but must be a whole number of at least 1")
        if type(self.threshold) not in (int, float) or not 0 < self.threshold < 1:
            raise ModelError(f"threshold is {self.threshold!r}, but must be above 0 and below 1")

    @property
    def num_inputs(self) -> int:
        """Channels that the network sees: those of a slice and of its context."""
        return self.channels * self.preprocessing.num_slices_seen

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Return the settings that `to_json` wrote.

        Raises:
            ModelError: The text is not that of settings, or of another format.
        """
        try:
            values = dict(json.loads(text))
        except (ValueError, TypeError) as error:
            raise ModelError(f"settings are {text[:80]!r}, but must be a JSON object") from error
        if values.pop("format", None) != FORMAT:
            raise ModelError(f"settings are {text[:80]!r}, but this version reads format {FORMAT}")
        names = {field.name for field in fields(cls)}
        if values.keys() != names:
            raise ModelError(f"settings have {sorted(values)}, but must have exactly {sorted(names)}")
        try:
            preprocessing = Preprocessing(**values["preprocessing"])
        except (TypeError, ValueError) as error:
            raise ModelError(f"settings have a preprocessing that is not legal: {error}") from error
        indices = tuple(values["channel_indices"])
        return cls(**values | {"preprocessing": preprocessing, "channel_indices": indices})


def predict_volume(
    network: Network,
    images: Shaped[np.ndarray, "slices height width channels"],
    preprocessing: Preprocessing,
    *,
    batch_size: int = 16,
) -> Float32[np.ndarray, "slices height width"]:
    """Return the probability of tumour of every pixel of a patient, at the slices' own resolution.

    All slices of the patient belong into one call: intensities are normalised over the whole volume.
    """
    prepared = prepare(images, preprocessing)
    mean, std = (np.tile(one, preprocessing.num_slices_seen) for one in (prepared.mean, prepared.std))
    one_patient = np.zeros(len(images), np.int64)
    probability = np.empty(images.shape[:3], np.float32)
    for start in range(0, len(images), batch_size):
        chosen = np.arange(start, min(start + batch_size, len(images)))
        seen = as_channels(prepared.images[neighbours(chosen, one_patient, preprocessing.context_slices)])
        batch = np.ascontiguousarray(seen.transpose(0, 3, 1, 2), np.float32)
        for index, found in enumerate(network(batch, mean, std), start):
            probability[index] = prepared.unfit(found)
    return probability


def load_model(path: Path) -> tuple[Network, Settings]:
    """Return the network of an exported model (the file, or the folder that holds model.onnx) and its settings.

    Raises:
        ModelError: The file is missing, damaged, or was not exported by this program.
    """
    file = path / MODEL_NAME if path.is_dir() else path
    if not file.is_file():
        raise ModelError(f"model {file} does not exist; name an exported {MODEL_NAME}, or the folder that holds it")
    try:
        import onnxruntime  # here, because reading the patients, and training, do without it
    except ImportError as error:
        raise ModelError("running a model needs onnxruntime: pip install 'tumour-search[infer]'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # the runtime has a class of its own for each way a file can be damaged
        raise ModelError(f"model {file} cannot be read as ONNX: it is damaged or no model; export it again") from error
    if METADATA_KEY not in metadata:
        raise ModelError(f"model {file} has no {METADATA_KEY} settings: it is not of this program; export one with it")
    try:
        settings = Settings.from_json(metadata[METADATA_KEY])
    except ModelError as error:
        raise ModelError(f"model {file}: {error}; export it again with this version") from error

    def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return session.run(["probability"], {"slices": slices, "mean": mean, "std": std})[0]

    return network, settings


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
            if images.shape[3] != settings.channels:
                raise ModelError(
                    f"{volume.slices[0]} has {images.shape[3]} channels, but model {arguments.model} takes "
                    f"{settings.channels}: predict images like those of its training"
                )
            probability = predict_volume(network, images, settings.preprocessing, batch_size=arguments.batch_size)
            masks = probability >= settings.threshold
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
