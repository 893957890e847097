"""The record that a prediction leaves beside a patient's masks: their origin, and how much tumour they hold.

A later run reads it to decide whether the patient has been predicted already.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from data.errors import DataError
from model.predict.measurements import Measurements

RECORD = "prediction.json"

FORMAT = 1
"""Increased when a field changes its meaning. Old records that state no format have format 1."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Everything that a patient's outputs depend on."""

    model_sha256: str
    runtime: str
    overlays: bool
    input_sha256: str


@dataclass(frozen=True, kw_only=True)
class VolumeRow:
    """A row of volumes.csv."""

    patient: str
    slices: int
    slices_with_tumour: int
    tumour_pixels: int
    tumour_share: float
    """Tumour pixels divided by all pixels of the volume, air included."""

    tumour_ml: float | None
    """Volume of the tumour; None, and empty in the file, if the images do not say how large a pixel is."""

    regions: Mapping[str, str | int | float] = field(default_factory=dict)
    """Pixels and millilitres of each of several regions by column, such as WT_pixels and WT_ml."""

    @classmethod
    def of(cls, patient: str, measured: Measurements) -> "VolumeRow":
        """Return the row of a patient whose masks were measured."""
        return cls(
            patient=patient,
            slices=measured.num_slices,
            slices_with_tumour=measured.num_slices_with_tumour,
            tumour_pixels=measured.num_tumour_pixels,
            tumour_share=measured.tumour_share,
            tumour_ml=None if measured.tumour_ml is None else round(measured.tumour_ml, 3),
            regions={
                f"{one.name}_{unit}": value
                for one in measured.regions
                for unit, value in (("pixels", one.pixels), ("ml", "" if one.ml is None else round(one.ml, 3)))
            },
        )

    def to_values(self) -> dict[str, str | int | float]:
        """Return the values as volumes.csv holds them, by column."""
        values = asdict(self)
        regions = values.pop("regions")
        return values | {"tumour_ml": "" if self.tumour_ml is None else self.tumour_ml} | regions


COLUMNS = tuple(field.name for field in fields(VolumeRow) if field.name != "regions")
"""The columns of volumes.csv, before those of regions."""


@dataclass(frozen=True, kw_only=True)
class PredictionRecord:
    """The content of a patient's `prediction.json`."""

    made_from: Origin
    row: VolumeRow
    files: Mapping[str, str]
    """Fingerprint of each file that was written, by name."""

    def to_json(self) -> str:
        """Return the text of the file; `read_record` reads it."""
        content = {
            "format": FORMAT,
            "made_from": asdict(self.made_from),
            "row": self.row.to_values(),
            "files": dict(self.files),
        }
        return json.dumps(content, indent=1)


def read_record(folder: Path) -> PredictionRecord | None:
    """Return the record in a patient's folder; None if there is none or it is damaged.

    Raises:
        DataError: It has a format that this version does not know.
    """
    path = folder / RECORD
    try:
        values = dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    if values.get("format", FORMAT) != FORMAT:
        raise DataError(
            f"{path} has format {values['format']!r}, but this version reads format {FORMAT}; choose another --out"
        )
    try:
        return _parse(values)
    except (KeyError, TypeError, AttributeError):
        return None


def _parse(values: dict[str, Any]) -> PredictionRecord | None:
    row, files = values["row"], dict(values["files"].items())
    if any(Path(name).name != name for name in files):
        return None  # a record names files of its own folder only
    return PredictionRecord(
        made_from=Origin(**values["made_from"]),
        row=_parse_row(row),
        files=files,
    )


def _parse_row(values: Mapping[str, Any]) -> VolumeRow:
    own: dict[str, Any] = {name: values[name] for name in COLUMNS}
    regions = {name: value for name, value in values.items() if name not in COLUMNS}
    if not all(name.endswith(("_pixels", "_ml")) for name in regions):
        raise KeyError("a column of another version")
    own["tumour_ml"] = None if own["tumour_ml"] == "" else own["tumour_ml"]
    return VolumeRow(**own, regions=regions)
