"""What a prediction leaves on disk: masks and overlays of a patient, a record of what they were made from, and a table.

A patient's files are written into a hidden folder beside its own, and take their names together, at the end; the record
is the last of them. So whatever ends a prediction, a patient is there as a whole or not at all, and by the record a
later run knows whether a patient is there already: of the same model, from the same files, every output untouched.
"""

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from data.errors import DataError
from data.readers.nifti_file import write_mask
from model.overlay import draw_overlay, overlay_levels
from model.predict.images import TIFF, Volume, write_image, write_whole

RECORD = "prediction.json"
TABLE = "volumes.csv"
COLUMNS = ("patient", "slices", "slices_with_tumour", "tumour_pixels", "tumour_share", "tumour_ml")
"""Of volumes.csv; the share is of all pixels of the volume, air included; the volume in ml is empty where the files do
not say how large a pixel is."""

TABLE_EVERY_SECONDS = 5.0
"""While a prediction runs, the table is written again at most this often: it is written whole, and may be long."""


@dataclass(kw_only=True)
class Outputs:
    """The folder that a prediction writes to."""

    folder: Path
    made_by: dict[str, Any]
    """What all outputs depend on beside the input: the model, the runtime, the options."""

    overlays: bool
    channel_names: tuple[str, ...]
    """Of the volumes; they say which channel overlays show."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    _written_at: float = -math.inf

    def check(self, volumes: Iterable[Volume]) -> None:
        """Return nothing: the folder can be written to, and no file of another origin would be written over.

        Raises:
            DataError: It cannot, or it would.
        """
        existing = next(path for path in (self.folder, *self.folder.absolute().parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            what = "may not be written to" if existing.is_dir() else "is a file"
            raise DataError(f"--out {self.folder} cannot be written: {existing} {what}; choose another folder")
        for volume in volumes:
            target = self.folder / volume.patient
            if target.is_dir() and not (target / RECORD).is_file() and any(target.iterdir()):
                raise DataError(
                    f"--out {self.folder} would write over masks or other files in {target}, which no prediction "
                    "wrote; choose another folder"
                )

    def find(self, volume: Volume, input_sha256: str) -> dict[str, Any] | None:
        """Return the row of a patient whose outputs are there, made by this model from this input; else None."""
        record = _read_record(self.folder / volume.patient)
        if record.get("made_from") != self._made_from(input_sha256):
            return None
        for name, sha256 in record["files"].items():
            path = self.folder / volume.patient / name
            if not path.is_file() or fingerprint([path]) != sha256:
                return None
        return record["row"]

    def write(
        self,
        volume: Volume,
        input_sha256: str,
        images: Shaped[np.ndarray, "slices height width channels"],
        masks: Bool[np.ndarray, "slices height width"],
        spacing_mm: tuple[float, float, float] | None,
    ) -> dict[str, Any]:
        """Return the row of a patient after writing all that belongs to it, whole or not at all."""
        final = self.folder / volume.patient
        partial = self.folder / f".{volume.patient}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        partial.mkdir(parents=True)
        try:
            if volume.is_nifti:
                write_mask(partial / f"{volume.patient}_mask.nii.gz", masks, volume.files[0])
            else:
                _write_masks(partial, volume, masks)
            if self.overlays:
                self._write_overlays(partial, volume, images, masks)
            files = {path.name: fingerprint([path]) for path in sorted(partial.iterdir())}
            row = _row(volume.patient, masks, spacing_mm)
            record = {"made_from": self._made_from(input_sha256), "row": row, "files": files}
            write_whole(partial / RECORD, json.dumps(record, indent=1).encode())
            if not self.rows:  # an older table would not tell which of its rows still hold
                (self.folder / TABLE).unlink(missing_ok=True)
            _move(partial, final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return row

    def add(self, row: dict[str, Any]) -> None:
        """Take a row into the table."""
        self.rows.append(row)
        if time.monotonic() - self._written_at > TABLE_EVERY_SECONDS:
            self.write_table()

    def write_table(self) -> None:
        """Write volumes.csv, if there is a row."""
        if self.rows:
            text = io.StringIO()
            writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
            write_whole(self.folder / TABLE, text.getvalue().encode(errors="surrogateescape"))
            self._written_at = time.monotonic()

    def _made_from(self, input_sha256: str) -> dict[str, Any]:
        return {**self.made_by, "overlays": self.overlays, "input_sha256": input_sha256}

    def _write_overlays(self, folder: Path, volume: Volume, images: np.ndarray, masks: np.ndarray) -> None:
        shown = overlay_levels(images, self.channel_names)
        for index, (image, mask) in enumerate(zip(shown, masks, strict=True)):
            if volume.is_nifti and not mask.any():
                continue  # most of a case's many slices show nothing
            name = f"{volume.patient}_{index + 1}" if volume.is_nifti else volume.files[index].stem
            write_image(folder / f"{name}_overlay.png", draw_overlay(image, predicted=mask))


def fingerprint(files: Iterable[Path]) -> str:
    """Return the SHA-256 of files, of their names and their bytes."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            name = os.fsencode(path.name)  # which need not be UTF-8
            digest.update(name + f"\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _write_masks(folder: Path, volume: Volume, masks: np.ndarray) -> None:
    for path, mask in zip(volume.files, masks, strict=True):
        suffix = path.suffix if path.suffix.lower() in TIFF else ".png"  # JPEG would blur the outline
        write_image(folder / f"{path.stem}_mask{suffix}", mask.astype(np.uint8) * 255)


def _move(partial: Path, final: Path) -> None:
    """Give what lies in one folder its place in the other, the record last, and end what the older record named."""
    if not final.exists():
        partial.rename(final)
        return
    older = set(_read_record(final).get("files", {}))
    paths = sorted(partial.iterdir(), key=lambda path: path.name == RECORD)
    for path in paths:
        path.replace(final / path.name)
    for name in older - {path.name for path in paths}:
        with contextlib.suppress(OSError):
            (final / name).unlink()


def _read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a patient's folder; empty where there is none that can be read."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        names = list(record["files"])
        is_whole = set(record["row"]) == set(COLUMNS) and all(Path(name).name == name for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return record if is_whole else {}


def _row(patient: str, masks: np.ndarray, spacing_mm: tuple[float, float, float] | None) -> dict[str, Any]:
    num_pixels = int(masks.sum())
    return {
        "patient": patient,
        "slices": len(masks),
        "slices_with_tumour": int(masks.any((1, 2)).sum()),
        "tumour_pixels": num_pixels,
        "tumour_share": round(float(masks.mean()), 6),
        "tumour_ml": "" if spacing_mm is None else round(num_pixels * math.prod(spacing_mm) / 1000, 3),
    }
