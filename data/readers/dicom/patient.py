"""A patient whose channels are DICOM series."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.readers.dicom.segmentations.contours import read_contours
from data.readers.dicom.segmentations.segments import read_segments
from data.readers.dicom.series.pixels import read_series
from data.readers.dicom.series.series import Series
from data.readers.volumes.formats.raw import RawVolume
from data.readers.volumes.patient import VolumePatient

READ_LABELS: Mapping[str, Callable[[Path, Series, tuple[int, ...]], np.ndarray]] = {
    "segments": read_segments,
    "contours": read_contours,
}


@dataclass(frozen=True, kw_only=True)
class DicomPatient(VolumePatient):
    """A study: a series for each channel, and a segmentation.

    `images` are the first files of the series, which stand for them.
    """

    series: tuple[Series, ...]
    kind: str
    """A kind in READ_LABELS, or volume."""

    numbers: tuple[int, ...]
    """The segments or ROIs that are the tumour."""

    @property
    def files(self) -> tuple[Path, ...]:
        files = [path for series in self.series for path in series.files]
        return tuple(dict.fromkeys((*files, self.segmentation)))

    def read_file(self, path: Path) -> RawVolume:
        if path != self.segmentation:
            return read_series(next(series for series in self.series if series.path == path))
        if self.kind not in READ_LABELS:
            return super().read_file(path)
        first = self.series[0]
        bits = np.zeros(first.shape, np.uint8)
        for number, region in enumerate(self.regions):  # segments may overlap, so that labels would hide each other
            wanted = tuple(one for one in self.numbers if one in region.labels or not region.labels)
            bits |= (READ_LABELS[self.kind](path, first, wanted) > 0).astype(np.uint8) << number
        return RawVolume(values=bits, affine=first.matrix)

    def encode_labels(self, labels: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
        return super().encode_labels(labels) if self.kind not in READ_LABELS else (labels.astype(np.uint8), {})

    def name_of(self, path: Path) -> str:
        return next((str(series) for series in self.series if series.path == path), path.name)
