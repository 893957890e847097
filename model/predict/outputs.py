"""Write the folder of a prediction: masks and overlays of each patient, the record of their origin, and a table.

A patient's files are written into a hidden folder next to the final one and moved together at the end, the record last.
So however a prediction ends, a patient's outputs are complete or absent, and the record tells a later run whether they
are up to date: made by the same model from the same files, with every output untouched.
"""

import contextlib
import csv
import hashlib
import io
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from data import atomic
from data.errors import DataError
from data.readers.images import write_image
from data.regions import WHOLE, Region, to_labels
from model.overlay import draw_overlay, overlay_levels
from model.predict.measurements import measure
from model.predict.record import COLUMNS, RECORD, Origin, PredictionRecord, VolumeRow, read_record
from model.predict.volume_files import VolumeFiles

TABLE = "volumes.csv"

TABLE_EVERY_SECONDS = 5.0
"""Shortest time between two writes of the table while a prediction runs: it is written whole, and may be long."""


@dataclass(kw_only=True)
class Outputs:
    """The folder that a prediction writes to."""

    folder: Path
    model_sha256: str
    runtime: str
    """The library that runs the model; outputs that another one made are made again."""

    overlays: bool
    channel_names: tuple[str, ...]
    """Names of the channels, by which overlays choose the one that they show."""

    regions: tuple[Region, ...] = WHOLE
    """The regions that the model segments."""

    rows: list[VolumeRow] = field(default_factory=list)
    _written_at: float = -math.inf

    def check(self, volumes: Iterable[VolumeFiles]) -> None:
        """Check that the folder can be written, and that no file of another origin would be overwritten.

        Raises:
            DataError: It cannot be written, or a file would be overwritten.
        """
        existing = next(path for path in (self.folder, *self.folder.absolute().parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            reason = "is not writable" if existing.is_dir() else "is a file"
            raise DataError(f"--out {self.folder} cannot be written: {existing} {reason}; choose another folder")
        for volume in volumes:
            if volume.patient == ".." or Path(volume.patient).name != volume.patient:
                raise DataError(f"patient {volume.patient!r} cannot have a folder of that name; rename it")
            target = self.folder / volume.patient
            if target.is_dir() and not (target / RECORD).is_file() and any(target.iterdir()):
                raise DataError(
                    f"--out {self.folder} would overwrite masks or other files in {target}, which no prediction "
                    "wrote; choose another folder"
                )

    def find(self, volume: VolumeFiles, input_sha256: str) -> VolumeRow | None:
        """Return the row of a patient whose outputs were made by this model from this input; None if there are none.

        Raises:
            DataError: A newer version of the program wrote the outputs.
        """
        folder = self.folder / volume.patient
        record = read_record(folder)
        if record is None or record.made_from != self._origin(input_sha256):
            return None
        for name, sha256 in record.files.items():
            if not (folder / name).is_file() or fingerprint([folder / name]) != sha256:
                return None
        return record.row

    def write(
        self,
        volume: VolumeFiles,
        input_sha256: str,
        images: Shaped[np.ndarray, "slices height width channels"],
        masks: Bool[np.ndarray, "regions slices height width"],
        spacing_mm: tuple[float, float, float] | None,
    ) -> VolumeRow:
        """Write all outputs of a patient, or none of them if writing fails, and return the patient's row.

        Raises:
            DataError: The folder cannot be written.
        """
        row = VolumeRow.of(volume.patient, measure(masks, spacing_mm, self.regions))
        partial = self.folder / f".{volume.patient}.partial"
        with self._reporting_the_disk():
            shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed
            partial.mkdir(parents=True)
            try:
                self._write_images(partial, volume, images, masks)
                files = {path.name: fingerprint([path]) for path in sorted(partial.iterdir())}
                record = PredictionRecord(made_from=self._origin(input_sha256), row=row, files=files)
                atomic.write(partial / RECORD, record.to_json().encode(), sync=False)
                if not self.rows:  # nothing would say which rows of an older table are still true
                    (self.folder / TABLE).unlink(missing_ok=True)
                _move(partial, self.folder / volume.patient)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return row

    def add(self, row: VolumeRow) -> None:
        """Add a row to the table, and write the table if it was not written lately."""
        self.rows.append(row)
        if time.monotonic() - self._written_at > TABLE_EVERY_SECONDS:
            self.write_table()

    def write_table(self) -> None:
        """Write volumes.csv, unless it would be empty.

        Raises:
            DataError: The folder cannot be written.
        """
        if not self.rows:
            return
        text = io.StringIO()
        columns = (*COLUMNS, *self.rows[0].regions)
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.to_values() for row in self.rows)
        with self._reporting_the_disk():
            content = text.getvalue().encode(errors="surrogateescape")
            atomic.write(self.folder / TABLE, content, sync=False)
        self._written_at = time.monotonic()

    def _origin(self, input_sha256: str) -> Origin:
        return Origin(
            model_sha256=self.model_sha256, runtime=self.runtime, overlays=self.overlays, input_sha256=input_sha256
        )

    def _write_images(self, folder: Path, volume: VolumeFiles, images: np.ndarray, masks: np.ndarray) -> None:
        volume.kind.write_masks(folder, volume.files, to_labels(masks, self.regions), patient=volume.patient)
        if self.overlays:
            self._write_overlays(folder, volume, images, masks)

    def _write_overlays(self, folder: Path, volume: VolumeFiles, images: np.ndarray, masks: np.ndarray) -> None:
        shown = overlay_levels(images, self.channel_names)
        for index, (grey, mask) in enumerate(zip(shown, masks.swapaxes(0, 1), strict=True)):
            is_volume = volume.kind.holds != "slice" or len(volume.files) < len(shown)
            if is_volume and not mask.any():
                continue  # most slices of a NIfTI volume have nothing to show
            name = f"{volume.patient}_{index + 1}" if is_volume else volume.kind.stem_of(volume.files[index].name)
            write_image(folder / f"{name}_overlay.png", draw_overlay(grey, predicted=mask))

    @contextlib.contextmanager
    def _reporting_the_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise DataError(
                f"--out {self.folder} cannot be written ({reason}); free space there, or choose another folder"
            ) from error


def fingerprint(files: Iterable[Path], reading: str = "") -> str:
    """Return the SHA-256 of the names and the bytes of files, and of how they are read if that is not as usual."""
    digest = hashlib.sha256(reading.encode())
    for path in files:
        with path.open("rb") as file:
            name = os.fsencode(path.name)  # which need not be UTF-8
            digest.update(name + f"\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _move(partial: Path, final: Path) -> None:
    """Move a folder's files into the final one, the record last; delete older outputs that were not replaced."""
    if not final.exists():
        partial.rename(final)
        return
    older = read_record(final)
    paths = sorted(partial.iterdir(), key=lambda path: path.name == RECORD)
    for path in paths:
        path.replace(final / path.name)
    for name in set(older.files if older else ()) - {path.name for path in paths}:
        with contextlib.suppress(OSError):
            (final / name).unlink()
